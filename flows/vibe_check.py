"""The vibe check is shown to a person, who approves or refuses it where the recipe asks for that: in the Prefect UI, or in the terminal."""

from __future__ import annotations

import getpass
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

from prefect import runtime
from prefect.artifacts import create_markdown_artifact
from prefect.input import RunInput
from pydantic import Field

from contracts.errors import StageError
from flows.approval import outstanding
from flows.desk import Desk
from flows.pause import answered
from flows.plan import Node
from flows.results import vibe_page
from flows.show import artifact_key
from infra.store import Artifact
from tasks.posttraining import APPROVAL, Approval

in_terminal: ContextVar[bool] = ContextVar("in_terminal", default=False)
"""Set where flows run in a person's own process: the question is put there."""


class Decision(RunInput):
    """The form behind the button Resume."""

    approve: Literal["yes", "no"] = Field(description="yes: the line goes on with this model; no: it stops")
    name: str = Field(min_length=1, max_length=100, description="who says so; stands in the report")
    remark: str = Field("", max_length=2000, description="why")


def present(node: Node, artifact: Artifact, desk: Desk) -> None:
    """Show the answers in the UI and as a page; where a person must approve them and has not, ask, and keep what is said.

    Raises:
        StageError: nobody can be asked, nobody came in time, or the run was ended while it waited.
    """
    from tasks.reporting import vibe_markdown

    page, found = vibe_page(desk, node, artifact)
    model = node.inputs["model"].name
    text = f"{vibe_markdown(found, model)}\n\nAs a page: `{page}`"
    shown = create_markdown_artifact(text, key=artifact_key(f"vibe-{desk.plan.recipe.name}"), description=f"What {model} says")
    if not outstanding(node, artifact, desk):
        return
    if in_terminal.get():
        decision = _asked_here(text)
    else:
        decision = _asked_in_the_ui(desk, f"{desk.site.prefect.url}/artifacts/artifact/{shown}", str(page))
    said = Approval(
        approved=decision.approve == "yes", by=decision.name.strip() or "?", remark=decision.remark.strip(),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    desk.store.put_record(artifact, APPROVAL, said.model_dump(mode="json"))


def _asked_in_the_ui(desk: Desk, shown: str, page: str) -> Decision:
    config = desk.plan.recipe.posttraining
    assert config is not None
    form = Decision.with_initial_data(description=f"[Read the answers]({shown}) (as a page: `{page}`). May the line go on with this model?")
    where = f"{desk.site.prefect.url}/runs/flow-run/{runtime.flow_run.id}"
    try:
        return answered(form, config.vibe.approval_hours * 3600, f"waits for approval at {where} (Resume); the answers: {shown}")
    except StageError as error:
        raise StageError(f"the vibe check is not approved: {error.what}", where=where, do=error.do) from None


def _asked_here(text: str) -> Decision:
    if not sys.stdin.isatty():
        raise StageError(
            "the vibe check waits for a person's approval, and there is no terminal to ask in",
            do="run it without --here and approve it in the Prefect UI, or with posttraining.vibe.approval=false",
        )
    print(f"\n{text}\n")
    while (word := input("May the line go on with this model? yes or no: ").strip().lower()) not in ("yes", "no"):
        pass
    name = input(f"your name [{getpass.getuser()}]: ").strip() or getpass.getuser()
    return Decision(approve="yes" if word == "yes" else "no", name=name, remark=input("why (may stay empty): "))
