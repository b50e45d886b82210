"""What each way to merge means to mergekit: one candidate in, one mergekit document out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.merging.config import SPARSE, Candidate, MergeInput, Method

_NORMALISED: dict[Method, bool] = {"task_arithmetic": False, "ties": True, "dare_linear": False, "dare_ties": False}
"""Whether differences are divided by the sum of the weights: mergekit 0.1.5's defaults, said so that another release merges alike."""


def document(candidate: Candidate, folders: Mapping[str, Path], dtype: str, output_dtype: str) -> dict[str, Any]:
    """The mergekit document of a candidate without a grid.

    Args:
        folders: stage -> local folder of its model. Folders stand in the document as mappings: as text, mergekit would read a `+` in a
            path as an adapter and a `@` as a revision.
        dtype: precision of the arithmetic.
        output_dtype: precision of the result.
    """
    models = [{"model": _model(folders[part.stage]), "parameters": _parameters(candidate.method, part)} for part in candidate.inputs]
    made: dict[str, Any] = {"merge_method": candidate.method, "dtype": dtype, "out_dtype": output_dtype, "models": models}
    if candidate.method == "linear":
        made["parameters"] = {"normalize": False}  # weights sum to 1, the recipe says so
    elif candidate.method == "slerp":
        made |= {"base_model": _model(folders[candidate.inputs[0].stage]), "parameters": {"t": candidate.inputs[1].weight}}
    else:
        made["base_model"] = _model(folders[candidate.base])
    if candidate.method in _NORMALISED:
        made["parameters"] = {"normalize": _NORMALISED[candidate.method]} | ({"lambda": candidate.scale} if candidate.scale != 1 else {})
    return made


def said(candidate: Candidate) -> str:
    """What is merged, in words: `linear: 0.9 sft-a + 0.1 sft-b`, `ties: 1 sft-a + 1 sft-b, differences from sft-main, times 0.5`."""
    kept = candidate.method in SPARSE
    parts = [
        f"{part.weight:g} {part.stage}" + (f" (density {part.density:g})" if kept and part.density < 1 else "") for part in candidate.inputs
    ]
    if candidate.method == "model_stock":
        parts = [part.stage for part in candidate.inputs]
    base = f", differences from {candidate.base}" if candidate.base else ""
    return f"{candidate.method}: {' + '.join(parts)}{base}" + (f", times {candidate.scale:g}" if candidate.scale != 1 else "")


def _model(folder: Path) -> dict[str, Any]:
    return {"model": {"path": str(folder)}}


def _parameters(method: Method, part: MergeInput) -> dict[str, float]:
    if method in ("slerp", "model_stock"):
        return {}
    return {"weight": part.weight} | ({"density": part.density} if method in SPARSE else {})
