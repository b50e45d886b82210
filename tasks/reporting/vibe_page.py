"""The page of a vibe check: what a model says to a fixed pack of prompts, for a person to read and to approve."""

from __future__ import annotations

import re

from tasks.posttraining import Approval, Vibe
from tasks.reporting.page import environment, stylesheet


def render_vibe(found: Vibe, model: str, approval: Approval | None = None) -> str:
    """A page that stands alone: HTML text without scripts or addresses from outside; what the model wrote is escaped.

    Args:
        model: stage whose model was talked to.
        approval: what a person has said about it.
    """
    from markupsafe import Markup

    return environment().get_template("vibe.html.j2").render(found=found, model=model, approval=approval, style=Markup(stylesheet()))


def vibe_markdown(found: Vibe, model: str) -> str:
    """The same as Markdown, for the Prefect UI; what the model wrote stands in code blocks that it cannot close."""
    lines = [f"# Vibe check: {model}", f"{found.in_form:.0%} of the answers are in form. Read them before the line goes on."]
    for talk in found.talks:
        lines += [f"## {talk.name}", f"*{talk.looks_at}*"]
        for message in talk.messages:
            runs = re.findall("`+", message["content"])
            fence = "`" * max(3, 1 + max(map(len, runs), default=0))
            lines += [f"**{message['role']}**", f"{fence}\n{message['content']}\n{fence}"]
        lines += [f"> {answer.problem}" for answer in talk.answers if answer.problem]
    return "\n\n".join(lines)
