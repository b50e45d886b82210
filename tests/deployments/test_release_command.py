"""`smolflow push`: nothing leaves without --yes, and what is no release is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contracts.errors import ConfigError, GateError
from deployments.command import app
from flows.desk import Desk
from infra.store import ArtifactMissing
from tasks.posttraining import HeldoutRead
from tests.deployments.released import CARD, RECIPE, leave


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SMOLFLOW_HOME", str(tmp_path / "home"))
    for name in ("SMOLFLOW_SITE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def released(home: Path) -> Desk:
    """A release whose test items were read once."""
    desk = Desk.of(RECIPE)
    out = home / "release"
    out.mkdir()
    for name in ("README.md", "model.safetensors"):
        (out / name).write_text(CARD)
    leave(desk, "release", out)
    merged = leave(desk, "merge", out)
    read = HeldoutRead(model=merged.fingerprint, questions="q", when="2026-01-01", why="measure-release")
    desk.store.put_record(merged, "heldout-read-1", read.model_dump(mode="json"))
    return desk


def push(*words: str, recipe: str = RECIPE) -> None:
    app(["push", "--recipe", recipe, *words], result_action="return_value")


def test_without_yes_it_only_says_what_would_go(released: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    push("--to", "owner/name")
    said = capsys.readouterr().out
    assert "would go to owner/name, private if it is new" in said and "model.safetensors" in said and "nothing was uploaded" in said
    push("--to", "owner/name", "--json")
    assert json.loads(capsys.readouterr().out) == {"to": "owner/name", "files": ["README.md", "model.safetensors"], "pushed": None}


def test_the_token_comes_from_the_environment(released: Desk) -> None:
    with pytest.raises(ConfigError, match="no token for the hub"):
        push("--to", "owner/name", "--yes")


def test_a_release_that_its_gate_refuses_is_not_pushed(released: Desk) -> None:
    merged = released.store.require("merge", released.plan.node("merge").fingerprint)
    read = HeldoutRead(model=merged.fingerprint, questions="q", when="2026-01-02", why="measure-release")
    released.store.put_record(merged, "heldout-read-2", read.model_dump(mode="json"))
    with pytest.raises(GateError, match="read 2 times"):
        push("--to", "owner/name", "--yes")


@pytest.mark.parametrize(
    ("recipe", "to", "error", "said"),
    [
        (RECIPE, "owner/name", ArtifactMissing, "smolflow run release --recipe smoke-post"),
        (RECIPE, "name", ConfigError, "write owner/name"),
        ("smoke", "owner/name", ConfigError, "no post-training"),
    ],
)
def test_what_cannot_be_pushed_is_said(recipe: str, to: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as told:
        push("--to", to, recipe=recipe)
    assert said in str(told.value)
