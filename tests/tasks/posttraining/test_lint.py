"""The linter over whole sets: the bugs that only the model sees, balance of modes, truncation, files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.errors import InputError
from tasks.posttraining import Linter, LintReport, Renderer, Sample, chat_problems, lint, read_chat, samples_of, template_text
from tasks.posttraining.config import ChatLint, ChatTemplate
from tests.tasks.posttraining.material import ADD, THOUGHT, ask, call, sample, say, system, write_lines

Q, A = ask("What is 47+85?"), say("The answer is 132.")
SMOLLM3 = template_text(ChatTemplate(kind="smollm3"))
NAIVE = SMOLLM3.replace(
    "{%- set wanted = without_flags(asked).strip() -%}",
    '{%- set wanted = custom_instructions or "" if custom_instructions is defined else without_flags(asked).strip() -%}',
)
"""The bug that emptied every system prompt of SmolLM3's data: an argument that is there, and null, wins over the message."""


def found(report: LintReport) -> dict[str, int]:
    return {finding.rule: finding.count for finding in report.findings}


def planted(folder: Path, old: str, new: str) -> Renderer:
    assert old in SMOLLM3
    return Renderer.load(folder, SMOLLM3.replace(old, new))


def test_lost_system_prompts_are_found_in_every_sample(folder: Path, renderer: Renderer) -> None:
    samples = [sample(system(f"You are pirate number {n}."), ask(f"Who are you, {n}?"), A, custom_instructions=None) for n in range(5)]
    report = lint(samples, ChatLint(), Renderer.load(folder, NAIVE))
    assert found(report) == {"system_lost": 5, "null_kwargs": 5}
    assert (report.system_wanted, report.system_kept) == (5, 0) and not report.ok
    assert any("You are pirate number 0." in problem for problem in chat_problems(report))
    sound = lint(samples, ChatLint(), renderer)
    assert found(sound) == {"null_kwargs": 5} and sound.system_kept == 5


def test_a_line_of_the_system_text_that_is_lost_is_found(folder: Path) -> None:
    cut = planted(folder, "{%- set wanted = without_flags(asked).strip() -%}", '{%- set wanted = without_flags(asked).split("\\n")[0] -%}')
    report = lint([sample(system("First.\nSecond."), Q, A), sample(system("First."), Q, A)], ChatLint(), cut)
    assert found(report) == {"system_lost": 1} and "Second." in report.findings[0].examples[0].what


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('{{- content ~ calls_of(message, content) ~ "<|im_end|>" -}}\n{%- endgeneration -%}',
         '{{- content ~ calls_of(message, content) -}}\n{%- endgeneration -%}{{- "<|im_end|>" -}}', "does not end with a control token"),
        ('assistant\\n" -}}\n{%- if not keep', 'assistant\\n\\n" -}}\n{%- if not keep', "not how the training"),
        ("{%- generation -%}\n{{- content ~", '{%- generation -%}\n{{- content | replace("132", "7") ~', "answer comes back changed"),
        ("{%- generation -%}\n{{- content ~ calls_of(message, content)", "{%- generation -%}\n{{- content ", "calls comes back changed"),
    ],
)  # fmt: skip
def test_a_template_that_inference_would_not_read_back_is_found(folder: Path, old: str, new: str, said: str) -> None:
    one = sample(Q, say("The answer is 132.", tool_calls=[call(1, 2)]), {"role": "tool", "content": "3"}, A, tools=[ADD])
    report = lint([one], ChatLint(), planted(folder, old, new))
    assert found(report) == {"round_trip": 1} and said in report.findings[0].examples[0].what


def test_loss_on_the_prompt_is_found(folder: Path) -> None:
    block = '{%- if ns.mode == "/no_think" and not thought -%}{{- nothing_thought -}}{%- endif -%}\n'
    report = lint([sample(Q, A)], ChatLint(), planted(folder, f"{block}{{%- generation -%}}", f"{{%- generation -%}}\n{block}"))
    assert "begins before what the model writes" in report.findings[0].examples[0].what or found(report) == {"round_trip": 1}


def test_an_answer_that_merges_with_the_prompt_is_found(folder: Path) -> None:
    kept = planted(folder, '{%- set content = content.lstrip("\\n") -%}', "")
    report = lint([sample(Q, say("\n\nThe answer is 132."))], ChatLint(), kept)
    assert "merge with the prompt" in report.findings[0].examples[0].what


def test_samples_without_loss_are_refused_and_coverage_is_counted(folder: Path, renderer: Renderer) -> None:
    masked = planted(folder, "not keep_reasoning and loop.index0 < ns.last_user", "loop.index0 > 0")
    assert found(lint([sample(Q, A)], ChatLint(), masked))["all_masked"] == 1
    rendering = renderer.render(sample(Q, A))
    report = lint([sample(Q, A)], ChatLint(length=8, max_truncated=1.0), renderer)
    assert found(report) == {"all_masked": 1, "truncated": 1} and "no token of the first 8" in report.findings[0].examples[0].what
    assert (report.size, report.trained) == (len(rendering.ids), rendering.trained) and report.coverage == rendering.trained / len(
        rendering.ids
    )


