"""The recipe: one typed document that says everything about a model to build, composed of every craft's own section."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from contracts.config import Config, Placement, leaves, nearest
from contracts.errors import ConfigError
from contracts.yaml_text import load_yaml
from infra.store import Store
from models.config import ModelConfig
from tasks.ablation.arms import PHASE
from tasks.ablation.config import AblationsConfig
from tasks.compass.config import Purpose
from tasks.conversion.config import ConversionConfig
from tasks.data.config import DataConfig, TokenizerConfig
from tasks.evaluation.config import EvaluationConfig
from tasks.merging.config import MergingConfig
from tasks.posttraining.config import HUB, PostTrainingConfig
from tasks.reporting.release_config import ReleaseConfig
from tasks.training.config import TrainingConfig

WAIVABLE = [
    "compass", "documents", "tokenizer-fertility", "epochs", "qualification", "contamination", "chat-data", "regression", "form", "recall",
    "merge", "heldout-reads",
]  # fmt: skip
BUILT_IN = Path(__file__).resolve().parent.parent / "deployments" / "recipes"


class Waiver(Config):
    """A gate that a person lets pass, and why."""

    gate: str
    """Name of the gate: `compass` (motive, budget, layout as a whole), `documents`, `tokenizer-fertility`, `epochs`, `qualification`,
    `contamination` (a comparison with held-out text that is turned off), `chat-data`, `regression`, `form`, `recall`, `merge`,
    `heldout-reads`."""
    reason: str
    """Why it may pass; stands in the gate's record and in every report."""

    @field_validator("gate")
    @classmethod
    def _known(cls, gate: str) -> str:
        if gate not in WAIVABLE:
            raise ValueError(f"no gate '{gate}' can be waived{nearest(gate, WAIVABLE)}")
        return gate


class Baseline(Config):
    """Where a recipe came from that a person made by adopting what a court accepted (`smolflow adopt`)."""

    version: int = Field(ge=2)
    """A recipe without this section is version 1."""
    parent: str
    """Digest of the recipe it was made from."""
    court: str
    """Fingerprint of the court whose verdict was adopted."""
    by: str = Field(min_length=1)
    """Who adopted it."""
    diff: list[str]
    """What was adopted, for a reader: path: before -> after."""
    adopted: list[str]
    """Digests of all modifications adopted so far, by earlier versions too."""


class Recipe(Config):
    """Everything about a model to build. Where it runs is the site's business."""

    name: str
    """Short name; shows in run names, folders and reports."""
    purpose: Purpose
    """Why train at all, for whom, and within which budget."""
    model: ModelConfig
    """Architecture; `preset: NAME` plus overrides, or every field."""
    data: DataConfig
    """Sources of text, their filters, and what is held out."""
    tokenizer: TokenizerConfig
    """Tokenizer to train or to reuse."""
    ablations: AblationsConfig = AblationsConfig()
    """Courts that decide single changes before a phase is trained."""
    training: TrainingConfig
    """Optimizer and the phases of training, in order."""
    conversion: ConversionConfig = ConversionConfig()
    """Bounds of the parity gate between the Megatron and the Hugging Face model."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """What is measured on the converted model."""
    posttraining: PostTrainingConfig | None = None
    """Supervised fine-tuning, preference and reinforcement after conversion."""
    merging: MergingConfig | None = None
    """Merge of post-trained checkpoints."""
    release: Placement[ReleaseConfig | None] = None
    """Formats of the final model; part of the identity of the release alone, which hashes what it adds to the model's own files."""
    waivers: list[Waiver] = Field([])
    """Gates let pass explicitly, each with its reason."""
    baseline: Placement[Baseline | None] = None
    """Lineage of a recipe that was made by an adoption; part of no stage's identity."""

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,62}", name):
            raise ValueError("use lower-case letters, digits, dots and dashes, starting with a letter or digit")
        return name

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        known = [source.name for source in self.data.sources]
        for phase in self.training.phases:
            for source in phase.mixture:
                if source not in known:
                    raise ValueError(
                        f"training.phases.{phase.name}.mixture names no source of data.sources: '{source}'{nearest(source, known)}"
                    )
            if phase.sequence_length > self.model.max_sequence_length:
                raise ValueError(
                    f"training.phases.{phase.name}.sequence_length {phase.sequence_length} exceeds model.max_sequence_length "
                    f"{self.model.max_sequence_length}"
                )
        phases = [phase.name for phase in self.training.phases]
        for court in self.ablations.courts:
            if court.before is not None and court.before not in phases:
                raise ValueError(f"ablations.courts.{court.name}.before names no phase: '{court.before}'{nearest(court.before, phases)}")
        steps = list(self.posttraining.steps) if self.posttraining else []
        for case in self.ablations.steps:
            if case.stage not in steps:
                raise ValueError(f"ablations.steps.{case.name}.stage names no step: '{case.stage}'{nearest(case.stage, steps)}")
        if self.release is not None and self.posttraining is None:
            raise ValueError("release: only a recipe with `posttraining` releases a model; leave the section out")
        if PHASE in phases and (self.ablations.courts or self.ablations.qualification):
            raise ValueError(f"training.phases.{PHASE}: that name is kept for the runs of the recipe's own sweeps; rename the phase")
        if self.model.vocab_size != self.tokenizer.vocab_size:
            raise ValueError(f"model.vocab_size {self.model.vocab_size} differs from tokenizer.vocab_size {self.tokenizer.vocab_size}")
        return self

    def waiver(self, gate: str) -> str | None:
        """The reason for which `gate` is waived, or None."""
        return next((w.reason for w in self.waivers if w.gate == gate), None)


