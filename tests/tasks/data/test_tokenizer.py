from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer

from contracts.errors import InputError
from tasks.data import load_encoder, read_documents, tokenizer, tokenizer_digest
from tasks.data.config import PLAIN_TOKENS, SPECIAL_TOKENS, TokenizerConfig
from tasks.data.encoder import unsupported
from tests.tasks.data.conftest import Line
from tests.tasks.data.material import files_under, silent

RESERVED = [*SPECIAL_TOKENS, *PLAIN_TOKENS]


def train(line: Line, out: Path, **more: object) -> Path:
    out.mkdir(parents=True)
    tokenizer(TokenizerConfig.parse({"vocab_size": 1024, **more}), {"curate": line.root / "curate"}, out, silent)
    return out


def strange_texts() -> list[str]:
    """Literal reserved tokens in every position, odd spaces, digits, scripts, emoji, cut tokens."""
    draw = random.Random(7)
    literal = [
        shape.format(t=t, cut=t[:-1]) for t in RESERVED for shape in ("{t}", "a{t}b", " {t} {t}{t}\n", "{cut}", "<{t}>", "1{t}2 é{cut}{t}")
    ]
    letters = [*" \n\r\t  aA1'sSſKtT0123456789.,!<|>/_\u00a0\u2003\u3000\ufeffé中文かな한한😀👩‍🚀\u0301\u200b", *RESERVED, "don't", "I'LL"]
    return ["", *literal, *("".join(draw.choices(letters, k=draw.randrange(1, 40))) for _ in range(4000))]


@pytest.mark.parametrize("digits", ["single", "groups_of_three"])
def test_ids_equal_transformers(line: Line, tmp_path: Path, digits: str) -> None:
    folder = train(line, tmp_path / digits, digits=digits)
    theirs = AutoTokenizer.from_pretrained(folder)
    texts = [*strange_texts(), *(document.text for document in read_documents(line.root / "curate" / "heldout"))]
    tokens, plain = load_encoder(folder), load_encoder(folder, "text")
    assert tokens.fast
    for text, ids, split in zip(texts, theirs(texts)["input_ids"], theirs(texts, split_special_tokens=True)["input_ids"], strict=True):
        assert tokens.encode(text).tolist() == ids
        assert plain.encode(text).tolist() == split
    assert theirs.decode(theirs(texts[-1])["input_ids"]) == texts[-1]


def test_vocabulary_is_exact_and_reserved_tokens_are_single(line: Line) -> None:
    theirs = AutoTokenizer.from_pretrained(line.root / "tokenizer")
    assert len(theirs) == 1024 == load_encoder(line.root / "tokenizer").vocab_size
    for token in RESERVED:
        assert len(theirs(token)["input_ids"]) == 1
    assert theirs.eos_token == "<|endoftext|>" and theirs.pad_token == "<|pad|>"
    shown = theirs.decode(theirs("<|im_start|><think>2</think><tool_call>x</tool_call><|im_end|>")["input_ids"], skip_special_tokens=True)
    assert shown == "<think>2</think><tool_call>x</tool_call>"


@pytest.mark.parametrize(("digits", "pieces"), [("single", 5), ("groups_of_three", 2)])
def test_digit_policy(line: Line, tmp_path: Path, digits: str, pieces: int) -> None:
    folder = train(line, tmp_path / digits, digits=digits)
    split = Tokenizer.from_file(str(folder / "tokenizer.json")).pre_tokenizer.pre_tokenize_str("x12345")
    assert len(split) == 1 + pieces
    if digits == "single":
        encoder = load_encoder(folder)
        assert len(encoder.encode("12345")) == 5


def test_training_is_deterministic(line: Line, tmp_path: Path) -> None:
    train(line, tmp_path / "again")
    assert files_under(tmp_path / "again") == files_under(line.root / "tokenizer")


def test_evidence_tells_the_fit(line: Line) -> None:
    evidence = line.summaries["tokenizer"].evidence
    assert evidence["sources"]["code"]["bytes_per_token"] > 1.5 and len(evidence["longest_tokens"]) == 20
    encoder = load_encoder(line.root / "tokenizer")
    text = "\n".join(document.text for document in read_documents(line.root / "curate" / "heldout"))
    assert abs(len(text.encode()) / len(encoder.encode(text)) - evidence["sources"]["code"]["bytes_per_token"]) < 0.1


def test_too_little_text_is_refused(line: Line, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tokens, 8,192 were asked for"):
        train(line, tmp_path / "t", vocab_size=8192, train_bytes=20_000)


def test_existing_tokenizer_is_taken_and_its_size_checked(line: Line, tmp_path: Path) -> None:
    given = line.root / "tokenizer"
    wanted, taken = TokenizerConfig(vocab_size=1024, path=str(given)), tmp_path / "taken"
    taken.mkdir()
    evidence = tokenizer(wanted, {"curate": line.root / "curate"}, taken, silent).evidence
    assert evidence["snapshot"] == tokenizer_digest(wanted)
    assert (taken / "tokenizer.json").read_bytes() == (given / "tokenizer.json").read_bytes()
    with pytest.raises(InputError, match="has 1,024 tokens, the recipe says 2,048"):
        train(line, tmp_path / "wrong", path=str(given), vocab_size=2048)


def test_unreadable_tokenizer_is_refused(line: Line, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(line.root / "tokenizer", broken)
    (broken / "tokenizer.json").write_bytes(b'{"model": ')
    with pytest.raises(InputError, match="cannot be read"):
        train(line, tmp_path / "out", path=str(broken))


def test_tokenizer_that_tiktoken_cannot_reproduce_uses_the_library(tmp_path: Path) -> None:
    words = Tokenizer(models.WordLevel({"<|endoftext|>": 0, "the": 1, "end": 2, "[UNK]": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.add_special_tokens(["<|endoftext|>"])
    words.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    encoder = load_encoder(tmp_path)
    assert not encoder.fast and encoder.encode("the end<|endoftext|>").tolist() == [1, 2, 0]
    assert [ids.tolist() for ids in encoder.encode_many(["the", "end end"])] == [[1], [2, 2]]


@pytest.mark.parametrize("change", ["order", "overlap", "strip", "behaviour", "normalizer"])
def test_what_tiktoken_would_get_wrong_is_recognised(line: Line, change: str) -> None:
    document = json.loads((line.root / "tokenizer" / "tokenizer.json").read_text())
    assert unsupported(document) is None
    if change == "order":
        document["model"]["merges"].reverse()
    elif change == "overlap":
        document["added_tokens"][0]["content"] = "<|pad|>>"
    elif change == "strip":
        document["added_tokens"][0]["lstrip"] = True
    elif change == "behaviour":
        document["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed"
    else:
        document["normalizer"] = {"type": "NFC"}
    assert unsupported(document) is not None


def test_threads_change_nothing(line: Line) -> None:
    texts = [document.text for document in read_documents(line.root / "curate" / "heldout")]
    one, two = (load_encoder(line.root / "tokenizer", threads=n).encode_many(texts) for n in (1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
