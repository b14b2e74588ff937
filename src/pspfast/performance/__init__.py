"""Measured speed: what tools print of it, as records that can be compared, and what makes comparisons unsound."""
