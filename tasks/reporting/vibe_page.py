"""The page of a vibe check: what a model says to a fixed pack of prompts, for a person to read and to approve."""

from __future__ import annotations

from tasks.posttraining import Vibe
from tasks.reporting.page import environment, stylesheet


def render_vibe(found: Vibe, model: str) -> str:
    """A page that stands alone: HTML text without scripts or addresses from outside; what the model wrote is escaped.

    Args:
        model: stage whose model was talked to.
    """
    from markupsafe import Markup

    return environment().get_template("vibe.html.j2").render(found=found, model=model, style=Markup(stylesheet()))
