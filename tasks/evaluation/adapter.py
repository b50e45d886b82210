"""lm-eval's model interface over `Model`, so that every backend, unconverted Megatron models too, runs lm-eval's own tasks."""

from __future__ import annotations

from typing import Any

from lm_eval import utils
from lm_eval.api.model import TemplateLM

from tasks.evaluation.chat import Chat
from tasks.evaluation.generation import Sampling
from tasks.evaluation.loading import Model

_ANSWER = 256  # tokens of an answer where the task does not say; lm-eval's own default


class Adapter(TemplateLM):  # type: ignore[misc]
    """Gives the numbers that lm-eval's HFLM gives for the same model."""

    def __init__(self, model: Model, batch_size: int, seed: int = 0, chat: Chat | None = None) -> None:
        """`seed`: of sampled answers; `chat`: questions are put as conversations."""
        super().__init__()
        self._model, self.batch_size, self._seed, self._chat = model, batch_size, seed, chat

    @property
    def eot_token_id(self) -> int:
        """Token that ends a document: what stands before a text without context."""
        return self._model.tokenizer.end

    @property
    def max_length(self) -> int:
        """The model's window in tokens."""
        return self._model.facts.window

    @property
    def tokenizer_name(self) -> str:
        """What lm-eval names its cache of prompts after."""
        return self._model.tokenizer.digest

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The prompt of a conversation; without `add_generation_prompt` its last message is the beginning of the answer."""
        assert self._chat is not None, "lm-eval asks for it only where questions are put as conversations"
        return self._chat.ask(chat_history, add_generation_prompt)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Token ids of the text as it stands."""
        return self._model.tokenizer.encode(string)

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Of each (context, continuation)."""
        return list(super().loglikelihood(requests, disable_tqdm=disable_tqdm))

    def _loglikelihood_tokens(self, requests: list[Any], **kwargs: Any) -> list[tuple[float, bool]]:
        return self._model.loglikelihoods([(context, continuation) for _, context, continuation in requests], self.batch_size)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        """Of each whole text, every token predicted once, from as much context as the window holds."""
        rows: list[tuple[list[int], list[int]]] = []
        owners: list[int] = []
        for number, request in enumerate(requests):
            (text,) = request.args
            cut = utils.get_rolling_token_windows(
                token_list=self.tok_encode(text), prefix_token=self.prefix_token_id, max_seq_len=self.max_length, context_len=1
            )
            pieces = [utils.make_disjoint_window(piece) for piece in cut]
            rows += [(list(context), list(scored)) for context, scored in pieces]
            owners += [number] * len(pieces)
        totals = [0.0] * len(requests)
        for owner, (value, _) in zip(owners, self._model.loglikelihoods(rows, self.batch_size), strict=True):
            totals[owner] += value
        return totals

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        """The answer to each (prompt, settings)."""
        found = [""] * len(requests)
        groups: dict[Sampling, list[int]] = {}
        prompts = [self.tok_encode(request.args[0]) for request in requests]
        wanted = [self._sampling(request.args[1]) for request in requests]
        for number, how in enumerate(wanted):
            if self._chat is not None:
                how = self._chat.sampling(how, len(prompts[number]), self.max_length)
            groups.setdefault(how, []).append(number)
        for how, numbers in groups.items():
            texts = self._model.generate([prompts[number] for number in numbers], how, self.batch_size)
            for number, text in zip(numbers, texts, strict=True):
                found[number] = text if self._chat is None else self._chat.answer(text, wanted[number].until)
        return found

    def _sampling(self, settings: dict[str, Any]) -> Sampling:
        until = settings.get("until") or []
        temperature = float(settings.get("temperature", 0.0)) if settings.get("do_sample") else 0.0
        return Sampling(
            new_tokens=min(int(settings.get("max_gen_toks", _ANSWER)), self.max_length - 1),
            temperature=temperature,
            top_p=float(settings.get("top_p", 1.0)),
            until=tuple([until] if isinstance(until, str) else until),
            seed=self._seed,
        )
