"""What every model after pretraining is measured with: generated skills, and tasks of the suites that the stage `evaluate` knows."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from contracts.config import Config, Gate, Placement
from tasks.evaluation.config import SuiteTask, named_task
from tasks.posttraining.chat_config import Mode


class ChatEvaluation(Config):
    """What every model after pretraining is measured with, held out from all of them."""

    skills: list[str] = Field(default_factory=list)
    """Generated skills, by name; answered greedily and sampled, in both modes."""
    items: int = Field(default=200, ge=1)
    """Held-out items per skill and mode."""
    max_answer_tokens: int = Field(default=48, ge=1)
    """Longest answer to an item."""
    min_format: Gate[float] = Field(default=0.0, ge=0, le=1)
    """Least share of the released model's greedy answers to generated skills that must be in form, in each mode (0: any)."""
    tasks: list[str] = Field(default_factory=list)
    """Tasks of any suite of the stage `evaluate`. What is written is asked with the chat template in both modes (recall without reasoning
    alone: it would need the room that the context takes); what is ranked, as it stands."""
    task_items: int | None = Field(default=None, ge=1)
    """At most this many items of each task (unset: as many as its suite says)."""
    attempts: dict[str, int] = Field(default_factory=dict)
    """Answers per question (average at k) for tasks with fewer than about 2,000 questions; unset: as the task's suite says."""
    task_answer_tokens: int | None = Field(default=None, ge=1)
    """Longest answer to a question of a task, its reasoning included; unset: as the task says."""
    temperature: float = Field(default=0.6, ge=0)
    """Sampling temperature of written answers to tasks (generated skills are sampled at 1); 0 takes the likeliest token each time."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Nucleus of written answers to tasks."""
    strip_reasoning: bool = True
    """Score what follows the reasoning alone."""
    backend: Placement[Literal["auto", "transformers", "vllm"]] = "auto"
    """What computes the tasks; `auto`: vLLM where there is one beside a GPU."""
    batch_size: Placement[int] = Field(default=256, ge=1)
    """Prompts answered side by side."""

    @model_validator(mode="after")
    def _askable(self) -> Self:
        tasks = {name: named_task(name) for name in self.tasks}
        code = [name for name, task in tasks.items() if task.runs_code]
        if code:
            raise ValueError(f"{code[0]} runs what the model writes: the stage evaluate measures it, in a container without network")
        for name, attempts in self.attempts.items():
            if name not in tasks or not tasks[name].generative:
                raise ValueError(f"attempts: '{name}' is no task of `tasks` whose answer is written")
            if attempts < 1 or (attempts > 1 and not self.temperature):
                raise ValueError(f"attempts: {attempts} answers to '{name}' at temperature {self.temperature:g}; several need one above 0")
        return self

    def named_tasks(self) -> dict[str, SuiteTask]:
        """Task -> how it is asked, attempts included."""
        found = {name: named_task(name) for name in self.tasks}
        known = {name: task.samples if self.temperature else 1 for name, task in found.items()} | self.attempts
        return {name: task.model_copy(update={"samples": known[name]}) for name, task in found.items()}

    def modes_of(self, task: str) -> list[Mode | None]:
        """Modes in which a task is asked; None: as it stands, without a conversation."""
        known = named_task(task)
        if not known.generative:
            return [None]
        return ["no_think"] if known.recall else ["think", "no_think"]

    def cells(self) -> list[str]:
        """Everything that is measured: `SKILL/MODE`, `TASK/MODE`, and `TASK` where choices are ranked."""
        asked: list[tuple[str, list[Mode | None]]] = [(skill, ["think", "no_think"]) for skill in self.skills]
        asked += [(task, self.modes_of(task)) for task in self.tasks]
        return [f"{name}/{mode}" if mode else name for name, modes in asked for mode in modes]
