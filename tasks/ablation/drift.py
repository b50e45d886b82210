"""Drift: what differs between compared runs beside the factor (C30), and whether a baseline still gives what it gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tasks.ablation.results import Drift

__all__ = ["Canary", "compare_canary", "drift"]

MACHINE = ("cpu", "cpus", "platform", "accelerators")
SETTINGS = ("harness", "device", "threads", "precision")


def drift(manifests: Mapping[str, Mapping[str, Any]], backends: Mapping[str, str]) -> list[Drift]:
    """Libraries, machine, threads and backend that are not the same in all runs.

    Args:
        manifests: role (`ARM.SEED` of an evaluation, `ARM.SEED.train` of a training) -> manifest. Trainings are held against trainings.
        backends: `ARM.SEED` -> what computed the evaluation.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for run, backend in backends.items():
        found.setdefault("evaluation: backend", {}).setdefault(backend, []).append(run)
    for role, manifest in manifests.items():
        run = role.removesuffix(".train")
        work = "training" if role != run else "evaluation"
        for what, value in _properties(manifest):
            runs = found.setdefault(f"{work}: {what}", {}).setdefault(str(value), [])
            if run not in runs:
                runs.append(run)
    return [Drift(what=what, values=values) for what, values in found.items() if len(values) > 1]


def _properties(manifest: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from manifest.get("versions", {}).items()
    machine = manifest.get("machine", {})
    yield from ((key, machine[key]) for key in MACHINE if key in machine)
    for leg in manifest.get("layouts", []):
        if "device" in leg:
            yield "device", leg["device"]
    settings = manifest.get("evidence", {}).get("evaluation", {}).get("settings", {})
    yield from ((key, settings[key]) for key in SETTINGS if key in settings)


@dataclass(frozen=True)
class Canary:
    """The same baseline at two times."""

    state: Literal["identical", "within noise", "drift", "unknown"]
    """identical: equal to the last digit. unknown: it differs, and the noise is not known."""
    difference: float
    """Now minus then."""
    bound: float | None
    """Largest difference that the noise explains."""
    sentence: str
    """For a reader."""


def compare_canary(
    then: float, now: float, noise: float | None, degrees_of_freedom: int, *, confidence: float = 0.95, metric: str = "bits_per_byte"
) -> Canary:
    """Whether a re-run of the same baseline, with the same seed, still gives the same value.

    Equal code on equal machines gives equal digits; another library or processor may move the last ones, and then grow apart as another
    seed would. So a difference up to that between two seeds is reported and no alarm, a larger one is drift.

    Args:
        noise: standard deviation of one run over seeds, estimated with `degrees_of_freedom`.
    """
    from scipy.stats import t

    difference = now - then
    if difference == 0:
        return Canary("identical", 0.0, None, f"{metric} is identical to the last digit ({now:.6g})")
    moved = f"{metric} moved by {difference:+.4g}, from {then:.6g} to {now:.6g}"
    if not noise or degrees_of_freedom < 1:
        return Canary("unknown", difference, None, f"{moved}; how much two seeds differ is not known")
    bound = float(t.ppf((1 + confidence) / 2, degrees_of_freedom)) * noise * 2**0.5
    if abs(difference) <= bound:
        return Canary("within noise", difference, bound, f"{moved}; two seeds differ by up to {bound:.4g}, so this is no alarm by itself")
    return Canary("drift", difference, bound, f"{moved}, more than two seeds differ ({bound:.4g}): a library or the machine has changed it")
