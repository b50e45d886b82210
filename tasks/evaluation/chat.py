"""How a question of lm-eval's is put to a model that was taught to converse, and what of its reply is scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from contracts.errors import InputError
from tasks.evaluation.generation import Sampling

Message = Mapping[str, str]
"""`role` and `content`."""


@dataclass(frozen=True)
class Chat:
    """A conversation of one question and its reply."""

    prompt: Callable[[Sequence[Message]], str]
    """Messages up to the question -> text, with the beginning of the reply as an inference server puts it."""
    scored: Callable[[str], str]
    """A reply -> what is scored of it."""
    end: int
    """Token that ends a reply."""
    new_tokens: int | None = None
    """Longest reply in tokens; unset: as the task says."""
    begins_answer: bool = True
    """Whether a task may begin the answer itself (RULER does); not where reasoning comes first."""

    def ask(self, history: Sequence[Message], open_turn: bool) -> str:
        """The prompt for lm-eval's messages.

        Args:
            open_turn: the last message is a question; else it is the beginning of the answer.
        """
        if open_turn:
            return self.prompt(history)
        return self.prompt(history[:-1]) + (history[-1]["content"] if self.begins_answer else "")

    def sampling(self, wanted: Sampling, prompt_tokens: int, window: int) -> Sampling:
        """How a reply is written: to the end of its turn, in what the window leaves. What a task names as the end of an answer must not cut
        the reasoning before it; `answer` applies it afterwards.

        Raises:
            InputError: a prompt that fills the window.
        """
        room = window - prompt_tokens
        if room < 1:
            said = f"a question of {prompt_tokens:,} tokens leaves no room for an answer: the model sees {window:,}"
            raise InputError(said, do="name tasks in posttraining.evaluation.tasks whose questions fit")
        tokens = min(self.new_tokens or wanted.new_tokens, room)
        return Sampling(tokens, wanted.temperature, wanted.top_p, seed=wanted.seed, end=self.end)

    def answer(self, reply: str, until: Sequence[str]) -> str:
        """What is scored of a reply, up to the first text that ends an answer."""
        found = self.scored(reply)
        return found[: min((place for place in map(found.find, until) if place >= 0), default=len(found))]
