"""A merge in a few words: how many merges its candidates stand for, and what each tries."""

from __future__ import annotations

from tasks.merging.config import MOST_MERGES, Candidate, MergingConfig
from tasks.merging.methods import said


def merge_lines(config: MergingConfig) -> list[str]:
    """What will be made and measured: the number of merges first, then one line a candidate."""
    merges, parents = len(config.merges()), len(config.parents)
    head = f"{'merge':<22} {merges} of at most {MOST_MERGES} merges to make and measure, beside {parents} parent{'s' * (parents != 1)}"
    return [head, *(f"  {candidate.name:<20} {_tried(candidate)}" for candidate in config.candidates)]


def _tried(candidate: Candidate) -> str:
    first, points = candidate.inputs[0].stage, candidate.expanded()
    tried = {f"weight of {first}": candidate.grid, "scale": candidate.scales, "density": candidate.densities}
    ways = [f"{what} {', '.join(f'{one:g}' for one in values)}" for what, values in tried.items() if values]
    if not ways:
        return said(candidate)
    return f"{len(points)} merges, {candidate.method} of {', '.join(part.stage for part in candidate.inputs)}: {' x '.join(ways)}"
