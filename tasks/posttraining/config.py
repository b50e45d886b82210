"""The post-training section of a recipe: chat data, supervised fine-tuning, preference optimisation, reinforcement.

Continued pretraining on reasoning data is a training phase, not post-training. Defaults are those of SmolLM3 where it published them
(Smol Training Playbook, post-training: SFT, preference optimisation, GRPO).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from contracts.config import Config, Gate, Later, Placement, nearest
from tasks.posttraining import presets
from tasks.posttraining.chat_config import HUB, ChatLint, ChatSource, ChatTemplate, Mode
from tasks.posttraining.evaluation_config import ChatEvaluation

__all__ = [
    "HUB", "Alarms", "AnyStep", "ChatEvaluation", "ChatLint", "ChatSource", "ChatTemplate", "DistillationConfig", "Lora", "Mode",
    "OverlongPenalty", "Packing", "PairConfig", "PairJudge", "PostPlacement", "PostTrainingConfig", "PreferenceConfig", "PreferenceLoss",
    "ReinforcementConfig", "RolloutPlacement", "Schedule", "SftConfig", "Step",
]  # fmt: skip

Packing = Literal["none", "ffd", "bfd", "wrapped"]
PreferenceLoss = Literal["sigmoid", "apo_zero", "apo_down", "ipo", "discopop", "kto", "orpo"]


def _require_revision(role: str, model: str) -> None:
    if model.startswith(HUB) and not model.partition("@")[2]:
        raise ValueError(f"{role} '{model}' names no revision; write `{model}@COMMIT`, or it changes under the recipe")


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


class RolloutPlacement(PostPlacement):
    """Where a step of reinforcement runs, and what writes its answers."""

    generation: Literal["auto", "plain", "vllm", "server"] = "auto"
    """`plain` generation, `vllm` beside the trainer on the same devices, a vLLM `server`; `auto`: vLLM where there is one, else plain."""
    generation_url: str = ""
    """URL of the vLLM server (`trl vllm-serve`)."""
    generation_memory: float = Field(default=0.3, gt=0, lt=1)
    """Share of a device's memory for vLLM beside the trainer."""


class Lora(Config):
    """Low-rank adapters on every linear layer."""

    rank: int = Field(default=16, ge=1)
    """Rank of the update."""
    alpha: float = Field(default=32.0, gt=0)
    """Scale; the update is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the adapter."""


class Step(Config):
    """What every training step after pretraining has: a name, the model it starts from, and what it may not cost."""

    name: str = Field(default="main", pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Its stage is called KIND-NAME, for example `sft-main`."""
    parent: str = "pretrained"
    """Model it starts from: `pretrained` (the converted last phase) or another step's stage, for example `sft-main`."""
    seed: int = 0
    """Seed of data order, dropout and sampling."""
    max_regression: Gate[float] = Field(default=0.05, ge=0, le=1)
    """Largest drop of held-out accuracy against its parent that does not stop the line, in the mean over skills and modes (1: any)."""
    max_cell_regression: Gate[float] = Field(default=0.1, ge=0, le=1)
    """The same for one skill in one mode, answered one way; the drop's whole interval must lie beyond it. Never stricter than
    `max_regression`: a step that may forget everything may forget one thing."""
    max_bits_regression: Gate[float | None] = Field(default=None, ge=0)
    """Largest rise of a source's bits per byte of held-out text, its interval as above. Unset: any. The first step of
    `tiny` costs 0.2 to 1.5, the others at most 0.4."""
    placement: Placement[PostPlacement] = PostPlacement()
    """Where it runs."""

    @property
    def models(self) -> list[str]:
        """Steps whose models it reads."""
        return [self.parent]


class SftConfig(Step):
    """Supervised fine-tuning: first, cheap, and the baseline everything after it is measured against; `preset: NAME` starts from settings
    of `presets.SFT`."""

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
    adam_beta2: float = Field(default=0.999, gt=0, lt=1)
    """Decay of the second moment."""
    lora: Lora | None = None
    """Train low-rank adapters instead of all weights; they are merged into the model that the stage leaves."""

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, data: Any) -> Any:
        return presets.resolved(data, presets.SFT)


class PairJudge(Config):
    """A model that marks answers, as the reward `judge` does; its key comes from the environment."""

    url: str = Field(pattern=r"^https?://")
    """Endpoint: an OpenAI-compatible server."""
    margin: float = Field(default=2.0, gt=0, le=10)
    """Marks, of 10, by which the chosen answer must be better than the rejected one."""
    seconds: Placement[float] = Field(default=30.0, gt=0)
    """Time limit of one request."""


