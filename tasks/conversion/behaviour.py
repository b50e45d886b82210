"""Model-level checks: the exported folder, loaded with transformers, against the trained model on held-out text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.conversion.config import DistributionBounds, ParityBounds
from tasks.conversion.findings import Check, bounded
from tasks.conversion.reference import Reference

if TYPE_CHECKING:
    import torch

_PROMPT = 16  # tokens before greedy generation
_HUGE = 50.0  # nats; beyond it exp() is only a way to overflow
_ROWS = 256  # positions compared at a time: float64 distributions over a large vocabulary are big


def load(folder: Path) -> Any:
    """The exported model in float32, no remote code, and proof that it runs.

    Raises:
        ValueError: tensors are missing, left over or of another shape (and whatever else transformers raises on a damaged folder).
    """
    import torch
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False, output_loading_info=True
    )
    model, notes = loaded
    wrong = {kind: sorted(map(str, keys))[:4] for kind, keys in notes.items() if keys}
    if wrong:  # transformers fills a missing tensor with random numbers and goes on
        raise ValueError(f"tensors do not match the architecture: {wrong}")
    with torch.inference_mode():
        model.eval()(torch.tensor([[0, 1]]))  # a config that loads may still be one that cannot run
    return model


def embedding(model: Any, reference: Reference, bounds: ParityBounds) -> Check:
    """The input embedding, row by row; padding rows left behind or lost show in the shape."""
    ours, theirs = reference.embedding.float(), model.get_input_embeddings().weight.detach()
    if ours.shape != theirs.shape:
        return Check(name="embedding rows", passed=False, detail=f"shape {list(theirs.shape)}, not {list(ours.shape)}")
    return bounded("embedding rows", float((ours - theirs).abs().max()), bounds.max_embedding_difference)


@dataclass
class _Sums:
    """Running totals of the comparison, in float64: float32 rounding alone reaches 1e-7 nats."""

    positions: int = 0
    predicted: int = 0
    difference: float = 0.0
    kl: float = 0.0
    same: int = 0
    loss: float = 0.0

    def add(self, ours: torch.Tensor, theirs: torch.Tensor, targets: torch.Tensor) -> None:
        """ours, theirs: [rows, vocab]; targets: [rows, 1], or one fewer at the end of a sequence."""
        largest = float((ours - theirs).abs().max())
        self.difference = largest if math.isnan(largest) else max(self.difference, largest)  # max() would lose a NaN
        self.same += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
        p, q = ours.double().log_softmax(-1), theirs.double().log_softmax(-1)
        self.kl += float((p.exp() * (p - q)).sum())
        self.loss += float((p - q)[: len(targets)].gather(1, targets).sum())
        self.positions += len(ours)
        self.predicted += len(targets)


def distributions(model: Any, reference: Reference, bounds: DistributionBounds, prefix: str = "") -> tuple[list[Check], int]:
    """Logits, KL, top-1 and perplexity over all held-out sequences."""
    import torch

    sums = _Sums()
    for sequence in reference.sequences:
        ids = torch.tensor([list(sequence)])
        with torch.inference_mode():
            ours, theirs = reference.logits(ids)[0], model(ids, use_cache=False).logits[0]
        if ours.shape != theirs.shape:
            return [Check(name="logits", passed=False, detail=f"shape {list(theirs.shape)}, not {list(ours.shape)}")], 0
        for start in range(0, len(sequence), _ROWS):
            rows = slice(start, start + _ROWS)
            sums.add(ours[rows], theirs[rows], ids[0, 1:][rows, None])
    relative = abs(math.expm1(min(sums.loss / sums.predicted, _HUGE)))
    return [
        bounded(f"{prefix}largest logit difference", sums.difference, bounds.max_logit_difference),
        bounded(f"{prefix}KL divergence in nats", sums.kl / sums.positions, bounds.max_kl),
        bounded(f"{prefix}top-1 agreement", sums.same / sums.positions, bounds.min_top1_agreement, "at least"),
        bounded(f"{prefix}relative perplexity difference", relative, bounds.max_perplexity_difference),
    ], sums.positions


def greedy(model: Any, reference: Reference, wanted: int) -> Check:
    """Greedy continuations of the first sequences' starts, `wanted` tokens or up to an end of text.

    The value is the shortest run of equal tokens.
    """
    import torch
    from transformers import GenerationConfig

    end = reference.generation["eos_token_id"]
    worst = wanted
    for prompt in sorted({tuple(sequence[:_PROMPT]) for sequence in reference.sequences[:3]}) if wanted else ():
        ids = torch.tensor([list(prompt)])
        how = GenerationConfig(do_sample=False, max_new_tokens=wanted, eos_token_id=end, pad_token_id=end)
        with torch.inference_mode():
            theirs = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=how)[0, len(prompt) :].tolist()
            ours = _argmax_chain(reference, ids, wanted, end)
        if ours != theirs:
            shared = min(len(ours), len(theirs))
            worst = min(worst, next((n for n in range(shared) if ours[n] != theirs[n]), shared))
    return bounded("greedy tokens equal", float(worst), float(wanted), "at least")


def _argmax_chain(reference: Reference, ids: torch.Tensor, count: int, end: int) -> list[int]:
    import torch

    start = ids.shape[1]
    for _ in range(count):
        ids = torch.cat([ids, reference.logits(ids)[:, -1].argmax(-1, keepdim=True)], dim=1)
        if int(ids[0, -1]) == end:
            break
    return [int(token) for token in ids[0, start:]]


def generation(folder: Path, model: Any, reference: Reference) -> Check:
    """The folder alone, as a reader would use it: tokenizer in, text out, by its own generation config."""
    import torch
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        text = tokenizer.decode(list(reference.sequences[0][:_PROMPT]))
        given = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        torch.manual_seed(0)
        with torch.inference_mode():
            written = model.generate(input_ids=given["input_ids"], attention_mask=given["attention_mask"], max_new_tokens=8)
        fresh = written[0, given["input_ids"].shape[1] :]
        decoded = tokenizer.decode(fresh)
    except Exception as error:  # any failure of the public path is the finding
        return Check(name="generation", passed=False, detail=f"fails: {error!s:.300}")
    return bounded("generation", float(len(fresh) if decoded else 0), 1.0, "at least")