def test_truncation_is_a_warning_up_to_its_limit_and_an_error_beyond(renderer: Renderer) -> None:
    length = len(renderer.render(sample(Q, A)).ids)
    samples = [sample(Q, A), sample(Q, say("The answer is 132, as far as I can see."))]
    for limit, severity in ((0.5, "warning"), (0.4, "error")):
        report = lint(samples, ChatLint(length=length, max_truncated=limit), renderer)
        assert [(one.rule, one.severity, one.count) for one in report.findings] == [("truncated", severity, 1)] and report.truncated == 1
    assert lint(samples, ChatLint(length=length * 2), renderer).findings == []


def both_modes(count: int, paired: bool, thoughts: int = 1) -> list[Sample]:
    other = 0 if paired else 1000
    plain = [sample(ask(f"What is {n}?"), say(f"It is {n}."), source="a") for n in range(count)]
    long = say(THOUGHT * 1 if thoughts == 1 else f"<think>\n{'7+5=12 ' * thoughts}\n</think>\n132.")
    return plain + [sample(ask(f"What is {n + other}?"), long, source="b", enable_thinking=True) for n in range(count)]


def test_modes_are_balanced_by_tokens_and_paired_by_question(renderer: Renderer) -> None:
    report = lint(both_modes(3, paired=True), ChatLint(), renderer)
    assert report.findings == [] and (report.prompts, report.paired) == (3, 3)
    assert [(one.source, one.mode, one.samples) for one in report.groups] == [("b", "think", 3), ("a", "no_think", 3)]
    assert (
        sum(one.size for one in report.groups) == report.size and abs(report.mode_share("think") + report.mode_share("no_think") - 1) < 1e-9
    )
    assert found(lint(both_modes(3, paired=False), ChatLint(), renderer)) == {"mode_pairing": 6}
    uneven = lint(both_modes(3, paired=True, thoughts=200), ChatLint(), renderer)
    assert found(uneven) == {"mode_balance": 3} and uneven.ok and "/no_think has" in uneven.findings[0].what
    single = lint(both_modes(3, paired=True)[:3], ChatLint(), renderer)
    assert single.findings == [], "a set of one mode is no hybrid one"


def test_duplicates_and_refusals_of_the_template_are_counted(renderer: Renderer) -> None:
    rows = [{"messages": [Q, A]}, {"messages": [Q, A]}, {"messages": [{"role": "developer", "content": "x"}, Q, A]}, {"messages": 5}]
    report = lint(samples_of(rows, default_mode="no_think"), ChatLint(), renderer)
    assert found(report) == {"duplicate": 1, "malformed": 1, "unknown_role": 1, "role_order": 1, "template_refuses": 1}
    assert report.findings[-1].examples[0].what == "the same as row:1"
    assert not lint([], ChatLint()).ok


def test_without_a_tokenizer_sizes_are_bytes_and_nothing_is_claimed_of_masks() -> None:
    report = lint([sample(Q, say("é"))], ChatLint(length=8))
    assert (report.unit, report.size, report.trained, report.truncated, report.system_kept) == ("bytes", 16, None, None, None)


def test_kept_samples_show_each_rule_once_and_a_few_sound_ones(renderer: Renderer) -> None:
    linter = Linter(ChatLint(examples=1), renderer)
    for number in range(9):
        linter.add(sample(ask(f"{number}?"), A))
        linter.add(sample(ask(f"{number}!"), say(" ")))
    assert [list(shown.problems) for shown in linter.shown].count(["empty_answer"]) == 1 and len(linter.shown) == 5
    assert len(linter.report().findings[0].examples) == 1


ROWS: Sequence[dict[str, Any]] = [
    {"messages": [Q, A], "chat_template_kwargs": {"enable_thinking": False}, "source": "sums"},
    {"messages": [system("Rhyme."), Q, A], "chat_template_kwargs": {"custom_instructions": "Rhyme."}},
]


def test_every_format_gives_the_same_samples_and_parquet_its_nulls(tmp_path: Path) -> None:
    lines = list(read_chat(write_lines(tmp_path / "set.jsonl", ROWS)))
    (tmp_path / "set.json").write_text(json.dumps(ROWS))
    assert [one.digest for one in read_chat(tmp_path / "set.json")] == [one.digest for one in lines]
    assert [(one.source, one.where) for one in lines] == [("sums", "set.jsonl:1"), ("set", "set.jsonl:2")]
    pq.write_table(pa.Table.from_pylist(list(ROWS)), tmp_path / "set.parquet")
    stored = lint(read_chat(tmp_path / "set.parquet", "no_think"), ChatLint())
    assert found(stored) == {"null_kwargs": 2}, "a struct column holds null for every key that a row lacks"
    assert len(list(read_chat(tmp_path))) == 6


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("set.jsonl", b'{"messages": [\n', "not valid JSON"),
        ("set.jsonl", b"\xff\xfe{}\n", "cannot be read"),
        ("set.jsonl", b'{"text": "x", "url": "y"}\n', r"no column 'messages' \(there are: text, url\)"),
        ("set.jsonl", b'{"messages": [], "chat_template_kwargs": [1]}\n', "not an object"),
        ("set.json", b'{"messages": []}', "does not hold a JSON list"),
        ("set.parquet", b"PAR1 and no more", "Parquet file cannot be read"),
        ("set.csv", b"a,b\n", "no format of chat data"),
    ],
)
def test_files_that_hold_no_conversations_are_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        list(read_chat(tmp_path / name))
    with pytest.raises(InputError, match="no chat data here"):
        list(read_chat(tmp_path / "absent.jsonl"))