class PairConfig(Config):
    """Pairs made of sampled answers (stage `pairs-NAME`): of the parent's own a verified one over a wrong one, unless the fields below say
    whose answers are chosen, and who sorts them."""

    samples: int = Field(default=6, ge=2)
    """Answers sampled per prompt, by each model."""
    strong: Later[str | None] = None
    """Model whose answers are chosen over the parent's: another step's stage (or `pretrained`), or `hf:owner/model@COMMIT`."""
    judge: Later[PairJudge | None] = None
    """Sort by marks: the best answer over the worst."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature."""
    max_answer_tokens: int = Field(default=48, ge=1)
    """Longest answer."""
    heldout_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the pairs kept back for margin and pair accuracy."""

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        _require_revision("strong", self.strong or "")
        return self

    @property
    def verified(self) -> bool:
        """A verifier alone sorts, so that every prompt must bring its exact answer."""
        return self.strong is None and self.judge is None


class PreferenceConfig(Step):
    """Preference optimisation from pairs of a chosen and a rejected answer; `preset: NAME` starts from settings of `presets.PREFERENCE`."""

    sources: list[ChatSource] = Field(min_length=1)
    """Pairs, or with `pairs` the prompts they are made for; most losses overfit after one pass, so share them out and iterate."""
    pairs: PairConfig | None = None
    """Make the pairs; unset: the sources hold them (`chosen`, `rejected`)."""
    max_pairs: int | None = Field(default=None, ge=1)
    """Train on at most this many of them, drawn with the step's seed; a larger number holds the pairs of a smaller one. Unset: on all."""
    loss: PreferenceLoss = "apo_zero"
    """`sigmoid` is plain DPO; `apo_zero` did the least collateral damage for SmolLM3."""
    sft_weight: float = Field(default=0.0, ge=0)
    """Weight of a likelihood term on the chosen answer. At tiny scale `apo_zero` alone destroys the skill that 1.0 keeps."""
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
    adam_beta2: float = Field(default=0.999, gt=0, lt=1)
    """Decay of the second moment."""

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, data: Any) -> Any:
        return presets.resolved(data, presets.PREFERENCE)

    @model_validator(mode="after")
    def _another(self) -> Self:
        if self.pairs is not None and self.pairs.strong == self.parent:
            raise ValueError(f"pairs.strong '{self.parent}' is the parent itself; name a better model, or leave it out")
        return self

    @property
    def models(self) -> list[str]:
        """Steps whose models it reads: its parent's, and the strong one's where that is one."""
        strong = self.pairs.strong if self.pairs is not None else None
        return [self.parent] if strong is None or strong.startswith(HUB) else [self.parent, strong]


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


class Alarms(Config):
    """Signs that a policy games its reward or falls apart; windows are in steps."""

    window: int = Field(default=10, ge=2)
    """Steps that are averaged on either side of a comparison."""
    max_length_growth: float = Field(default=3.0, gt=1)
    """Mean answer length against the first window's that is reported as reward hacking by length."""
    max_truncated: float = Field(default=0.2, ge=0, le=1)
    """Share of answers cut by the length limit that is reported."""
    stop_below: float = Field(default=0.5, ge=0, le=1)
    """Training stops when the mean reward of a window falls below this share of the best window's."""


class ReinforcementConfig(Step):
    """Reinforcement with verifiable rewards (GRPO). SmolLM3 did it after its release and published none of its settings."""

    prompts: list[ChatSource] = Field(min_length=1)
    """Prompts whose answers can be verified."""
    placement: Placement[RolloutPlacement] = RolloutPlacement()
    """Where it runs."""
    rewards: dict[str, float] = Field(default={"exact_answer": 1.0}, min_length=1)
    """Verifier -> weight; each is logged apart."""
    reward_seconds: float = Field(default=10.0, gt=0)
    """Time limit of one verifier for one batch of answers; what has no value by then counts as 0."""
    judge_url: str = ""
    """Endpoint of the reward `judge` (an OpenAI-compatible server); its key comes from the environment."""
    loss: Literal["grpo", "dapo", "dr_grpo"] = "dapo"
    """How tokens are averaged: by answer, over the batch's tokens (DAPO), or by a constant (Dr. GRPO)."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """What advantages are divided by; Dr. GRPO divides by nothing."""
    epsilon: float = Field(default=0.2, gt=0)
    """Clip below."""
    epsilon_high: float = Field(default=0.28, gt=0)
    """Clip above (DAPO: higher than below)."""
    group_size: int = Field(default=8, ge=2)
    """Answers sampled per prompt."""
    iterations: int = Field(default=1, ge=1)
    """Updates per batch of answers."""
    learning_rate: float = Field(default=1e-6, gt=0)
    """Learning rate (constant)."""
    warmup_steps: int = Field(default=3, ge=0)
    """Steps of linear warm-up."""
    kl_coefficient: float = Field(default=0.0, ge=0)
    """Pull to the starting model."""
    clip_grad: float = Field(default=0.5, gt=0)
    """Largest gradient norm."""
    adam_beta2: float = Field(default=0.999, gt=0, lt=1)
    """Decay of the second moment."""
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
    alarms: Gate[Alarms] = Alarms()
    """When training is stopped or a person is warned."""

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.global_batch_size % self.group_size:
            raise ValueError(f"global_batch_size {self.global_batch_size} is no multiple of group_size {self.group_size}")
        return self


class DistillationConfig(Step):
    """On-policy distillation: the student answers, and learns the teacher's next-token distribution at every token of its answer."""

    teacher: str = Field(min_length=1)
    """Another step's stage (or `pretrained`), or `hf:owner/model@COMMIT`; of the same tokenizer as the student."""
    prompts: list[ChatSource] = Field(min_length=1)
    """Questions, each put in its source's mode; whole conversations will do, their last reply is left out."""
    placement: Placement[RolloutPlacement] = RolloutPlacement()
    """Where it runs; the teacher stands beside the student on every device."""
    lmbda: float = Field(default=1.0, ge=0, le=1)
    """Share of the steps whose answers the student writes itself; the others take the replies that the data brings."""
    beta: float = Field(default=1.0, ge=0, le=1)
    """Divergence: 1 is reverse KL (the student drops what the teacher would not say), 0 forward KL, 0.5 Jensen-Shannon."""
    temperature: float = Field(default=1.0, gt=0)
    """Of sampling, and of both distributions in the loss."""
    schedule: Schedule = Schedule(learning_rate=1e-6)
    """Learning rate."""
    clip_grad: float = Field(default=1.0, gt=0)
    """Largest gradient norm."""
    adam_beta2: float = Field(default=0.999, gt=0, lt=1)
    """Decay of the second moment."""
    global_batch_size: int = Field(default=64, ge=1)
    """Answers per step."""
    steps: int = Field(default=200, ge=1)
    """Updates."""
    max_answer_tokens: int = Field(default=4096, ge=1)
    """Longest answer."""

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        _require_revision("teacher", self.teacher)
        return self

    @property
    def models(self) -> list[str]:
        """Steps whose models it reads: its parent's, and the teacher's where that is one."""
        return [self.parent] if self.teacher.startswith(HUB) else [self.parent, self.teacher]


