"""Tasks of any suite, named one by one: what a model is measured on beside its own skills, all data in hand before it is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from contracts.errors import InputError
from tasks.data import sources_in
from tasks.evaluation import harness, items, loading
from tasks.evaluation.chat import Chat
from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.harness import How, Prepared, Reader
from tasks.evaluation.loading import Model
from tasks.evaluation.scores import Answered
from tasks.evaluation.suites import SuiteTask
from tasks.evaluation.tokens import TextTokenizer


@dataclass(frozen=True)
class NamedTasks:
    """Tasks, ready to be asked."""

    prepared: Mapping[str, Prepared]
    """By name."""
    dropped: Mapping[str, int]
    """Task -> items left out because they share an n-gram with training text."""

    @classmethod
    def prepare(
        cls, tasks: Mapping[str, SuiteTask], model: Path, curated: Path | None, *, limit: int | None, seed: int, second_half: bool = False
    ) -> NamedTasks:
        """Build or reach for every task's items, for the model of a Hugging Face folder.

        Args:
            curated: documents; needed by tasks that are built from held-out text.
            limit: at most this many items of each task.
            second_half: of the items that are made here, those that a measurement of the first half does not ask.

        Raises:
            InputError: a task whose data cannot be had, or whose items the model cannot see whole; nothing has been run then.
        """
        reader = Reader.of(model)
        reached = harness.from_harness(
            {name: task for name, task in tasks.items() if task.source == "harness"},
            limit=limit, seed=seed, run_generated_code=False, reader=reader,
        )  # fmt: skip
        there = sources_in(curated / "heldout") if curated is not None else []
        built = items.build(EvaluationConfig(seed=seed), curated, there, both_halves(tasks, limit))
        items.leave_out_longer(built, TextTokenizer(model), reader.window)
        require_built(built)
        for name, kept in built.kept.items():
            reached[name] = harness.from_items(name, tasks[name], kept[int(second_half) :: 2][: tasks[name].made_items(limit)])
        return cls(reached, built.dropped)

    def drawn(self, temperature: float, top_p: float) -> NamedTasks:
        """The same with sampled answers to every generative task."""
        return NamedTasks(
            {name: one.drawn(temperature, top_p) if one.task.generative else one for name, one in self.prepared.items()}, self.dropped
        )

    def ask(self, model: Model, names: Iterable[str], *, batch_size: int, seed: int, chat: Chat | None = None) -> dict[str, Answered]:
        """Answers to some of the tasks, as conversations where `chat` says how."""
        chosen = {name: self.prepared[name] for name in names}
        found = harness.run(model, chosen, How(batch_size, seed, chat)) if chosen else {}
        return {name: one.model_copy(update={"dropped": self.dropped.get(name, 0)}) for name, one in found.items()}


def both_halves(tasks: Mapping[str, SuiteTask], limit: int | None) -> dict[str, SuiteTask]:
    """Those of the tasks whose items are made here, asking for what two measurements need: one steers the line, the other one is read once.

    Args:
        limit: at most this many items of each task and measurement.
    """
    made = {name: task for name, task in tasks.items() if task.source != "harness"}
    return {name: task.model_copy(update={"items": 2 * task.made_items(limit)}) for name, task in made.items()}


def require_built(built: items.Items) -> None:
    """Refuse to go on without the items of a task that was named.

    Raises:
        InputError: names every such task, and why it has none.
    """
    if built.left_out:
        reasons = "; ".join(f"{name} ({why})" for name, why in built.left_out.items())
        raise InputError(f"nothing was run: {reasons}", do="name other tasks in posttraining.evaluation.tasks")


@contextmanager
def model_for_tasks(folder: Path, backend: Literal["auto", "transformers", "vllm"], seed: int) -> Iterator[Model]:
    """A model of a Hugging Face folder, in bfloat16 on a GPU, in float32 on a CPU; its memory is given back afterwards.

    Args:
        backend: `auto` takes vLLM where it is installed beside a GPU.

    Raises:
        InputError: its tokenizer cannot be read.
        ResourceError: vllm where it is not installed.
    """
    import torch

    device = torch.cuda.is_available()
    dtype = "bfloat16" if device else "float32"
    if backend == "vllm" or (backend == "auto" and device and find_spec("vllm") is not None):
        loading.require_vllm()
        from tasks.evaluation import vllm_model

        torch.cuda.empty_cache()  # vLLM takes what is free when it starts
        served = vllm_model.load(folder, dtype, seed)
        try:
            yield served
        finally:
            served.close()
        return
    from tasks.evaluation import transformers_model

    yield transformers_model.load(folder, dtype)
