"""What every plot shares: its frame, and the width that the page gives it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH = 1040


def frame(title: str, height: float, body: Sequence[str], *, width: float = WIDTH, kind: str = "plot", least: int = 0) -> str:
    """SVG text of a plot, `width` x `height` units. `least`: pixels below which it scrolls rather than shrinks; 0: as `kind` says."""
    style = f' style="min-width:{least}px"' if least else ""
    return (
        f'<svg class="{kind}"{style} viewBox="0 0 {width:g} {height:g}" xmlns="http://www.w3.org/2000/svg" role="img" '
        f'aria-label="{escape(title, quote=True)}"><title>{escape(title)}</title>{"".join(body)}</svg>'
    )


def text(x: float, y: float, words: str, tone: str = "tick", anchor: str = "start") -> str:
    """One line of text, escaped."""
    return f'<text class="{tone}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def cut(words: str, most: int) -> str:
    """`words` in at most `most` characters."""
    return words if len(words) <= most else words[: most - 1] + "…"
