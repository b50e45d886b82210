"""`smolflow chat` as a person and a script use it: which model answers, modes, commands, what cannot be done."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from contracts.errors import ConfigError, InputError
from deployments.command import app
from flows.desk import Desk
from infra.store import ArtifactMissing
from tests.deployments.released import RECIPE, leave_model, tiny_model
from tests.tasks.posttraining.answering import taught

SUM = "What is 12+34?"
ROWS = [
    [{"role": "system", "content": "/think"}, {"role": "user", "content": SUM}, "<think>\n2+4=6\n</think>\nThe answer is 46."],
    [{"role": "system", "content": "/no_think"}, {"role": "user", "content": SUM}, "The answer is 46."],
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It knows one sum by heart, in both modes."""
    folder = tmp_path_factory.mktemp("talk")
    rows = [{"messages": [*asked, {"role": "assistant", "content": said}]} for *asked, said in ROWS]
    return taught(tiny_model(folder), folder / "taught", rows, steps=80)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SMOLFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SMOLFLOW_SITE", raising=False)
    return tmp_path


@pytest.fixture
def tuned(home: Path, model: Path) -> Desk:
    """A store with the model of sft-main."""
    desk = Desk.of(RECIPE)
    leave_model(desk, "sft-main", model, home)
    return desk


def chat(*words: object) -> None:
    app(["chat", "--recipe", RECIPE, *map(str, words)], result_action="return_value")


def test_a_script_gets_one_answer_taken_apart(tuned: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    chat("--prompt", SUM, "--mode", "think", "--json")
    said, told = capsys.readouterr()
    reply = json.loads(said)
    tokens = reply.pop("tokens")
    assert 0 < tokens < 64 and reply == {
        "reasoning": "2+4=6", "answer": "The answer is 46.", "raw": "<think>\n2+4=6\n</think>\nThe answer is 46.", "ended": True,
    }  # fmt: skip
    assert "nothing is released yet: this is the latest model, of sft-main" in told


def test_the_answer_is_streamed_with_its_thinking_between_tags(tuned: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    chat("--prompt", f"{SUM} /think")
    assert capsys.readouterr().out == "<think>\n2+4=6\n</think>\nThe answer is 46.\n"


def test_on_a_terminal_its_thinking_is_dim(tuned: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    chat("--prompt", f"{SUM} /think")
    said = capsys.readouterr().out
    assert "\x1b[2m2+4=6\x1b[0m" in said and "<think>" not in said and "The answer is 46." in said


def test_a_cut_answer_is_said(tuned: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    chat("--prompt", SUM, "--max-tokens", 2)
    assert "(cut after 2 tokens)" in capsys.readouterr().err


def test_a_conversation_with_commands(tuned: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [SUM, "/reset", "/think", SUM, "/thinking", "/reset", "/no_think", SUM, f"{SUM} " * 60, "/quit", SUM]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    chat()
    said, told = capsys.readouterr()
    plain, thought = "The answer is 46.\n", "<think>\n2+4=6\n</think>\nThe answer is 46.\n"
    assert said == plain + thought + plain
    assert "no command /thinking" in told and "/reset begins a new one" in told


def test_the_end_of_input_ends_it(tuned: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"/system Be brief.\n\n{SUM}\n"))
    chat()
    assert capsys.readouterr().out.endswith("\n\n")


def test_the_released_model_answers_where_there_is_one(tuned: Desk, home: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave_model(tuned, "convert", model, home)
    leave_model(tuned, "release", model, home)
    chat("--prompt", SUM)
    assert capsys.readouterr().err.startswith("release of smoke-post")
    chat("--prompt", SUM, "--stage", "convert")
    assert capsys.readouterr().err.startswith("convert of smoke-post")


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["--stage", "sft-mian"], ConfigError, "no stage 'sft-mian' leaves a model here (did you mean 'sft-main'?)"),
        (["--stage", "measure-sft-main"], ConfigError, "leaves a model"),
        (["--stage", "merge"], ArtifactMissing, "smolflow run merge --recipe smoke-post"),
        (["--json"], ConfigError, "--json answers one prompt"),
        (["--prompt", SUM, "--max-tokens", "0"], ConfigError, "1 or more"),
        (["--prompt", f"{SUM} " * 60], InputError, "the model sees 256"),
    ],
)
def test_what_cannot_be_done_is_said(tuned: Desk, words: list[str], error: type[Exception], said: str) -> None:
    with pytest.raises(error) as told:
        chat(*words)
    assert said in str(told.value)


def test_a_mode_that_the_template_lacks_is_refused(tuned: Desk, home: Path, model: Path) -> None:
    plain = ["--set", "posttraining.template.kind=chatml"]
    leave_model(Desk.of(RECIPE, plain[1:]), "release", model, home)
    with pytest.raises(ConfigError, match="no modes"):
        chat("--prompt", SUM, "--mode", "think", *plain)


def test_a_base_model_goes_on_with_text_and_that_is_said(home: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave_model(Desk.of("smoke"), "convert", model, home)
    app(["chat", "--recipe", "smoke", "--prompt", SUM, "--max-tokens", "4"], result_action="return_value")
    told = capsys.readouterr().err
    assert "smoke has no post-training" in told and "convert of smoke" in told and "/no_think" not in told


@pytest.mark.usefixtures("home")
def test_an_empty_store_names_what_to_run() -> None:
    with pytest.raises(ArtifactMissing) as told:
        chat("--prompt", SUM)
    assert "no model of smoke-post" in str(told.value) and "smolflow run --recipe smoke-post" in str(told.value)
