"""The compass section of a recipe: why this model is trained at all, what it must fit, and what may be spent.

The questions come in the order of the Smol Training Playbook, training compass: do existing models work with prompting, does
fine-tuning or continued pretraining solve it, and only then one of three purposes that justify pretraining.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contracts.config import Config, Gate, Placement

Motive = Literal["research", "production", "open_source", "we_have_compute", "everyone_does_it", "ai_is_the_future", "best_possible_model"]
REJECTED_MOTIVES: dict[str, str] = {
    "we_have_compute": "spare compute is a resource, not a goal",
    "everyone_does_it": "that others train a model is no reason to train one",
    "ai_is_the_future": "a belief about the field does not say what this model is for",
    "best_possible_model": "too vague to steer a single decision",
}


class Evidence(Config):
    """What was tried before training, and how it fared against the project's own acceptance metric."""

    tried: str = ""
    """What was done, with which model (empty: nothing was tried)."""
    metric: str = ""
    """The project's own acceptance metric."""
    score: float | None = None
    """What the attempt reached."""
    needed: float | None = None
    """What the project needs."""

    @property
    def insufficient(self) -> bool:
        """True when the attempt was measured and fell short of what is needed."""
        return self.score is not None and self.needed is not None and self.score < self.needed


class Target(Config):
    """Where the model will live; constraints become specifications."""

    deployment: str = "any machine with transformers"
    """Where the model is meant to run."""
    memory_gib: float | None = Field(default=None, gt=0)
    """Memory its weights (16 bit) may take there, in GiB; unset: no limit."""
    context_tokens: int | None = Field(default=None, gt=0)
    """Longest context it must handle, in tokens; unset: whatever training gives."""
    languages: list[str] = Field(default_factory=list)
    """Languages it must speak (ISO 639-1)."""
    capabilities: list[str] = Field(default_factory=list)
    """What it must be good at."""


class Budget(Config):
    """What the plan is priced with. Nothing here changes a result."""

    gpu: Literal["a100", "h100", "h200", "b200", "cpu"] = "cpu"
    """Device class; its dense 16-bit peak is the base of the model FLOP utilisation."""
    gpus: int = Field(default=1, ge=1)
    """Devices held for the whole run."""
    peak_tflops: float | None = Field(default=None, gt=0)
    """Dense peak of one device in TFLOP/s; unset: the published one (a CPU has none, so measure it)."""
    assumed_mfu: float = Field(default=0.3, gt=0, le=1)
    """Share of the peak that training is assumed to reach, by the FLOP formula the plan names."""
    device_memory_gib: float | None = Field(default=None, gt=0)
    """Memory of one device in GiB; unset: the published one."""
    price_per_gpu_hour: float | None = Field(default=None, ge=0)
    """Price of one device for one hour; unset: the plan shows no money."""
    currency: str = "EUR"
    """Currency of the price."""
    reserve_ablations: float = Field(default=0.4, ge=0)
    """Share of the main run set aside for ablations (SmolLM3: 0.42)."""
    reserve_contingency: float = Field(default=0.2, ge=0)
    """Share of the main run set aside for restarts and debugging (SmolLM3: 0.17)."""
    reserve_evaluation: float = Field(default=0.03, ge=0)
    """Share of the main run set aside for evaluation (SmolLM3: 2 to 4 %)."""
    limit_gpu_hours: float | None = Field(default=None, gt=0)
    """Device hours that may be spent in all, reserves included; unset: no limit."""
    limit_days: float | None = Field(default=None, gt=0)
    """Days the main run may take; unset: no limit."""


class EpochRule(Config):
    """How often a source may repeat (Smol Training Playbook, data curation: four epochs are safe, five the ceiling)."""

    warn_above: float = Field(default=4.0, gt=0)
    """Epochs over one source above which the plan warns."""
    block_above: float = Field(default=5.0, gt=0)
    """Epochs over one source above which the gate blocks."""
    accepted: dict[str, str] = Field(default_factory=dict)
    """Sources that may repeat more often, each with the reason why."""


class Purpose(Config):
    """Why, what and how much: the document that must exist before anything is trained."""

    motive: Motive = "research"
    """What justifies training from scratch: research, production or open_source. The other values are the motives that never do."""
    question: str = Field(min_length=1)
    """The falsifiable hypothesis, the limit of existing models, or the gap this model fills."""
    why: str = Field(min_length=1)
    """Why this project can answer it (better data, a better recipe, compute to overtrain...)."""
    target: Target = Target()
    """Where the model must run and what it must be able to do."""
    prompting: Evidence = Evidence()
    """Did an existing model work with prompting and tools?"""
    finetuning: Evidence = Evidence()
    """Did fine-tuning or continued pretraining of an existing model solve it?"""
    demonstration: bool = False
    """True for a run whose point is the workflow itself; it needs no evidence and claims no use."""
    budget: Placement[Budget] = Budget()
    """Devices, price and limits the plan is made with."""
    epochs: Gate[EpochRule] = EpochRule()
    """How often a source may repeat."""
