"""What a report shows, as typed data: everything the page prints, nothing about how it looks."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from contracts.config import Config
from tasks.ablation import CourtResult
from tasks.evaluation import QualificationResult
from tasks.posttraining import Approval, Vibe
from tasks.reporting.interval import Interval
from tasks.reporting.skills_view import PanelView, SkillStep

StageState = Literal["ran", "reused", "running", "failed", "waiting"]
Points = list[tuple[float, float]]


class StageView(Config):
    """One box of the DAG."""

    name: str
    """Name of the stage."""
    kind: str = ""
    """Craft that does it."""
    state: StageState = "waiting"
    """What happened to it in this run."""
    seconds: float | None = None
    """Wall time it took when it was made."""
    fingerprint: str = ""
    """Identity of its artifact."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Role -> stage it was read from."""
    follows: list[str] = Field(default_factory=list)
    """Stages whose verdicts settled its config, or before which nothing of it runs, without an artifact of theirs being read."""
    runs: int = 0
    """Runs of arms or seeds that it brought into being and judged; they are no boxes of their own."""
    created: str = ""
    """When its artifact was committed."""
    manifest: dict[str, Any] = Field(default_factory=dict)
    """The whole manifest."""


class PhaseCurve(Config):
    """What one training phase logged, over tokens seen since the first step of the first phase."""

    name: str
    """Name of the phase."""
    start_tokens: float = 0
    """Tokens seen when it began."""
    end_tokens: float = 0
    """Tokens seen when it ended."""
    loss: Points = Field(default_factory=list)
    """(tokens, training loss)."""
    eval_loss: dict[str, Points] = Field(default_factory=dict)
    """Source -> (tokens, held-out loss)."""
    learning_rate: Points = Field(default_factory=list)
    """(tokens, learning rate)."""
    grad_norm: Points = Field(default_factory=list)
    """(tokens, gradient norm)."""
    throughput: Points = Field(default_factory=list)
    """(tokens, tokens per second)."""
    mixture: dict[str, float] = Field(default_factory=dict)
    """Source -> share of the phase."""
    epochs: dict[str, float] = Field(default_factory=dict)
    """Source -> times it was read by the end of the phase, as the trainer counted."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """Activity (productive, evaluating, checkpointing, restarting, waiting) -> wall seconds."""
    layouts: list[str] = Field(default_factory=list)
    """Parallel layouts it ran at."""
    interventions: list[str] = Field(default_factory=list)
    """What was changed or repaired on the way."""
    verdicts: list[str] = Field(default_factory=list)
    """Changes it was trained with that a court accepted, one sentence each."""


class Removal(Config):
    """What one filter took out of a source."""

    name: str
    """Filter."""
    documents: int
    """Documents it removed."""
    bytes: int = 0
    """UTF-8 bytes it removed."""
    samples: list[str] = Field(default_factory=list)
    """Beginnings of a few of them."""


class SourceView(Config):
    """One source of text, from raw to tokens."""

    name: str
    """Name of the source."""
    documents_in: int = 0
    """Documents read."""
    bytes_in: int = 0
    """UTF-8 bytes read."""
    documents: int = 0
    """Documents kept for training."""
    bytes: int = 0
    """UTF-8 bytes kept for training."""
    tokens: int = 0
    """Tokens for training."""
    heldout_documents: int = 0
    """Documents held out."""
    heldout_bytes: int = 0
    """Bytes held out."""
    heldout_tokens: int = 0
    """Tokens held out."""
    epochs: float | None = None
    """Times it was read during training."""
    removed: list[Removal] = Field(default_factory=list)
    """What each filter removed."""
    samples: list[str] = Field(default_factory=list)
    """Beginnings of a few kept documents."""

    @property
    def bytes_per_token(self) -> float | None:
        """Bytes one token stands for."""
        return self.bytes / self.tokens if self.tokens else None


class Check(Config):
    """One line of a gate: what was measured against which bound."""

    name: str
    """What was compared."""
    value: str
    """What was measured."""
    bound: str = ""
    """What was allowed."""
    passed: bool
    """Whether it holds."""


class BitsPerByte(Config):
    """Compression of one held-out source; lower is better."""

    source: str
    """Held-out source."""
    model: Interval
    """The model."""
    bigram: Interval | None = None
    """A token bigram trained on the same shards."""
    difference: Interval | None = None
    """Model minus bigram on the same documents."""
    documents: int = 0
    """Documents scored."""

    @property
    def wins(self) -> bool:
        """True when the model needs fewer bits: by the whole interval of the paired difference where it is known."""
        if self.bigram is None:
            return False
        if self.difference is not None:
            return (self.difference.value if self.difference.high is None else self.difference.high) < 0
        return self.model.value < self.bigram.value


class Accuracy(Config):
    """Share of right answers of one task."""

    task: str
    """Task."""
    score: Interval
    """Accuracy, 0 to 1."""
    chance: float = 0.5
    """Accuracy of guessing."""
    questions: int = 0
    """Questions asked."""
    dropped: int = 0
    """Questions left out because training text shares them."""


class Sample(Config):
    """A continuation written by the final model."""

    prompt: str
    """What it was given."""
    text: str
    """What it wrote."""
    note: str = ""
    """How it was sampled."""


class Link(Config):
    """A place to look further."""

    title: str
    """Words of the link."""
    url: str
    """Address (http, https or file)."""


class ReportView(Config):
    """Everything one report page shows."""

    recipe: str
    """Name of the recipe."""
    recipe_yaml: str = ""
    """The resolved recipe."""
    question: str = ""
    """What the model was trained to find out."""
    created: str = ""
    """When the page was made."""
    headline: dict[str, str] = Field(default_factory=dict)
    """Facts of the model: parameters, layers, vocabulary..."""
    stages: list[StageView] = Field(default_factory=list)
    """The DAG."""
    qualification: QualificationResult | None = None
    """Which metrics may vote in its courts."""
    courts: list[CourtResult] = Field(default_factory=list)
    """Courts that were held before a phase of this run."""
    phases: list[PhaseCurve] = Field(default_factory=list)
    """Training, phase by phase."""
    sources: list[SourceView] = Field(default_factory=list)
    """The data."""
    tokenizer: dict[str, str] = Field(default_factory=dict)
    """Facts of the tokenizer."""
    parity: list[Check] = Field(default_factory=list)
    """The conversion gate."""
    bits_per_byte: list[BitsPerByte] = Field(default_factory=list)
    """Compression of held-out text."""
    accuracies: list[Accuracy] = Field(default_factory=list)
    """Minimal pairs and other tasks."""
    samples: list[Sample] = Field(default_factory=list)
    """Generated text."""
    steps: list[SkillStep] = Field(default_factory=list)
    """Held-out skills of every model from base to merge."""
    final: SkillStep | None = None
    """Those of the released model on items that nothing before it read."""
    panel: PanelView | None = None
    """The merge panel."""
    vibe: Vibe | None = None
    approval: Approval | None = None
    """What a person said about the vibe check."""
    """What a model said to a fixed pack of prompts."""
    gates: list[Check] = Field(default_factory=list)
    """Other gates and waivers of this run."""
    plan: str = ""
    """The plan the run was launched with."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Library -> version."""
    machine: dict[str, str] = Field(default_factory=dict)
    """What it ran on."""
    links: list[Link] = Field(default_factory=list)
    """Prefect, MLflow, model folder..."""
    model_path: str = ""
    """Folder of the final model."""
    missing: list[str] = Field(default_factory=list)
    """What the page would show if its stage had run, said openly."""

    @property
    def seconds(self) -> float:
        """Wall time of all stages that were made."""
        return sum(stage.seconds or 0.0 for stage in self.stages)