def names() -> list[str]:
    """Names of the built-in recipes."""
    return sorted(path.stem for path in BUILT_IN.glob("*.yaml"))


def read(reference: str, store: Store | None = None) -> tuple[str, str]:
    """(YAML text, where it came from) of a built-in name, a path ending in .yaml, or a reference into the store.

    Raises:
        ConfigError: nothing of that name, with the nearest known one.
    """
    if reference.startswith("store:"):
        if store is None:
            raise ConfigError(f"'{reference}' lies in the store", do="give the site whose store holds it")
        return store.read_published(reference), reference
    path = Path(reference) if reference.endswith((".yaml", ".yml")) else BUILT_IN / f"{reference}.yaml"
    if not path.is_file():
        raise ConfigError(f"no recipe '{reference}'{nearest(reference, names())}", do="give a built-in name or the path of a .yaml file")
    return path.read_text(), str(path)


def parse(text: str, where: str) -> Recipe:
    """The recipe in `text`. With `extends: NAME` it is that built-in recipe with what stands here: mappings are merged key by key, all
    else replaces what was there.

    Raises:
        ConfigError: not YAML, an unknown recipe to extend, or a recipe that does not validate.
    """
    return Recipe.parse(_extended(load_yaml(text, where), where), where)


def _extended(document: Any, where: str) -> Any:
    if not isinstance(document, dict) or "extends" not in document:
        return {} if document is None else document
    own = {key: value for key, value in document.items() if key != "extends"}
    name = str(document["extends"])
    if name not in names():
        raise ConfigError(f"no built-in recipe '{name}' to extend{nearest(name, names())}", where=where, do="correct `extends`")
    base, place = read(name)
    return _merged(_extended(load_yaml(base, place), place), own)


def _merged(base: Any, own: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(own, dict):
        return own
    return base | {key: _merged(base.get(key), value) for key, value in own.items()}


def load(reference: str, overrides: Sequence[str] = (), store: Store | None = None) -> Recipe:
    """The validated recipe; relative source paths of a file are taken from that file's folder, so any worker resolves them alike."""
    text, where = read(reference, store)
    recipe = parse(text, where)
    if reference.endswith((".yaml", ".yml")):
        recipe = recipe.override(_anchored(recipe, Path(where).resolve().parent))
    return recipe.override(overrides) if overrides else recipe


def _anchored(recipe: Recipe, folder: Path) -> list[str]:
    """Overrides that make relative source paths absolute."""
    mine = recipe.tokenizer.path
    tokenizer = [f"tokenizer.path={json.dumps(str(folder / mine))}"] if mine and (folder / mine).is_dir() else []
    return [*tokenizer, *_chat_anchored(recipe, folder)] + [
        f"data.sources.{index}.path={json.dumps(str(folder / source.path))}"
        for index, source in enumerate(recipe.data.sources)
        if source.kind == "files" and source.path and "://" not in source.path and not Path(source.path).is_absolute()
    ]


def _chat_anchored(recipe: Recipe, folder: Path) -> list[str]:
    """The same for the conversations of post-training and for a chat template of one's own."""
    if recipe.posttraining is None:
        return []
    post = recipe.posttraining.model_dump(mode="json")
    paths = [("template.path", post["template"]["path"])] if post["template"]["path"] else []
    paths += [(path, value) for path, value in leaves(post) if re.fullmatch(r"\w+\.\d+\.(sources|prompts)\.\d+\.uri", path)]
    return [
        f"posttraining.{path}={json.dumps(str(folder / value))}"
        for path, value in paths
        if "://" not in value and not value.startswith(("generated:", HUB)) and not Path(value).is_absolute()
    ]
