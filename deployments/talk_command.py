"""`smolflow chat`: talk with the model of a recipe in the terminal, or have it answer once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.errors import ConfigError, SmolflowError
from deployments.output import as_json
from flows.desk import Desk
from flows.released import Model, model_of
from tasks.posttraining.config import ChatTemplate, Mode

if TYPE_CHECKING:
    from tasks.posttraining import Dialogue, Piece, Spoken

HELP = "/think  /no_think  /system TEXT  /reset  /quit"


@dataclass(frozen=True)
class Manner:
    """How the model is asked to answer."""

    mode: Mode | None
    system: str
    max_tokens: int
    temperature: float


def talk(recipe: str, overrides: Sequence[str], stage: str | None, prompt: str | None, manner: Manner, json: bool) -> None:
    """Answer `prompt` and end, or go on until /quit or the end of input.

    Raises:
        ConfigError: no such stage, a mode that the template lacks, or --json without a prompt.
        ArtifactMissing: no model is in the store; names what to run.
        InputError: the prompt does not fit into the model's window.
    """
    if json and prompt is None:
        raise ConfigError("--json answers one prompt", do="give --prompt TEXT, too")
    if manner.max_tokens < 1 or manner.temperature < 0:
        raise ConfigError("--max-tokens is 1 or more, --temperature 0 or more", do="correct them")
    found = model_of(Desk.of(recipe, overrides), stage)
    dialogue = _opened(found, manner)
    if prompt is None:
        _converse(dialogue, manner)
        return
    spoken = _answered(dialogue, prompt, manner, show=not json)
    if json:
        as_json({name: value for name, value in spoken._asdict().items() if name != "problem" or value})


def _opened(found: Model, manner: Manner) -> Dialogue:
    from tasks.posttraining import Dialogue

    if found.note:
        print(found.note, file=sys.stderr)
    dialogue = Dialogue.load(found.folder(), found.template or ChatTemplate(), manner.mode, manner.system)
    mode = f", /{dialogue.mode}" if dialogue.mode else ""
    print(f"{found.node.name} of {found.recipe} ({found.node.fingerprint[:12]}){mode}", file=sys.stderr)
    return dialogue


def _converse(dialogue: Dialogue, manner: Manner) -> None:
    with suppress(ImportError):
        import readline  # noqa: F401  # lines can be edited and found again
    if sys.stdin.isatty():
        print(HELP, file=sys.stderr)
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if line == "/quit":
            return
        try:
            if not _commanded(line, dialogue):
                _answered(dialogue, line, manner)
        except KeyboardInterrupt:
            print("\n(stopped; this turn is forgotten)", file=sys.stderr)
        except SmolflowError as error:  # a turn that is too long ends no conversation
            print(f"smolflow: {error}", file=sys.stderr)


def _commanded(line: str, dialogue: Dialogue) -> bool:
    """Whether the line was a command, which is then done. A line with /think or /no_think and a question is a question."""
    word, _, rest = line.partition(" ")
    if line in ("/think", "/no_think"):
        dialogue.switch("think" if line == "/think" else "no_think")
    elif word == "/system":
        dialogue.system = rest.strip()
    elif line == "/reset":
        dialogue.reset()
    elif line and word.startswith("/") and word[1:].isidentifier() and word not in ("/think", "/no_think"):
        print(f"no command {word}; there are {HELP}", file=sys.stderr)
    else:
        return not line
    return True


def _answered(dialogue: Dialogue, text: str, manner: Manner, show: bool = True) -> Spoken:
    hear = _shown() if show else lambda piece: None
    key = f"{len(dialogue.messages)}"
    spoken = dialogue.ask(text, manner.max_tokens, manner.temperature, hear, key)
    if show:
        print()
    if not spoken.ended:
        print(f"(cut after {spoken.tokens:,} tokens)", file=sys.stderr)
    elif spoken.problem:
        print(f"({spoken.problem})", file=sys.stderr)
    return spoken


def _shown() -> Callable[[Piece], None]:
    """Prints what is written as it comes: thinking dimmed on a terminal, elsewhere between its tags."""
    from rich.console import Console
    from rich.text import Text

    console, inside = Console(highlight=False), False

    def show(piece: Piece) -> None:
        nonlocal inside
        tag = "" if console.is_terminal or piece.reasoning == inside else "<think>\n" if piece.reasoning else "</think>\n"
        inside = piece.reasoning
        console.print(Text(tag + piece.text, style="dim" if piece.reasoning else ""), end="", soft_wrap=True)

    return show
