"""What every page is made with: the templates, their filters, and one style."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tasks.reporting.axes import duration, short
from tasks.reporting.verdicts import LOOKS, STATES, happened, metric_words, signed
from tasks.reporting.view import Points

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
LIGHT = (
    "--card:#fff;--ink:#1c2127;--soft:#5d6873;--line:#e1e5e8;--band:#eef3f8;--band2:#f7f1e8;"
    "--c1:#0072b2;--c2:#d55e00;--c3:#009e73;--c4:#a8518a;--c5:#b9c1c8"
)
"""Colours of a plot that stands alone as an image."""


def environment() -> Environment:
    """The templates of this package; whatever is put into them is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    found.filters.update(short=short, duration=duration, json=_json, webaddress=_webaddress, signed=signed, metric=metric_words)
    found.filters.update(first_y=lambda p: y_of(p, 0), last_y=lambda p: y_of(p, -1), median_y=_median)
    found.filters.update(look=LOOKS.__getitem__, state=STATES.__getitem__, happened=happened)
    return found


def stylesheet() -> str:
    """The style of every page."""
    return "".join((HERE / name).read_text() for name in ("style.css", "plots.css", "court.css", "skills.css"))


def y_of(points: Points, index: int) -> str:
    """One value of a curve, or a dash."""
    return f"{points[index][1]:.3f}" if points else "-"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _webaddress(url: str) -> bool:
    return url.startswith(("http://", "https://", "file://"))


def _median(points: Points) -> str:
    return short(median(y for _, y in points)) if points else "-"
