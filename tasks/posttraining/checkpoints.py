"""TRL's checkpoints as parts of a workspace: complete or refused.

Trainers resume without a word from a checkpoint whose optimizer, scheduler or random state is missing, to other weights. So what is put
into the store is checked for all of them, and so is what comes back.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import Field

from contracts.config import Config
from contracts.errors import IntegrityError, SmolflowError
from infra.store import Part, Workspace
from tasks.posttraining.precision import Precision

PREFIX = "step-"
LEDGER_FILE = "ledger.json"
UNUSED = ("training_args.bin", "README.md")
"""What a trainer adds and nobody reads; the former is a pickle of arbitrary classes."""
_NEEDED: dict[str, dict[str, tuple[str, ...]]] = {
    "plain": {"optimizer": ("optimizer.pt",), "scheduler": ("scheduler.pt",)},
    "deepspeed": {"optimizer": ("latest",), "optimizer's shards": ("global_step",)},
    "fsdp": {"optimizer": ("optimizer.bin", "optimizer_0/"), "scheduler": ("scheduler.pt",)},
}
"""Backend -> what must be there -> beginnings of the names it may have."""
_WEIGHTS = ("model.safetensors", "adapter_model.safetensors", "pytorch_model_fsdp", "global_step")


class Ledger(Config):
    """What a step has cost so far; kept in every checkpoint, so that it survives each attempt. TRL's own count begins at 0 again."""

    step: int = 0
    """Updates that are behind."""
    tokens: int = 0
    """Tokens read, without padding, as TRL counts them."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """Wall seconds: training, saving, starting."""
    attempts: int = 0
    """Attempts that contributed."""
    ranks: int = 1
    """Ranks of the attempt that wrote it."""
    precision: Precision | None = None
    """Precisions of that attempt."""
    notes: list[str] = Field(default_factory=list)
    """What went otherwise than planned."""


def part_name(step: int) -> str:
    """`step-00000120`: names sort like numbers."""
    return f"{PREFIX}{step:08d}"


def problems(names: Collection[str], backend: str, ranks: int) -> list[str]:
    """What a checkpoint lacks for an exact resume.

    Args:
        names: its files, relative to it.
        backend: what spread the model: `plain`, `deepspeed` or `fsdp`.
        ranks: ranks that wrote it.
    """
    random = ["rng_state.pth"] if ranks == 1 else [f"rng_state_{rank}.pth" for rank in range(ranks)]
    exact = {"trainer state": ["trainer_state.json"], "random state": random, "ledger": [LEDGER_FILE], "metrics": ["metrics.jsonl"]}
    found = [f"no {what} ({name})" for what, needed in exact.items() for name in needed if name not in names]
    for what, beginnings in [("weights", _WEIGHTS), *_NEEDED[backend].items()]:
        if not any(name.startswith(beginnings) for name in names):
            found.append(f"no {what} ({' or '.join(beginnings)})")
    return found


def require_complete(folder: Path, backend: str, ranks: int) -> None:
    """Refuse a checkpoint on disk that could not be resumed exactly.

    Raises:
        IntegrityError: names what is missing.
    """
    missing = problems([str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()], backend, ranks)
    if missing:
        raise IntegrityError(
            f"the checkpoint is incomplete: {', '.join(missing)}", where=str(folder),
            do="go on from an earlier one; resumed from this one, training would silently end elsewhere",
        )  # fmt: skip


def choose(workspace: Workspace) -> tuple[Part | None, list[str]]:
    """The newest checkpoint of which every byte is right and nothing is missing; and what was skipped on the way, and why."""
    return workspace.newest(PREFIX, _refused)


def _refused(part: Part) -> str | None:
    missing = problems([file.path for file in part.files], str(part.meta.get("backend", "plain")), int(part.meta.get("ranks", 1)))
    return f"checkpoint '{part.name}' is refused: {', '.join(missing)}" if missing else None


def read_ledger(folder: Path) -> Ledger:
    """The ledger of a checkpoint on disk.

    Raises:
        IntegrityError: it cannot be read.
    """
    try:
        return Ledger.model_validate_json((folder / LEDGER_FILE).read_text())
    except (OSError, ValueError, SmolflowError) as error:
        do = "go on from an earlier checkpoint"
        raise IntegrityError(f"the ledger of the checkpoint cannot be read: {error}", where=str(folder), do=do) from None


def meta(ledger: Ledger) -> dict[str, Any]:
    """What a part's record says about the checkpoint in it."""
    backend = ledger.precision.backend if ledger.precision else "plain"
    return {"step": ledger.step, "tokens": ledger.tokens, "backend": backend, "ranks": ledger.ranks}
