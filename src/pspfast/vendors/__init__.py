"""Ascend's and NVIDIA's programs: how they are called, and what they print."""
