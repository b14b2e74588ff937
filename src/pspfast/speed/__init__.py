"""Measured throughputs: taken here, and held against each other."""
