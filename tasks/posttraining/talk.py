"""Talking with a model: a conversation that grows turn by turn, each answer handed on while it is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from contracts.errors import ConfigError, InputError
from tasks.conversion import model_in
from tasks.posttraining.config import ChatTemplate, Mode
from tasks.posttraining.conversation import Sample, last_flag, without_flags
from tasks.posttraining.reply import parse_reply
from tasks.posttraining.sampling import Sampler

_TAGS = re.compile(r"(<think>\n?|</think>\n?)")


class Piece(NamedTuple):
    """Some words of an answer, without its think tags."""

    text: str
    reasoning: bool
    """They stand inside the think block."""


class Spoken(NamedTuple):
    """One answer, taken apart as an inference server does it."""

    reasoning: str
    answer: str
    raw: str
    """As it was written, think tags included."""
    ended: bool
    """The model closed its turn; False: the limit cut it."""
    tokens: int
    """Written, the end of the turn included."""
    problem: str = ""
    """Why it could not be taken apart; `answer` is then the raw text."""


class Dialogue:
    """A conversation with one model. The mode stands in the system turn, where training puts it, and holds for every later answer."""

    def __init__(self, sampler: Sampler, mode: Mode | None = None, system: str = "") -> None:
        """Begin.

        Args:
            mode: think or no_think; None: the template's own.
            system: what the system turn says beside the mode.

        Raises:
            ConfigError: a mode is asked for, and the template has none.
        """
        self.sampler, self.system = sampler, system
        self.has_modes = "/no_think" in sampler.renderer.template
        self.mode: Mode | None = "no_think" if self.has_modes else None
        self.messages: list[dict[str, str]] = []
        """User and assistant in turn."""
        if mode is not None:
            self.switch(mode)

    @classmethod
    def load(cls, folder: Path, template: ChatTemplate, mode: Mode | None = None, system: str = "") -> Dialogue:
        """With the model of a folder, `model` below it where it is an artifact of a conversion.

        Raises:
            ConfigError, InputError: a model, tokenizer or template that cannot be used.
        """
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()
        sampler = Sampler.load(model_in(folder), template)
        return cls(sampler, mode or (template.default_mode if "/no_think" in sampler.renderer.template else None), system)

    def switch(self, mode: Mode) -> None:
        """Answer in this mode from now on.

        Raises:
            ConfigError: the template has no modes.
        """
        if not self.has_modes:
            raise ConfigError("this model's chat template has no modes", do="leave the mode out", where="posttraining.template")
        self.mode = mode

    def reset(self) -> None:
        """Forget every turn; system text and mode stay."""
        self.messages.clear()

    def ask(
        self, text: str, max_tokens: int, temperature: float = 0.0, hear: Callable[[Piece], None] = lambda piece: None, key: str = "0"
    ) -> Spoken:
        """One more turn. Nothing of it is kept where it fails or is interrupted.

        Args:
            text: of the user; a word /think or /no_think in it switches the mode.
            max_tokens: longest answer; less where the model's window has no room for it.
            temperature: 0 takes the likeliest token each time.
            hear: called with each few words as they are written.
            key: seed of a sampled answer.

        Raises:
            InputError: the conversation leaves no room for an answer.
        """
        if self.has_modes:
            self.mode, text = last_flag(text, self.mode), without_flags(text)
        prompt = Sample([*self._opening(), *self.messages, {"role": "user", "content": text}], where="this conversation")
        answer = self.sampler.answers([prompt], self._room(prompt, max_tokens), temperature, [key], streamer=self._streamer(hear))[0]
        self.messages += [{"role": "user", "content": text}, {"role": "assistant", "content": answer.text}]
        try:
            reply = parse_reply(answer.text)
        except ValueError as error:
            return Spoken("", answer.text.strip(), answer.text, answer.ended, answer.tokens, str(error))
        return Spoken(reply.reasoning, reply.answer, answer.text, answer.ended, answer.tokens)

    def _opening(self) -> list[dict[str, str]]:
        said = f"{self.system} /{self.mode}".strip() if self.has_modes else self.system
        return [{"role": "system", "content": said}] if said else []

    def _room(self, prompt: Sample, max_tokens: int) -> int:
        renderer, window = self.sampler.renderer, int(self.sampler.model.config.max_position_embeddings)
        length = len(renderer.encode(renderer.text(prompt, prompt=True)))
        if length >= window:
            said = f"the conversation is {length:,} tokens long, and the model sees {window:,}"
            raise InputError(said, do="/reset begins a new one; or say it in fewer words", where=prompt.where)
        return min(max_tokens, window - length)

    def _streamer(self, hear: Callable[[Piece], None]) -> Any:
        from transformers import TextStreamer

        split = Splitter()

        class Heard(TextStreamer):  # type: ignore[misc]  # transformers is untyped here
            def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
                for piece in split(text):
                    hear(piece)

        return Heard(self.sampler.renderer.tokenizer, skip_prompt=True, skip_special_tokens=True, clean_up_tokenization_spaces=False)


class Splitter:
    """Cuts text, as it comes, at its think tags. A tag is one token, so it always comes whole."""

    def __init__(self) -> None:
        self._reasoning = False

    def __call__(self, text: str) -> Iterator[Piece]:
        """The pieces of the next few words."""
        for part in _TAGS.split(text):
            if _TAGS.fullmatch(part):
                self._reasoning = part.startswith("<think>")
            elif part:
                yield Piece(part, self._reasoning)
