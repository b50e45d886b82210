"""Commands about chat data: lint (is it fit to train on?) and show (what does the model see of it?)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from tasks.posttraining import Linter, LintReport, Renderer, Sample

chat_data = App(
    name="chat-data",
    help="""Look at conversations before a model is trained on them: what is wrong with them, and what the model sees of them.

A sample is {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}, one a line of a .jsonl file, a
row of a .parquet file, or an element of a .json list. Beside it may stand `tools`, `source`, and `chat_template_kwargs` with
`enable_thinking`, `custom_instructions`, `xml_tools` and `python_tools`.

First steps: `smolflow chat-data lint train.jsonl` needs nothing else; with `--tokenizer FOLDER` every sample is also rendered, its mask
checked and its answers read back; `--page chat.html` draws it.""",
)

Mode = Literal["think", "no_think"]
Data = Annotated[Path, Parameter(help="File (.jsonl .json .parquet) or a folder of them")]
Template = Annotated[
    str,
    Parameter(
        help="`smollm3`, `chatml`, `own` (the one that the tokenizer brings), or the path of a Jinja file with {% generation %} markers"
    ),
]
Asked = Annotated[Mode, Parameter(help="Mode of samples that ask for none, by enable_thinking or by a flag /think or /no_think")]


@chat_data.command
def lint(
    data: Data,
    *,
    tokenizer: Annotated[Path | None, Parameter(help="Folder of a tokenizer, or of a model: check what the model sees, too")] = None,
    template: Template = "smollm3",
    mode: Asked = "no_think",
    length: Annotated[int | None, Parameter(help="Longest sequence in tokens: what is longer would be cut")] = None,
    page: Annotated[Path | None, Parameter(help="Write a page with the findings and samples as the model sees them")] = None,
    json: Annotated[bool, Parameter(help="Print JSON for a program", negative=())] = False,
) -> None:
    """Check every sample of a chat data set; ends with exit code 1 where a rule of severity `error` fired.

    Without a tokenizer: roles and their order, empty answers, half think blocks, broken tool calls, modes that contradict the answer,
    null arguments, control tokens in the text, duplicates, and the share of each source and mode in bytes. With one: that every system text
    reaches the model, that what carries loss is what the model writes, that answers are read back as they were, truncation, tokens.
    """
    from contracts.errors import ConfigError
    from deployments.output import as_json
    from tasks.posttraining import Linter, read_chat
    from tasks.posttraining.config import ChatLint

    if length is not None and tokenizer is None:
        raise ConfigError("--length counts tokens", do="give --tokenizer FOLDER, too")
    renderer = None if tokenizer is None else _renderer(tokenizer, template, mode)
    linter = Linter(ChatLint.parse({"length": length}, "--length"), renderer)
    for number, sample in enumerate(read_chat(data, None if template == "chatml" else mode), start=1):
        linter.add(sample)
        if number % 1000 == 0 and sys.stderr.isatty():
            print(f"\r{number:,} samples", end="", file=sys.stderr, flush=True)
    report = linter.report(str(data))
    if page is not None:
        _write_page(page, report, linter)
    if json:
        as_json(report.model_dump(mode="json") | {"ok": report.ok, "page": str(page) if page else None})
    else:
        _print_report(report)
        print("\n".join([f"\nPage: {page}"] if page else []))
    if not report.ok:
        sys.exit(1)


@chat_data.command
def show(
    data: Data,
    number: Annotated[int, Parameter(help="Which sample, counted from 1 through all files")] = 1,
    *,
    tokenizer: Annotated[Path, Parameter(help="Folder of a tokenizer, or of a model")],
    template: Template = "smollm3",
    mode: Asked = "no_think",
) -> None:
    """Print one sample as the model sees it: what it reads without loss is dim, what it learns to write is not.

    Where the output is no terminal, what carries loss stands between 〔 and 〕.
    """
    from itertools import islice

    from contracts.errors import ConfigError, InputError
    from tasks.posttraining import read_chat

    renderer = _renderer(tokenizer, template, mode)
    sample = next(islice(read_chat(data, None if template == "chatml" else mode), max(0, number - 1), None), None)
    if sample is None or number < 1:
        raise ConfigError(
            f"there is no sample {number}", where=str(data), do="count from 1; `smolflow chat-data lint` says how many there are"
        )
    if sample.malformed:
        raise InputError(
            sample.malformed, where=sample.where, do="write roles and contents as text; `smolflow chat-data lint` names every such sample"
        )
    _print_sample(sample, renderer)


def _renderer(tokenizer: Path, template: str, mode: Mode) -> Renderer:
    from tasks.posttraining import Renderer, template_text
    from tasks.posttraining.config import ChatTemplate

    if template == "own":
        return Renderer.load(tokenizer)
    known = template in ("smollm3", "chatml")
    wanted = {"kind": template, "default_mode": mode} if known else {"kind": "file", "path": template}
    return Renderer.load(tokenizer, template_text(ChatTemplate.parse(wanted, "--template")))


def _write_page(page: Path, report: LintReport, linter: Linter) -> None:
    from contracts.errors import ConfigError
    from tasks.reporting import render_chat

    try:
        page.write_text(render_chat(report, linter.shown), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the page cannot be written: {error}", where="--page", do="name a file in a folder that exists") from None


def _print_report(report: LintReport) -> None:
    from deployments.output import table

    facts = [f"{report.samples:,} samples", f"{report.size:,} {report.unit}"]
    facts += [f"{report.coverage:.1%} carry loss"] if report.coverage is not None else []
    facts += [f"{report.truncated:,} longer than {report.length:,}"] if report.truncated is not None else []
    kept = f"{report.system_kept:,} of " if report.system_kept is not None else ""
    facts += [f"{kept}{report.system_wanted:,} system texts" + (" reach the model" if kept else "")]
    print(f"{report.data}: {', '.join(facts)}\n")
    rows = []
    for one in report.findings:
        first = one.examples[0] if one.examples else None
        rows.append((one.rule, one.severity, one.count, f"{one.share:.1%}", f"{first.where}: {first.what}" if first else one.what))
    if rows:
        table(rows, ("rule", "", "samples", "share", "for example"))
        print("\n" + "\n".join(f"{one.rule}: {one.do}" for one in report.findings))
    else:
        print("No rule fired.")
    print()
    trained = ["-" if one.trained is None else f"{one.trained / max(1, one.size):.1%}" for one in report.groups]
    table(
        [(one.source, one.mode, one.samples, one.size, f"{one.share:.1%}", loss) for one, loss in zip(report.groups, trained, strict=True)],
        ("source", "mode", "samples", report.unit, "share", "carry loss"),
    )
    print(f"{report.paired:,} of {report.prompts:,} questions are answered in both modes")


def _print_sample(sample: Sample, renderer: Renderer) -> None:
    from rich.console import Console
    from rich.text import Text

    rendering, console = renderer.render(sample), Console(highlight=False)
    print(f"{sample.where}, {sample.mode}: {len(rendering.ids):,} tokens, {rendering.trained:,} carry loss\n")
    drawn, inside = Text(), False
    for token in rendering.tokens:
        if not console.is_terminal and token.trained != inside:
            drawn.append("〔" if token.trained else "〕")
            inside = token.trained
        drawn.append(token.text, style=("cyan " if token.special else "") + ("not dim" if token.trained else "dim"))
    drawn.append("〕" if inside else "")
    console.print(drawn, soft_wrap=True)
