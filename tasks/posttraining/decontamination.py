"""Chat data against what is held out: items of generated skills and of evaluation tasks, and other held-out text by n-grams of words.

Smol Training Playbook, post-training data: decontaminate before training, against every benchmark that will be read later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tasks.data import HeldoutIndex, heldout, items_in, read_documents
from tasks.evaluation.config import named_task
from tasks.posttraining.chat_requests import MEASURE_SEED, ChatRequest
from tasks.posttraining.conversation import Sample
from tasks.posttraining.task_items import TaskItems

if TYPE_CHECKING:
    from tasks.evaluation import Question

Reason = Literal["heldout_item", "task_item", "heldout_text"]


@dataclass(frozen=True)
class Shared:
    """Why a row must not be trained on."""

    reason: Reason
    tasks: tuple[str, ...] = ()
    """Whose items it gives away."""


class Decontamination:
    """Says of each row whether it gives away something that is held out."""

    def __init__(self, texts: Iterable[str], n: int, questions: Mapping[str, Sequence[Question]] | None = None) -> None:
        """Take held-out texts, questions of tasks, and the length of the n-grams in words (0: items of skills alone are checked)."""
        self._n = n
        self._index = HeldoutIndex(list(texts) if n else [], n)
        self._items = TaskItems(questions or {} if n else {}, n)
        self._rows: Counter[str] = Counter()

    @classmethod
    def against(cls, request: ChatRequest, tokenizer: Path, curated: Path | None) -> Decontamination:
        """Against the request's tasks, and the held-out documents of a `curate` artifact, where there is one.

        Raises:
            InputError: a task whose data cannot be had.
        """
        tasks = {name: named_task(name).model_copy(update={"items": one.items}) for name, one in request.tasks.items()}
        questions: Mapping[str, Sequence[Question]] = {}
        if tasks:
            from tasks.evaluation import questions_of  # brings lm-eval

            questions = questions_of(tasks, tokenizer, curated, seed=MEASURE_SEED)
        texts = (document.text for document in read_documents(curated / "heldout")) if curated else ()
        return cls(texts, request.contamination_ngram, questions)

    def shared(self, samples: Iterable[Sample]) -> Shared | None:
        """What a row gives away; None where nothing speaks against it.

        An item of a skill is too short for an n-gram, so a held-out question is recognised as such, in whatever words it is put.
        """
        for sample in samples:
            if sample.malformed:
                continue  # the linter's matter
            text = "\n".join(f"{turn.reasoning}\n{turn.text}" for turn in sample.turns)
            if any(heldout(item) for item in items_in(text)):
                return Shared("heldout_item")
            plain = text.replace("<think>", " ").replace("</think>", " ")
            if tasks := self._items.given_away(plain):
                self._rows.update(tasks)
                return Shared("task_item", tuple(tasks))
            if self._index.see(plain):
                return Shared("heldout_text")
        return None

    def evidence(self) -> dict[str, Any]:
        """What rows were held against, and how many each task has cost."""
        return {"ngram": self._n, "tasks": {task: {**row, "rows": self._rows[task]} for task, row in self._items.table().items()}}
