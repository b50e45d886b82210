"""The stage `tokenizer`: train a byte-level BPE on the curated text, or take an existing one; measure how well it fits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from contracts.errors import InputError
from infra.job import Progress, Summary
from tasks.data.config import TokenizerConfig
from tasks.data.documents import read_documents, sources_in
from tasks.data.encoder import Encoder, load_encoder
from tasks.data.sampling import spread_sample
from tasks.data.snapshot import tokenizer_digest

_CONTRACTIONS = r"'(?:[sdmtSDMT]|ll|LL|ve|VE|re|RE)"
_DIGITS = {"single": r"\p{N}", "groups_of_three": r"\p{N}{1,3}"}
_FIT_BYTES = 200_000


def split_pattern(digits: str) -> str:
    """The one pattern that cuts text before merging: contractions, words with one leading sign, digits, punctuation, line ends, spaces."""
    words = r"[^\r\n\p{L}\p{N}]?\p{L}+"
    return rf"{_CONTRACTIONS}|{words}|{_DIGITS[digits]}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def tokenizer(config: TokenizerConfig, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    """Write a tokenizer folder that `transformers.AutoTokenizer` loads; exactly `vocab_size` tokens.

    Raises:
        InputError: too little text for the vocabulary, an existing tokenizer that cannot be read or has another size, text that does not
            survive the round trip.
    """
    train, heldout = inputs["curate"] / "train", inputs["curate"] / "heldout"
    if config.path is None:
        used = _train(config, train, out, progress)
    else:
        used = 0
        _copy_existing(config, out)
    progress(1, 2, "measuring the fit")
    encoder = load_encoder(out)
    if encoder.vocab_size != config.vocab_size:
        raise InputError(
            f"the tokenizer has {encoder.vocab_size:,} tokens, the recipe says {config.vocab_size:,}", where=str(config.path or "trained"),
            do=f"set tokenizer.vocab_size and model.vocab_size to {encoder.vocab_size} (a multiple of 128), or take another tokenizer",
        )  # fmt: skip
    fit = {name: _fit(encoder, heldout if _has(heldout, name) else train, name) for name in sources_in(train)}
    _check_round_trip(out, heldout)
    metrics = {f"bytes_per_token.{name}": row["bytes_per_token"] for name, row in fit.items()}
    metrics |= {f"fertility.{name}": row["fertility"] for name, row in fit.items()}
    evidence: dict[str, Any] = {"sources": fit, "longest_tokens": longest_tokens(out), "train_bytes": used}
    evidence |= {"fast": encoder.fast, "round_trip": True}
    if config.path is not None:
        evidence["snapshot"] = tokenizer_digest(config)  # looked at again after copying: it was changed meanwhile if this is not the plan's
    progress(2, 2, ", ".join(f"{name} {row['bytes_per_token']:.2f} bytes a token" for name, row in fit.items()))
    return Summary(counts={"vocab_size": encoder.vocab_size, "train_bytes": used}, metrics=metrics, evidence=evidence)


def _train(config: TokenizerConfig, folder: Path, out: Path, progress: Progress) -> int:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(split_pattern(config.digits)), "isolated")
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size - len(config.plain_tokens), min_frequency=config.min_frequency, show_progress=False,
        special_tokens=config.special_tokens, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    used = [0]

    def texts() -> Iterator[str]:
        for text in spread_sample(folder, config.train_bytes, config.mixture):
            used[0] += len(text.encode("utf-8", "replace"))
            yield text

    progress(0, 2, f"learning {config.vocab_size:,} tokens")
    bpe.train_from_iterator(texts(), trainer=trainer)
    bpe.add_tokens([AddedToken(token, special=False, normalized=False) for token in config.plain_tokens])
    learned = bpe.get_vocab_size()
    if learned < config.vocab_size:
        raise InputError(
            f"{used[0]:,} bytes of text give {learned:,} tokens, {config.vocab_size:,} were asked for", where="tokenizer.vocab_size",
            do="give more text, ask for a smaller vocabulary (tokenizer.vocab_size and model.vocab_size), or set tokenizer.min_frequency=1",
        )  # fmt: skip
    _save(bpe, config, out)
    return used[0]


def _save(bpe: Any, config: TokenizerConfig, out: Path) -> None:
    """tokenizer.json and the settings that transformers reads."""
    bpe.save(str(out / "tokenizer.json"))
    end, pad, turn = config.special_tokens[0], config.special_tokens[1], config.special_tokens[-1]
    names = {"eos_token": end, "pad_token": pad}
    extra = [token for token in config.special_tokens if token not in names.values()]
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", **names, "extra_special_tokens": extra, "end_of_document": end, "end_of_turn": turn,
        "model_max_length": 1_000_000_000, "padding_side": "right", "clean_up_tokenization_spaces": False,
    }  # fmt: skip
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "special_tokens_map.json").write_text(json.dumps(names, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _copy_existing(config: TokenizerConfig, out: Path) -> None:
    folder = Path(str(config.path))
    if folder.is_dir():
        for file in sorted(folder.iterdir()):
            if file.is_file() and file.suffix in {".json", ".jinja", ".txt", ".model"}:
                shutil.copyfile(file, out / file.name)
        return
    from transformers import AutoTokenizer

    try:
        AutoTokenizer.from_pretrained(config.path, revision=config.revision).save_pretrained(out)
    except (OSError, ValueError) as error:
        message = f"the tokenizer cannot be fetched: {str(error).splitlines()[0][:200]}"
        raise InputError(message, where=str(config.path), do="check its name, revision and the network, or give a local folder") from error


def _has(folder: Path, source: str) -> bool:
    return any(True for _ in read_documents(folder, source))


def _fit(encoder: Encoder, folder: Path, source: str) -> dict[str, float]:
    """Bytes per token, tokens per whitespace word (fertility) and the share of words cut in two or more, on up to 200 kB of text.

    Smol Training Playbook, tokenizer: fertility and the proportion of continued words, lower is better.
    """
    taken = size = tokens = words = continued = 0
    for document in read_documents(folder, source):
        if taken >= _FIT_BYTES:
            break
        taken += document.size
        size += document.size
        tokens += len(encoder.encode(document.text))
        pieces = encoder.encode_many([f" {word}" for word in document.text.split()])
        words += len(pieces)
        continued += sum(len(piece) > 1 for piece in pieces)
    return {
        "bytes": size, "tokens": tokens, "bytes_per_token": round(size / max(1, tokens), 4),
        "fertility": round(tokens / max(1, words), 4), "continued_words": round(continued / max(1, words), 4),
    }  # fmt: skip


def longest_tokens(folder: Path, count: int = 20) -> list[str]:
    """The longest learned tokens of a tokenizer folder as text; boilerplate in the corpus shows here first."""
    from tokenizers import Tokenizer

    bpe = Tokenizer.from_file(str(folder / "tokenizer.json"))
    added = {token.content for token in bpe.get_added_tokens_decoder().values()}
    learned = sorted(((len(token), token) for token in bpe.get_vocab() if token not in added), reverse=True)
    return [bpe.decoder.decode([token]) for _, token in learned[:count]] if bpe.decoder else [token for _, token in learned[:count]]


def _check_round_trip(folder: Path, heldout: Path) -> None:
    from tokenizers import Tokenizer

    bpe = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = [
        "naïve façade 中文 \U0001f600\t\r\n  x\u00a0y 0123456789 don't",
        *[d.text for _, d in zip(range(50), read_documents(heldout), strict=False)],
    ]
    for text in texts:
        if bpe.decode(bpe.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) != text:
            raise InputError(
                f"the tokenizer does not give text back unchanged: {text[:60]!r}", where=str(folder), do="take another tokenizer"
            )
