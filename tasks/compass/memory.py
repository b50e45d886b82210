"""Does a recipe fit this machine: said before the run, from parameters, optimizer state, activations and ranks."""

from __future__ import annotations

from contracts.errors import ResourceError
from models.memory import PROCESS_BYTES
from tasks.compass.plan import PhasePlan, TrainingPlan
from tasks.compass.planner import gib


def host_bytes(phase: PhasePlan) -> int:
    """Memory of all ranks of a phase on one machine without devices: tensors of every rank and its process."""
    return phase.ranks * (phase.bytes_per_rank + PROCESS_BYTES)


def fits_memory(plan: TrainingPlan, available_bytes: int) -> None:
    """Check the phase that needs most against what the machine has free (all its ranks on this machine's main memory).

    Raises:
        ResourceError: saying which phase needs how much for what, and how to make it smaller.
    """
    if not plan.phases:
        return
    phase = max(plan.phases, key=host_bytes)
    need = host_bytes(phase)
    if need <= available_bytes:
        return
    each = f"model and optimizer {gib(phase.static_bytes)}, activations {gib(phase.activation_bytes)}, process {gib(PROCESS_BYTES)}"
    raise ResourceError(
        f"phase '{phase.name}' needs about {gib(need)} of memory, {gib(available_bytes)} are free ({phase.ranks} rank(s), each: {each})",
        do="lower micro_batch_size or data_parallel_size, recompute activations, take a smaller model, or close other programs",
        where=f"training.phases.{phase.name}",
    )
