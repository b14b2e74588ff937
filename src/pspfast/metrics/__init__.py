"""Pixels counted, and scores of the counts. Needs NumPy only."""

from pspfast.metrics.confusion import ConfusionMatrix

__all__ = ["ConfusionMatrix"]
