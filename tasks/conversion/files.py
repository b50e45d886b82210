"""File-level checks of an exported folder: tokenizer bytes, and every key of its JSON files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.conversion.findings import Check
from tasks.conversion.tokenizer_files import TOKENIZER_FILES

_VERSION = "transformers_version"  # says who wrote the file, changes nothing


def tokenizer_bytes(folder: Path, tokenizer: Path) -> Check:
    """Every tokenizer file is the one of `tokenizer`, byte by byte, and none is added."""
    differing: list[str] = []
    for name in TOKENIZER_FILES:
        ours, theirs = tokenizer / name, folder / name
        if ours.is_file() != theirs.is_file():
            differing.append(f"{name} is {'missing' if ours.is_file() else 'foreign'}")
        elif ours.is_file() and ours.read_bytes() != theirs.read_bytes():
            differing.append(f"{name} has other bytes")
    return Check(name="tokenizer bytes", passed=not differing, value=float(len(differing)), bound=0.0, detail=", ".join(differing))


def json_keys(folder: Path, file: str, expected: Mapping[str, Any]) -> Check:
    """Every key of a JSON file, the unexpected ones too: one wrong flag makes another model of the same weights."""
    try:
        found = json.loads((folder / file).read_text())
    except (OSError, ValueError) as error:
        return Check(name=file, passed=False, detail=f"cannot be read: {error!s:.300}")
    absent = "absent"
    differing = [
        f"{key} is {found.get(key, absent)!r}, not {expected.get(key, absent)!r}"
        for key in sorted((set(found) | set(expected)) - {_VERSION})
        if key not in found or key not in expected or found[key] != expected[key]
    ]
    return Check(name=file, passed=not differing, value=float(len(differing)), bound=0.0, detail=", ".join(differing[:6]))
