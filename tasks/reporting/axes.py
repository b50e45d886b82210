"""Axes of the plots: round ticks, short numbers, and the mapping from values to pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover [low, high], about `count` of them (steps of 1, 2 or 5 times a power of ten)."""
    if not (math.isfinite(low) and math.isfinite(high)) or count < 1:
        return []
    if high <= low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def short(value: float) -> str:
    """A number in few characters: 1.2k, 3.4M, 0.003, 5e-05."""
    if value == 0:
        return "0"
    size = abs(value)
    for bound, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if size >= bound:
            return f"{value / bound:.3g}{suffix}"
    return f"{value:.3g}" if size >= 1e-3 else f"{value:.0e}"


def duration(seconds: float | None) -> str:
    """Seconds as a person says them: 0.4 s, 42 s, 3 min 12 s, 2 h 05 min, 24.4 days."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 72 else f"{seconds / 86400:.1f} days"


@dataclass(frozen=True)
class Axis:
    """Maps [low, high] to pixels [start, end]; `end < start` turns it over, as for y."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Pixel of a value, clipped to the axis."""
        if self.high <= self.low:
            return (self.start + self.end) / 2
        share = min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values within the axis."""
        return ticks(self.low, self.high, count)


def span(values: list[float], *, pad: float = 0.05, zero: bool = False) -> tuple[float, float]:
    """Range of the finite values with a margin; from zero if asked. (0, 1) where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    low = min(low, 0.0) if zero else low
    margin = (high - low) * pad or abs(high) * pad or 1.0
    return (low if zero and low == 0 else low - margin), high + margin
