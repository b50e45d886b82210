"""Checks of the data stages as pure functions: evidence and thresholds in, problems out (none: the gate opens)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.data.config import TokenizerConfig

MAX_CONTAMINATED = 0.5
MAX_REMOVED = 0.98


def data_problems(evidence: Mapping[str, Any]) -> list[str]:
    """What is wrong with a curated data set, from the evidence of the stage `curate`.

    A source must keep some text, have held-out text that no training document shares, and not be so close to its held-out part that most
    of it was contaminated.
    """
    problems: list[str] = []
    for name, row in evidence["sources"].items():
        items = row["heldout_documents"] + row["contaminated"]
        if row["documents"] == 0:
            problems.append(f"{name}: no document is left to train on")
        if items and row["heldout_documents"] == 0:
            problems.append(f"{name}: all {items} held-out items share text with training data")
        elif items and row["contaminated"] > MAX_CONTAMINATED * items:
            problems.append(f"{name}: {row['contaminated']} of {items} held-out items share text with training data; hold out other groups")
        elif not items:
            problems.append(f"{name}: nothing is held out, so nothing can be measured on it")
        if row["bytes_in"] and row["bytes"] + row["heldout_bytes"] < (1 - MAX_REMOVED) * row["bytes_in"]:
            problems.append(f"{name}: the filters removed more than {MAX_REMOVED:.0%} of the text; they do not fit this source")
    return problems


def tokenizer_problems(evidence: Mapping[str, Any], config: TokenizerConfig) -> list[str]:
    """What is wrong with a tokenizer, from the evidence of the stage `tokenizer` (fertility gate)."""
    problems: list[str] = []
    for name, row in evidence["sources"].items():
        if row["bytes_per_token"] < config.min_bytes_per_token:
            problems.append(f"{name}: {row['bytes_per_token']:.2f} bytes a token, at least {config.min_bytes_per_token:.2f} wanted")
        if row["fertility"] > config.max_fertility:
            problems.append(f"{name}: {row['fertility']:.2f} tokens a word, at most {config.max_fertility:.2f} wanted")
    return problems
