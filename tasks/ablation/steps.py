"""Arms of a court over a step after pretraining, and the ladders that are always climbed in the same way.

An arm's run is the step itself with one setting changed: the same stage, body and identity. So a run that equals the recipe's own step is
that step, and nothing is trained twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contracts.config import nearest
from contracts.errors import ConfigError
from tasks.ablation.config import Modification, StepCourt, StepTemplate
from tasks.ablation.fields import found, override

__all__ = ["field_of", "ladder", "step_of", "step_overrides"]

GRIDS: dict[tuple[str, str], list[float]] = {
    ("sft", "learning_rate"): [1e-6, 3e-6, 1e-5, 3e-5, 1e-4],
    ("preference", "learning_rate"): [1e-7, 5e-7, 1e-6, 5e-6, 1e-5],
    ("sft", "epochs"): [1, 2, 3, 4, 5],
    ("preference", "pairs"): [1_700, 8_500, 17_000, 42_000, 85_000, 127_000, 169_000, 339_000],
    ("preference", "beta"): [0.01, 0.05, 0.1, 0.2, 0.5, 0.99],
}
"""What SmolLM3 tried, at 3B (Smol Training Playbook, SFT and preference optimisation). Its beta 0.75 shows the numbers of 0.5 and is left
out. Of preferences it says that most losses overfit after one pass, and shows no ladder of passes."""
LEAVES = {"pairs": "max_pairs"}
"""Template -> field, where they are not called alike; `learning_rate` lies in the schedule of a step that has one."""


def field_of(stage: str) -> str:
    """Where a step stands in the recipe: `sft-main` -> `posttraining.sft.main`."""
    kind, _, name = stage.partition("-")
    return f"posttraining.{kind}.{name}"


def step_of(court: StepCourt, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The step of `court` in `recipe` (as JSON).

    Raises:
        ConfigError: the recipe has no such step, with the nearest name.
    """
    kinds = {kind: steps for kind, steps in (recipe.get("posttraining") or {}).items() if isinstance(steps, list)}
    known = [f"{kind}-{step['name']}" for kind, steps in kinds.items() for step in steps]
    if court.stage not in known:
        raise ConfigError(f"no step '{court.stage}' to judge{nearest(court.stage, known)}", do="correct `stage`", where="ablations.steps")
    (step,) = found(recipe, field_of(court.stage)).values()
    return dict(step)


def ladder(court: StepCourt, recipe: Mapping[str, Any]) -> list[Modification]:
    """The modification of the court's template over `recipe` (as JSON); nothing without one.

    Raises:
        ConfigError: no such step, one without that setting, or nothing to try.
    """
    template, step = court.template, step_of(court, recipe)
    if template is None:
        return []
    leaf = _leaf(template, court, step)
    own = step["schedule"]["learning_rate"] if leaf.startswith("schedule.") else step[leaf]
    values = _values(template, court, own)
    path = f"{field_of(court.stage)}.{leaf}"
    axes: dict[str, list[Any]] = {path: values}
    also = ""
    if template.lora is not None:
        if template.kind != "learning_rate" or "lora" not in step:
            raise ConfigError(f"{court.stage} takes no adapters in a template of {template.kind}", do="drop `lora`", where=_where(court))
        axes[f"{field_of(court.stage)}.lora"] = [None, template.lora.model_dump(mode="json")]
        axes[path] = sorted({*values, own})
        also = ", and adapters need another one than all weights do"
    now = "all of them" if own is None else f"{own:g}"
    return [
        Modification(
            name=template.kind.replace("_", "-"),
            hypothesis=f"{template.kind.replace('_', ' ')} {now} of {court.stage} may not be the best{also}",
            sweep=axes,
            tolerance=template.tolerance,
        )
    ]


def step_overrides(court: StepCourt, changes: Mapping[str, Any], recipe: Mapping[str, Any], seed: int) -> list[str]:
    """Overrides that turn `recipe` (as JSON) into the run of an arm with `seed`.

    Its measurement stops nobody: that an arm forgets what its parent could is the court's to judge.
    """
    field = field_of(court.stage)
    last: dict[str, Any] = {f"{field}.seed": seed, f"{field}.max_regression": 1.0}
    if recipe.get("ablations"):
        last["ablations"] = {}  # an arm holds no court of its own
    return [override(path, value) for path, value in ({**changes} | last).items()]


def _leaf(template: StepTemplate, court: StepCourt, step: Mapping[str, Any]) -> str:
    leaf = LEAVES.get(template.kind, template.kind)
    if leaf == "learning_rate" and "schedule" in step:
        return "schedule.learning_rate"
    if leaf not in step:
        raise ConfigError(f"{court.stage} has no {leaf} to try values of", do="choose another template", where=_where(court))
    return leaf


def _values(template: StepTemplate, court: StepCourt, own: float | None) -> list[Any]:
    if template.multipliers and (template.values or template.kind != "learning_rate"):
        raise ConfigError("multipliers are factors of the learning rate, in place of values", do="give one of the two", where=_where(court))
    known = GRIDS.get((court.stage.partition("-")[0], template.kind), [])
    values = [float(f"{(own or 0.0) * factor:.6g}") for factor in template.multipliers] or template.values or known
    if not values:
        raise ConfigError(f"nobody has published a ladder of {template.kind} for {court.stage}", do="give `values`", where=_where(court))
    return [int(value) for value in values] if template.kind == "pairs" else list(values)


def _where(court: StepCourt) -> str:
    return f"court '{court.name}'"
