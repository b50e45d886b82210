"""`smolflow chat-data` as a person uses it: exit codes, what is printed, the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contracts.errors import SmolflowError
from deployments.command import app
from tests.tasks.posttraining.material import ask, say, system, train_tokenizer, write_lines

Q, A = ask("What is 47+85?"), say("The answer is 132.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tokenizer(tmp_path_factory.mktemp("chat"))


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "sound.jsonl", [{"messages": [system("Be brief."), Q, A]}, {"messages": [Q, A]}])


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "broken.jsonl", [{"messages": [Q, A]}, {"messages": [Q, say("")]}])


def command(*words: object) -> int:
    """Exit code of `smolflow chat-data ...` in this process."""
    try:
        app(["chat-data", *map(str, words)], result_action="return_value")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_lint_says_what_is_wrong_and_ends_with_an_error(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("lint", broken) == 1
    said = capsys.readouterr().out
    assert "2 samples" in said and "empty_answer" in said and "broken.jsonl:2: message 2 says nothing" in said
    assert command("lint", broken, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert not report["ok"] and [one["rule"] for one in report["findings"]] == ["empty_answer"]


def test_lint_with_a_tokenizer_counts_tokens_and_draws_a_page(
    sound: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("lint", sound, "--tokenizer", folder, "--length", 512, "--page", tmp_path / "chat.html") == 0
    said = capsys.readouterr().out
    assert "No rule fired." in said and "carry loss" in said and "1 of 1 system texts reach the model" in said
    assert "Be" in (tmp_path / "chat.html").read_text(encoding="utf-8")


def test_the_template_may_be_chatml_or_a_file_or_the_tokenizer_s_own(sound: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text(
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
        "{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{% endfor %}"
        "{{ '<|im_start|>assistant\\n' if add_generation_prompt else '' }}"
    )
    assert command("lint", sound, "--tokenizer", folder, "--template", "chatml") == 0
    assert command("lint", sound, "--tokenizer", folder, "--template", tmp_path / "own.jinja") == 1, "users' words carry loss"


def test_show_marks_what_carries_loss(sound: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("show", sound, 1, "--tokenizer", folder) == 0
    said = capsys.readouterr().out
    assert "Be brief.<|im_end|>" in said and "</think>\n〔The answer is 132.<|im_end|>〕" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "DATA", "3", "--tokenizer", "FOLDER"], "no sample 3"),
        (["show", "DATA", "--tokenizer", "FOLDER", "--template", "own"], "brings no chat template"),
        (["show", "MALFORMED", "--tokenizer", "FOLDER"], "at least one message"),
        (["lint", "DATA", "--length", "64"], "--length counts tokens"),
        (["lint", "DATA", "--tokenizer", "FOLDER", "--template", "/nowhere/x.jinja"], "cannot be read"),
        (["lint", "DATA", "--page", "/nowhere/x.html"], "page cannot be written"),
        (["lint", "DATA.csv"], "no chat data here"),
    ],
)
def test_what_cannot_be_done_is_said(sound: Path, folder: Path, words: list[str], said: str) -> None:
    malformed = write_lines(sound.with_name("malformed.jsonl"), [{"messages": []}])
    places = {"DATA": sound, "FOLDER": folder, "MALFORMED": malformed, "DATA.csv": f"{sound}.csv"}
    with pytest.raises(SmolflowError, match=said):
        command(*[places.get(word, word) for word in words])
