"""The whole chain on pictures that are drawn on the spot, with a small network trained for them."""

from __future__ import annotations

__all__ = ["CANVAS"]

CANVAS = (192, 192)
"""``(H, W)`` that the demo's network takes."""
