"""The pack of prompts that a person reads before the line goes on."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.posttraining import Vibe
from tasks.posttraining.vibe import PACK, vibe
from tests.tasks.data.material import silent
from tests.tasks.posttraining.answering import TEMPLATE, taught
from tests.tasks.posttraining.material import ask, say, system


def run(model: Path, out: Path, tokens: int = 12) -> Vibe:
    out.mkdir(exist_ok=True)
    vibe({"template": TEMPLATE.model_dump(mode="json"), "max_answer_tokens": tokens}, {"model": model}, out, silent)
    return Vibe.parse(json.loads((out / "vibe.json").read_text()))


def test_the_pack_holds_what_only_talking_shows() -> None:
    assert any(len(talk.turns) > 1 for talk in PACK) and any("pirate" in talk.system for talk in PACK)
    assert {"/think", "/no_think"} <= {turn.split()[-1] for talk in PACK for turn in talk.turns} | {talk.system for talk in PACK}


def test_every_turn_is_answered_with_the_models_own_answers_before_it(model: Path, tmp_path: Path) -> None:
    found = run(model, tmp_path, tokens=5)
    for talk, heard in zip(PACK, found.talks, strict=True):
        roles = [message["role"] for message in heard.messages]
        assert roles == ["system", *["user", "assistant"] * len(talk.turns)]
        assert [message["content"] for message in heard.messages[2::2]] == [answer.text for answer in heard.answers]
    assert {answer.problem for talk in found.talks for answer in talk.answers} == {"cut by the length limit"} and found.in_form == 0.0


def test_modes_are_followed_turn_by_turn_and_held_against_the_answers(model: Path, tmp_path: Path) -> None:
    """A model that always answers without reasoning is in form where no reasoning was asked for, and only there."""
    rows = [
        {"messages": [system(talk.system), ask(talk.turns[0]), say("Ho."), *([ask(turn), say("Ho.")] if turn else [])]}
        for talk in PACK
        for turn in [talk.turns[1] if len(talk.turns) > 1 else ""]
    ]
    found = run(taught(model, tmp_path / "ho", rows, steps=60), tmp_path / "out")
    said = {talk.name: [(answer.mode, answer.problem) for answer in talk.answers] for talk in found.talks}
    assert said["greeting"] == [("no_think", "")]
    assert said["sum"] == [("think", "does not reason, /think holds")]
    assert said["switch"] == [("think", "does not reason, /think holds"), ("no_think", "")]
    assert said["switch back"] == [("no_think", ""), ("think", "does not reason, /think holds")]
