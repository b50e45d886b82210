"""The post-training section of a recipe: chat data, supervised fine-tuning, preference optimisation, reinforcement.

Continued pretraining on reasoning data is a training phase, not post-training. Defaults are those of SmolLM3 where it published them
(Smol Training Playbook, post-training: SFT, preference optimisation, GRPO).
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from contracts.config import Config, Gate, Placement

Mode = Literal["think", "no_think"]
Packing = Literal["none", "ffd", "bfd", "wrapped"]
PreferenceLoss = Literal["sigmoid", "apo_zero", "apo_down", "ipo", "discopop", "kto", "orpo"]


class ChatSource(Config):
    """One set of conversations or preference pairs."""

    name: str
    """Name in tables and plots."""
    uri: str
    """Where it is read from: `hf:owner/dataset`, a folder or any fsspec URL of Parquet or JSON lines."""
    subset: str = ""
    """Configuration of a Hugging Face dataset."""
    split: str = "train"
    """Split of a Hugging Face dataset."""
    mode: Mode = "no_think"
    """Whether its answers carry a reasoning trace."""
    weight: float = Field(default=1.0, gt=0)
    """Share of its examples that is used (1: all of them)."""
    examples: int | None = Field(default=None, ge=1)
    """Published number of examples; unset: unknown."""
    tokens: int | None = Field(default=None, ge=1)
    """Published number of tokens; unset: unknown."""


class ChatTemplate(Config):
    """How a conversation becomes text."""

    kind: Literal["chatml", "smollm3", "file"] = "chatml"
    """A known template, or `file` for one of your own."""
    path: str = ""
    """The Jinja file of a template of your own."""
    default_mode: Mode = "no_think"
    """Mode when neither /think nor /no_think is asked for."""
    keep_reasoning: bool = True
    """Keep the reasoning of every turn in training text, not of the last one alone."""
    header: bool = False
    """A metadata header (knowledge cutoff, today's date, mode) in the system turn; without it the turn says the mode alone."""
    knowledge_cutoff: str = ""
    """Date in the header, for example `June 2025`; empty: not said."""
    instructions: str = ""
    """What the system turn says where a conversation brings no text of its own."""

    @model_validator(mode="after")
    def _path(self) -> Self:
        if (self.kind == "file") != bool(self.path):
            raise ValueError("`path` belongs to kind 'file', and kind 'file' needs it")
        return self


class ChatLint(Config):
    """What a chat data set is held to. Thresholds decide what is reported and whether it stops the line, never what is trained on."""

    length: int | None = Field(default=None, ge=8)
    """Longest sequence in tokens; what is longer is cut. Unset: nothing is cut."""
    max_truncated: Gate[float] = Field(default=0.05, ge=0, le=1)
    """Largest share of samples that may be longer."""
    min_mode_share: Gate[float] = Field(default=0.1, ge=0, le=0.5)
    """In a set with both modes, the smallest share of tokens the lesser one should have (SmolLM3's baseline: 0.47, its final set: 0.44)."""
    min_paired: Gate[float] = Field(default=0.05, ge=0, le=1)
    """In a set with both modes, the smallest share of prompts that should be answered in both."""
    examples: int = Field(default=3, ge=1)
    """Examples kept per rule."""


class Schedule(Config):
    """Learning rate of one post-training step: linear warm-up, then cosine."""

    learning_rate: float = Field(gt=0)
    """Peak learning rate; ten or more times below pretraining's for SFT, five to twenty times below SFT's for preferences."""
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    """Share of the steps spent warming up."""
    final_ratio: float = Field(default=0.1, ge=0, le=1)
    """Last learning rate as a share of the peak."""


class PostPlacement(Config):
    """Where and how one post-training step runs; never part of an identity."""

    nodes: int = Field(default=1, ge=1)
    """Machines."""
    gpus_per_node: int = Field(default=1, ge=0)
    """Devices a machine gives; 0 runs on the CPU."""
    micro_batch_size: int = Field(default=1, ge=1)
    """Sequences in flight on one device."""
    sharding: Literal["none", "zero1", "zero2", "zero3"] = "none"
    """What is sharded over the data-parallel ranks."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass."""
    liger_kernels: bool = False
    """Fused loss and norm kernels (CUDA only)."""
    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between checkpoints."""


class SftConfig(Config):
    """Supervised fine-tuning: first, cheap, and the baseline everything after it is measured against."""

    base: str = "pretrained"
    """`pretrained` (the last training phase) or `train-<phase>`."""
    sources: list[ChatSource] = Field(min_length=1)
    """Conversations, balanced by tokens and not by examples."""
    schedule: Schedule = Schedule(learning_rate=1e-5)
    """Learning rate."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the sampled data."""
    global_batch_size: int = Field(default=128, ge=1)
    """Sequences per step (packed ones when packing is on)."""
    max_length: int = Field(default=8192, ge=8)
    """Longest sequence in tokens."""
    packing: Packing = "none"
    """How conversations share a sequence: not at all, first-fit, best-fit or cut at the boundary."""
    assistant_only_loss: bool = True
    """Loss on what the assistant says alone."""
    clip_grad: float = Field(default=1.0, gt=0)
    """Largest gradient norm."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay."""
    placement: Placement[PostPlacement] = PostPlacement()
    """Where it runs."""


class PreferenceConfig(Config):
    """Preference optimisation from pairs of a chosen and a rejected answer."""

    sources: list[ChatSource] = Field(min_length=1)
    """Pairs; most losses overfit after one pass, so share them out and iterate."""
    loss: PreferenceLoss = "apo_zero"
    """`sigmoid` is plain DPO; `apo_zero` did the least collateral damage for SmolLM3."""
    beta: float = Field(default=0.05, gt=0)
    """Strength of the pull to the reference: a larger beta deviates less."""
    schedule: Schedule = Schedule(learning_rate=1e-6, warmup_ratio=0.1)
    """Learning rate."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the pairs."""
    global_batch_size: int = Field(default=32, ge=1)
    """Pairs per step."""
    max_length: int = Field(default=24_576, ge=8)
    """Longest prompt and answer together, in tokens."""
    clip_grad: float = Field(default=0.2, gt=0)
    """Largest gradient norm."""
    seeds: list[int] = Field(default=[0], min_length=1)
    """One run per seed; a merge can average them into a soup."""
    placement: Placement[PostPlacement] = PostPlacement()
    """Where it runs."""


class OverlongPenalty(Config):
    """DAPO's penalty for long answers: 0 up to `maximum - window` tokens, then linear down to -1 at `maximum`."""

    maximum: int = Field(ge=2)
    """Answer length in tokens at which the penalty is whole."""
    window: int = Field(ge=1)
    """Tokens before the maximum over which it grows."""

    @model_validator(mode="after")
    def _window(self) -> Self:
        if self.window >= self.maximum:
            raise ValueError(f"window {self.window} must be shorter than maximum {self.maximum}")
        return self


class ReinforcementConfig(Config):
    """Reinforcement with verifiable rewards (GRPO). SmolLM3 did it after its release and published none of its settings."""

    prompts: list[ChatSource] = Field(min_length=1)
    """Prompts whose answers can be verified."""
    rewards: dict[str, float] = Field(default={"exact_answer": 1.0}, min_length=1)
    """Verifier -> weight; each is logged apart."""
    group_size: int = Field(default=8, ge=2)
    """Answers sampled per prompt."""
    learning_rate: float = Field(default=1e-6, gt=0)
    """Learning rate (constant)."""
    kl_coefficient: float = Field(default=0.0, ge=0)
    """Pull to the starting model."""
    global_batch_size: int = Field(default=64, ge=1)
    """Answers per step."""
    steps: int = Field(default=400, ge=1)
    """Updates."""
    max_answer_tokens: int = Field(default=4096, ge=1)
    """Longest answer."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature."""
    mode: Mode = "no_think"
    """Mode that is trained; both at once was unstable."""
    overlong: OverlongPenalty | None = None
    """Penalty for long answers; without one, length is what the reward buys."""
    placement: Placement[PostPlacement] = PostPlacement()
    """Where it runs."""


class ChatEvaluation(Config):
    """What post-training is measured with."""

    tasks: list[str] = Field(default_factory=list)
    """Names of lm-eval tasks."""
    attempts: dict[str, int] = Field(default_factory=dict)
    """Answers per question (average at k) for tasks with fewer than about 2,000 questions."""
    temperature: float = Field(default=0.6, ge=0)
    """Sampling temperature of release evaluations."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Nucleus of release evaluations."""
    strip_reasoning: bool = True
    """Score what follows the reasoning alone."""


class PostTrainingConfig(Config):
    """The chain after pretraining; a step that is not named is not run."""

    template: ChatTemplate = ChatTemplate()
    """How conversations become text."""
    sft: SftConfig
    """Supervised fine-tuning."""
    preference: PreferenceConfig | None = None
    """Preference optimisation."""
    reinforcement: ReinforcementConfig | None = None
    """Reinforcement with verifiable rewards."""
    evaluation: ChatEvaluation = ChatEvaluation()
    """What it is measured with."""
    seed: int = 0
    """Seed of data order and dropout."""
    max_regression: Gate[float] = Field(default=0.03, ge=0)
    """Largest drop of any pretraining score that a step may cause."""
