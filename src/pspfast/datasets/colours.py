"""VOC's colours, for whatever has none of its own."""

from __future__ import annotations

__all__ = ["palette"]


def palette(num_colours: int = 256) -> bytes:
    """VOC's colours as RGB bytes: bit ``7 - k`` of a channel is bit ``3 k + channel`` of the index (its ``VOCcode``).

    Example:
        >>> palette()[3 * 15 : 3 * 16].hex(), palette()[3 * 255 :].hex()  # person, and the border of objects
        ('c08080', 'e0e0c0')
    """
    colours = bytearray()
    for index in range(num_colours):
        for channel in range(3):
            colours.append(sum((index >> 3 * k + channel & 1) << 7 - k for k in range(3)))
    return bytes(colours)
