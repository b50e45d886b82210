"""How a policy sees held-out pairs, whatever loss trained it: likelihoods of both answers, under it and under the model it started from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.posttraining.config import PreferenceConfig
from tasks.posttraining.preference_pairs import Pair
from tasks.posttraining.rendering import Renderer


def pair_scores(policy: Any, reference: Any, pairs: Sequence[Pair], renderer: Renderer, step: PreferenceConfig) -> dict[str, float]:
    """Metrics of the held-out pairs.

    `pair_accuracy/before` and `/after` are the shares of pairs whose chosen answer is the likelier one, per token; `reward_accuracy` and
    `margin` are about the implicit reward beta * (log p - log p of the reference), in nats, summed over the answer (DPO,
    arXiv:2305.18290); before training both are 0.

    Args:
        policy: the trained model.
        reference: the model it started from.
    """
    before, after = (_log_likelihoods(model, pairs, renderer, step) for model in (reference, policy))
    margins = [
        step.beta * ((after[n][0][0] - before[n][0][0]) - (after[n][1][0] - before[n][1][0])) for n in range(len(pairs))
    ]  # fmt: skip
    count = len(pairs)
    return {
        "heldout/pair_accuracy/before": sum(_per_token(one[0]) > _per_token(one[1]) for one in before) / count,
        "heldout/pair_accuracy/after": sum(_per_token(one[0]) > _per_token(one[1]) for one in after) / count,
        "heldout/reward_accuracy": sum(margin > 0 for margin in margins) / count,
        "heldout/margin": sum(margins) / count,
        "heldout/chosen_log_ratio": sum(new[0][0] - old[0][0] for new, old in zip(after, before, strict=True)) / count,
    }


_Scored = tuple[tuple[float, int], tuple[float, int]]
"""(log-likelihood in nats, tokens) of the chosen answer and of the rejected one."""


def _per_token(scored: tuple[float, int]) -> float:
    return scored[0] / max(scored[1], 1)


def _log_likelihoods(model: Any, pairs: Sequence[Pair], renderer: Renderer, step: PreferenceConfig) -> list[_Scored]:
    import torch

    rows = [_tokens(renderer, pair.prompt, answer, step.max_length) for pair in pairs for answer in (pair.chosen, pair.rejected)]
    was_training, batch = model.training, max(2, step.placement.micro_batch_size)
    model.eval()
    found: list[tuple[float, int]] = []
    with torch.no_grad():
        for start in range(0, len(rows), batch):
            found += _batch(model, rows[start : start + batch])
    model.train(was_training)
    return list(zip(found[::2], found[1::2], strict=True))


def _tokens(renderer: Renderer, prompt: str, answer: str, limit: int) -> tuple[list[int], list[int]]:
    """Ids, and 1 where a token belongs to the answer."""
    before, after = renderer.encode(prompt), renderer.encode(answer)
    return (before + after)[:limit], ([0] * len(before) + [1] * len(after))[:limit]


def _batch(model: Any, rows: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, int]]:
    """Summed log-likelihood and number of the masked tokens of each row; rows are padded on the right."""
    import torch

    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows], device=model.device)
    mask = torch.tensor([mask + [0] * (width - len(mask)) for _, mask in rows], device=model.device)[:, 1:]
    attended = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows], device=model.device)
    logits = model(input_ids=ids, attention_mask=attended, use_cache=False).logits[:, :-1].float()
    told = torch.gather(logits.log_softmax(-1), 2, ids[:, 1:, None])[..., 0] * mask
    return [(float(total), int(count)) for total, count in zip(told.sum(1), mask.sum(1), strict=True)]
