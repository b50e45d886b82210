"""What the bodies of the training stages after pretraining are given: the recipe's template and one of its steps.

Inputs by role: `model` (a Hugging Face folder), `chat` (artifact of the stage `chat`) and, for pairs made on policy, `pairs`.
Every one of them leaves a Hugging Face folder with `metrics.jsonl` and `training.json` beside the model.
"""

from __future__ import annotations

from typing import ClassVar

from contracts.config import Config
from tasks.posttraining.config import ChatTemplate, DistillationConfig, PreferenceConfig, ReinforcementConfig, SftConfig, Step

__all__ = ["DistillationRequest", "PreferenceRequest", "ReinforcementRequest", "SftRequest", "StepRequest"]

PAIRS_FILE, HELDOUT_PAIRS_FILE = "pairs.jsonl", "heldout.jsonl"
"""Files of the artifact of `pairs-NAME`: one `{"prompt": [messages], "chosen": [messages], "rejected": [messages]}` a line, with
`chat_template_kwargs` where the template needs some. A pair of `heldout.jsonl` is never trained on."""


class _Request(Config):
    kind: ClassVar[str]
    template: ChatTemplate
    """How conversations become text."""
    step: Step
    """The step."""

    @property
    def stage(self) -> str:
        """Name of the stage."""
        return f"{self.kind}-{self.step.name}"


class SftRequest(_Request):
    """Body config of the stage `sft-NAME`; `chat` holds `sft-NAME/SOURCE.jsonl` for each source of the step."""

    kind = "sft"
    step: SftConfig


class PreferenceRequest(_Request):
    """Body config of the stage `preference-NAME`; pairs come from `pairs` where the step makes them, else from `chat`."""

    kind = "preference"
    step: PreferenceConfig


class ReinforcementRequest(_Request):
    """Body config of the stage `reinforcement-NAME`; `chat` holds `reinforcement-NAME/SOURCE.jsonl` for each source of its prompts."""

    kind = "reinforcement"
    step: ReinforcementConfig


class DistillationRequest(_Request):
    """Body config of the stage `distillation-NAME`; the input `teacher` is there where the teacher is another stage's model."""

    kind = "distillation"
    step: DistillationConfig


StepRequest = SftRequest | PreferenceRequest | ReinforcementRequest | DistillationRequest
