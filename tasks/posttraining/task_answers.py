"""Tasks of a measurement: what is written is asked as a conversation, in both modes; choices are ranked as they stand.

Ranking choices behind the template's reasoning says nothing: with `/think` a model of a million parameters ranked 0.13 of its sums rightly
and wrote all of them rightly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.job import Progress
from tasks.evaluation import Answered, Chat, NamedTasks, model_for_tasks
from tasks.posttraining.chat_config import Mode
from tasks.posttraining.chat_requests import MeasureRequest
from tasks.posttraining.conversation import Sample
from tasks.posttraining.evaluation_config import ChatEvaluation
from tasks.posttraining.model_folder import load_renderer
from tasks.posttraining.rendering import Renderer

_CLOSED = "</think>"


def prepare_tasks(request: MeasureRequest, inputs: Mapping[str, Path]) -> NamedTasks | None:
    """Every task's items in hand; None where the measurement has no task.

    The side `test` has other items of the tasks that are made here. A public benchmark has one set of questions, which steered the line:
    it is not asked again as if nothing had seen it.

    Raises:
        InputError: items that cannot be had; nothing has been asked then.
    """
    evaluation, test = request.evaluation, request.side == "test"
    tasks = {name: task for name, task in evaluation.named_tasks().items() if not (test and task.source == "harness")}
    if not tasks:
        return None
    found = NamedTasks.prepare(
        tasks, inputs["model"], inputs.get("curate"), limit=evaluation.task_items, seed=request.seed, second_half=test
    )
    return found.drawn(evaluation.temperature, evaluation.top_p) if evaluation.temperature else found


def answer_tasks(tasks: NamedTasks, request: MeasureRequest, folder: Path, progress: Progress) -> dict[str, Answered]:
    """Cell (`TASK`, or `TASK/MODE` of what is written) -> its answers."""
    evaluation, found = request.evaluation, dict[str, Answered]()
    renderer = load_renderer(folder, request.template)
    modes: tuple[Mode | None, ...] = (None, "think", "no_think")
    with model_for_tasks(folder, evaluation.backend, request.seed) as model:
        for mode in modes:
            names = [name for name in tasks.prepared if mode in evaluation.modes_of(name)]
            if names:
                progress(0, 1, ", ".join(names) + (f", {mode}" if mode else ""))
            chat = _chat(renderer, mode, evaluation) if mode else None
            answered = tasks.ask(model, names, batch_size=evaluation.batch_size, seed=request.seed, chat=chat)
            found |= {f"{name}/{mode}" if mode else name: one for name, one in answered.items()}
    return found


def _chat(renderer: Renderer, mode: Mode, evaluation: ChatEvaluation) -> Chat:
    """A question with its mode in the system message, where every trainer put it."""

    def prompt(history: Sequence[Mapping[str, str]]) -> str:
        told = [one["content"] for one in history if one["role"] == "system"]
        system = {"role": "system", "content": "\n".join([f"/{mode}", *told])}
        return renderer.text(Sample([system, *(dict(one) for one in history if one["role"] != "system")]), prompt=True)

    return Chat(
        prompt=prompt,
        scored=scored if evaluation.strip_reasoning else str,
        end=int(renderer.tokenizer.eos_token_id),
        new_tokens=evaluation.task_answer_tokens,
        begins_answer=mode == "no_think",
    )


def scored(reply: str) -> str:
    """What follows the reasoning; nothing where the reasoning never ends."""
    if _CLOSED in reply:
        return reply.rpartition(_CLOSED)[2].lstrip()
    return "" if "<think>" in reply else reply