AnyStep = SftConfig | PreferenceConfig | ReinforcementConfig | DistillationConfig


class VibeConfig(Config):
    """The vibe check of the final model: answers to a fixed pack of prompts, for a person to read."""

    approval: bool = False
    """A person must read them and approve them in the Prefect UI before the model is released."""
    approval_hours: float = Field(default=72.0, gt=0)
    """How long a run waits for that person; then it ends, and asks again when it is retried."""


class PostTrainingConfig(Config):
    """What follows pretraining: steps that name their parents, so that they form a chain or branch."""

    template: ChatTemplate = ChatTemplate()
    """How conversations become text."""
    lint: ChatLint = ChatLint()
    """What chat data is held to."""
    contamination_ngram: int = Field(default=13, ge=0)
    """A row that shares this many words in a row with held-out text or an item of `evaluation.tasks` is dropped (0: not checked)."""
    sft: list[SftConfig] = Field(min_length=1)
    """Supervised fine-tuning."""
    preference: list[PreferenceConfig] = Field(default_factory=list)
    """Preference optimisation."""
    reinforcement: list[ReinforcementConfig] = Field(default_factory=list)
    """Reinforcement with verifiable rewards."""
    distillation: list[DistillationConfig] = Field(default_factory=list)
    """On-policy distillation from a teacher."""
    evaluation: ChatEvaluation = ChatEvaluation()
    """What every one of them is measured with."""
    vibe: Gate[VibeConfig] = VibeConfig()
    """Whether a person has a say before the release."""

    @model_validator(mode="after")
    def _parents(self) -> Self:
        known = {"pretrained"} | set(self.steps)
        if len(self.steps) < sum(len(steps) for _, steps in self._kinds):
            raise ValueError("two steps of one kind have the same name; names must differ")
        for stage, step in self.steps.items():
            for model in step.models:
                if model not in known:
                    use = "to start from" if model == step.parent else "to learn from"
                    raise ValueError(f"{stage}: no step '{model}' {use}{nearest(model, sorted(known))}")
        self.in_order()
        return self

    @property
    def _kinds(self) -> tuple[tuple[str, Sequence[AnyStep]], ...]:
        return (
            ("sft", self.sft), ("preference", self.preference), ("reinforcement", self.reinforcement), ("distillation", self.distillation),
        )  # fmt: skip

    @property
    def steps(self) -> dict[str, AnyStep]:
        """Stage name -> step."""
        return {f"{kind}-{step.name}": step for kind, steps in self._kinds for step in steps}

    def in_order(self) -> list[str]:
        """Stage names, parents first.

        Raises:
            ValueError: steps that start from each other.
        """
        done: list[str] = []
        left = dict(self.steps)
        while left:
            # Of those that may start, reinforcement first: it takes longest, and the others take turns beside it.
            ready = [name for name in reversed(left) if all(model == "pretrained" or model in done for model in left[name].models)]
            if not ready:
                raise ValueError(f"steps that start from each other: {', '.join(left)}")
            done += ready
            left = {name: step for name, step in left.items() if name not in done}
        return done
