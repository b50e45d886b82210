"""llama.cpp's converter, told how a tokenizer that it does not know cuts text.

`python -m tasks.conversion.gguf_converter NAME CONVERTER ARGUMENTS...`
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from contracts.errors import StageError

ASKED = "get_vocab_base_pre"
"""Method of the converter's model classes that names the pattern of a tokenizer, and raises NotImplementedError where it knows none."""


def run(cut: str, converter: str, arguments: list[str]) -> None:
    """Run the converter; wherever it knows no pattern for the tokenizer, it takes `cut`.

    Raises:
        StageError: this version of the converter asks in another way.
    """
    sys.argv = [converter, *arguments]
    sys.path.insert(0, str(Path(converter).parent))  # it imports what lies beside it
    program = runpy.run_path(converter, run_name="converter")
    asked = list(_classes_that_ask(program))
    if not asked:
        raise StageError(f"no class of {converter} has {ASKED}", where="release", do="take a llama.cpp of 2024 to 2026")
    for one in asked:
        setattr(one, ASKED, _or(getattr(one, ASKED), cut))
    program["main"]()


def _classes_that_ask(program: dict[str, Any]) -> Iterator[type]:
    """They stood in the script itself until 2026, since then in a package beside it."""
    spaces = [program, *(vars(module) for name, module in list(sys.modules.items()) if name.partition(".")[0] == "conversion")]
    found = {value for space in spaces for value in list(space.values()) if isinstance(value, type)}
    yield from (one for one in found if ASKED in vars(one))


def _or(known: Callable[..., str], cut: str) -> Callable[..., str]:
    def asked(model: Any, tokenizer: Any) -> str:
        try:
            return known(model, tokenizer)
        except NotImplementedError:
            return cut

    return asked


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], sys.argv[3:])
