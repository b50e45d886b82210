"""The fast encoder: tiktoken's core on a Hugging Face tokenizer's own vocabulary, with the ids that `transformers` gives.

What `AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False)` returns is the definition. There, added tokens are split out of
the text before anything else, whether they are special or not, so a document that spells out `<|im_end|>` gets that control token. The
encoder does the same by default. With `special_tokens="text"` the special ones are read as the ordinary characters they are (as
`split_special_tokens=True` does in transformers), and only the plain added tokens (`<think>`) are split out. The embedded corpus does not
depend on this: its filters drop documents that spell out control tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError

Ids = NDArray[np.uint32]
SpecialTokens = Literal["token", "text"]


class Encoder:
    """Text to ids with one tokenizer folder.

    `vocab_size` counts every token, `eod` ends a document; `fast` tells whether tiktoken's core is used or, for tokenizers that it
    cannot reproduce, the Hugging Face library itself.
    """

    def __init__(self, folder: Path, special_tokens: SpecialTokens = "token", threads: int = 1) -> None:
        path = folder / "tokenizer.json"
        try:
            self._document: dict[str, Any] = json.loads(path.read_bytes())
            settings: dict[str, Any] = json.loads((folder / "tokenizer_config.json").read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(
                f"the tokenizer cannot be read: {error}", where=str(folder), do="give a folder with a fast tokenizer"
            ) from None
        self._threads = threads
        added = self._document["added_tokens"]
        self._split = {token["content"] for token in added if special_tokens == "token" or not token["special"]}
        self._special = [token["content"] for token in added if token["special"]]
        self.vocab_size = 1 + max([*self._document["model"]["vocab"].values(), *(token["id"] for token in added)])
        self.eod = _end_of_document(self._document, settings, folder)
        why = unsupported(self._document)
        self.fast = why is None
        self._core: Any = tiktoken_encoding(self._document) if self.fast else _library_tokenizer(path, special_tokens)

    def encode(self, text: str) -> Ids:
        """Ids of one text, as uint32 of shape [tokens]; nothing is added at either end."""
        if self.fast:
            ids: Ids = self._core.encode_to_numpy(text, allowed_special=self._split, disallowed_special=())
            return ids
        return np.array(self._core.encode(text, add_special_tokens=False).ids, dtype=np.uint32)

    def encode_many(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text, in order; with more than one thread side by side."""
        if not self.fast:
            return [np.array(e.ids, dtype=np.uint32) for e in self._core.encode_batch_fast(list(texts), add_special_tokens=False)]
        if self._threads == 1:
            return [self.encode(text) for text in texts]
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(self.encode, texts, chunksize=32))

    def spelled_out(self, text: str) -> int:
        """How many special tokens the text spells out literally."""
        return sum(text.count(token) for token in self._special) if "<" in text else 0


def load_encoder(folder: Path, special_tokens: SpecialTokens = "token", threads: int = 1) -> Encoder:
    """The encoder of a tokenizer folder.

    Raises:
        InputError: no readable fast tokenizer there.
    """
    return Encoder(folder, special_tokens, threads)


def unsupported(document: dict[str, Any]) -> str | None:
    """Why tiktoken's core would not give this `tokenizer.json`'s ids, or None when it does.

    tiktoken merges any neighbours whose concatenation is a token, in the order of ids; the Hugging Face library merges listed pairs in the
    order of the list. The two agree when the list is in the order of ids.
    """
    model, pre = document["model"], document.get("pre_tokenizer") or {}
    steps = pre.get("pretokenizers", [])
    if model["type"] != "BPE" or document.get("normalizer") is not None or model.get("byte_fallback") or model.get("dropout"):
        return "not a plain byte-level BPE"
    if [step["type"] for step in steps] != ["Split", "ByteLevel"] or steps[1]["add_prefix_space"] or steps[1]["use_regex"]:
        return "does not split by one pattern"
    if steps[0]["behavior"] != "Isolated" or steps[0].get("invert") or "Regex" not in steps[0]["pattern"]:
        return "splits in another way than by one pattern"
    added = document["added_tokens"]
    if any(token["lstrip"] or token["rstrip"] or token["single_word"] for token in added):
        return "an added token takes its surroundings with it"
    names = [token["content"] for token in added]
    if any(a != b and a in b for a in names for b in names):
        return "one added token is part of another"
    order = [model["vocab"][_concatenated(merge)] for merge in model["merges"]]
    return None if order == sorted(order) else "merges are not in the order of ids"


def tiktoken_encoding(document: dict[str, Any]) -> Any:
    """A `tiktoken.Encoding` of a `tokenizer.json` that `unsupported` has nothing against; every added token is special to it."""
    import tiktoken

    to_byte = _byte_of_letter()
    added = {token["content"]: token["id"] for token in document["added_tokens"]}
    vocabulary = document["model"]["vocab"]
    ranks = {bytes(to_byte[letter] for letter in token): rank for token, rank in vocabulary.items() if token not in added}
    pattern = document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    return tiktoken.Encoding(name="smolflow", pat_str=pattern, mergeable_ranks=ranks, special_tokens=added)


def _library_tokenizer(path: Path, special_tokens: SpecialTokens) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = special_tokens == "text"
    return tokenizer


def _concatenated(merge: str | list[str]) -> str:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left + right


def _byte_of_letter() -> dict[str, int]:
    """GPT-2's printable letter of every byte, inverted (byte-level BPE vocabularies are written in these letters)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(others)}


def _end_of_document(document: dict[str, Any], settings: dict[str, Any], folder: Path) -> int:
    """Id of the token that ends a document: `<|endoftext|>` where there is one, else the tokenizer's own end token."""
    ids = {token["content"]: int(token["id"]) for token in document["added_tokens"]}
    named = settings.get("eos_token")
    name = named["content"] if isinstance(named, dict) else named
    for candidate in (settings.get("end_of_document"), "<|endoftext|>", "<|end_of_text|>", name):
        if candidate in ids:
            return ids[candidate]
    raise InputError("the tokenizer names no token that ends a document", where=str(folder), do="give a tokenizer with an eos_token")
