"""GGUF against the model that it was written from: tokens, logits and greedy answers of llama.cpp and of transformers.

    pip install llama-cpp-python
    OMP_NUM_THREADS=1 python -m benchmarks.gguf --model results/tiny/model tiny-f32.gguf tiny-bf16.gguf

Tokens are compared over modules of Python's own library and one line of oddities, logits at the first token of each answer.
"""

from __future__ import annotations

import argparse
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

QUESTIONS = ("What is 47+85?", "What is 12+9?", "What is 99+99?", "Reverse the digits of 52381.")
ODD = "We've you're 'LL x'll 12345 67,8 a\n\n  b\t c   d é日本語 🙂"
LONGEST = 60
"""Tokens of an answer."""


class Reference(NamedTuple):
    """What transformers makes of one prompt."""

    prompt: str
    tokens: list[int]
    logits: np.ndarray[Any, Any]
    answer: list[int]


def main() -> None:
    """Print one row per file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="Hugging Face folder that the files were written from")
    parser.add_argument("files", type=Path, nargs="+", metavar="GGUF")
    arguments = parser.parse_args()
    texts, tokens, references = _references(arguments.model)
    print(f"{sum(map(len, tokens)):,} tokens in {len(texts)} texts, {len(references)} prompts\n")
    print("| file | bytes | texts cut otherwise | largest logit difference | greedy answers the same |\n|---|---|---|---|---|")
    for file in arguments.files:
        print(_row(file, texts, tokens, references), flush=True)


def _references(folder: Path) -> tuple[list[str], list[list[int]], list[Reference]]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    library = Path(sysconfig.get_paths()["stdlib"])
    pages = [(library / f"{name}.py").read_text(encoding="utf-8") for name in ("argparse", "difflib", "heapq", "statistics")]
    texts = [page[start : start + 1500] for page in pages for start in range(0, len(page), 1500)] + [ODD]
    references = []
    for question in QUESTIONS:
        for mode in ("/think", "/no_think"):
            turns = [{"role": "system", "content": mode}, {"role": "user", "content": question}]
            prompt: Any = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, -1].numpy()
                answer = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=LONGEST)[0, len(ids) :].tolist()
            references.append(Reference(prompt, ids, logits, answer))
    return texts, [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts], references


def _row(file: Path, texts: Sequence[str], tokens: Sequence[list[int]], references: Sequence[Reference]) -> str:
    import llama_cpp

    model = llama_cpp.Llama(str(file), n_ctx=0, logits_all=True, verbose=False, n_threads=1)

    def cut(text: str) -> list[int]:
        return list(model.tokenize(text.encode(), add_bos=False, special=True))

    other = sum(cut(text) != ids for text, ids in zip(texts, tokens, strict=True))
    largest, same = 0.0, 0
    for one in references:
        model.reset()
        model.eval(cut(one.prompt))
        largest = max(largest, float(np.abs(model.scores[model.n_tokens - 1] - one.logits).max()))
        same += cut(one.prompt) == one.tokens and _greedy(model, len(one.answer)) == one.answer
    return f"| {file.name} | {file.stat().st_size:,} | {other} | {largest:.4f} | {same} of {len(references)} |"


def _greedy(model: Any, longest: int) -> list[int]:
    """The next tokens, as many as the reference has: an answer that goes on where that one ended differs in its last token."""
    found: list[int] = []
    while len(found) < longest:
        found.append(int(np.argmax(model.scores[model.n_tokens - 1])))
        model.eval(found[-1:])
    return found


if __name__ == "__main__":
    main()
