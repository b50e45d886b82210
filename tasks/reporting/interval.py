"""A number with its confidence interval, as every page and plot shows it."""

from __future__ import annotations

from contracts.config import Config


class Interval(Config):
    """A number with the ends of its confidence interval."""

    value: float
    """Point estimate."""
    low: float | None = None
    """Lower end; unset: not estimated."""
    high: float | None = None
    """Upper end; unset: not estimated."""
