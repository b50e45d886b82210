"""Preference optimisation with TRL: DPO and its kin, KTO, ORPO.

A policy can raise its margin while both likelihoods fall and the skill is gone: at tiny scale APO-zero alone took sums from 0.81 to 0.39
while pair accuracy rose to 0.72. So margin and pair accuracy are reported here, and the gate is generated held-out accuracy.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from typing import Any

from tasks.posttraining import trl_arguments
from tasks.posttraining.config import PreferenceConfig
from tasks.posttraining.model_folder import load_model, load_renderer
from tasks.posttraining.pair_scores import pair_scores
from tasks.posttraining.plug import Given, Prepared
from tasks.posttraining.preference_pairs import Pair, PairData, pair_data
from tasks.posttraining.rendering import Renderer
from tasks.posttraining.requests import PreferenceRequest


def prepare(given: Given) -> Prepared:
    """A trainer for the step's loss over its pairs.

    Raises:
        ConfigError: a batch that ranks cannot share, a template without markers.
        InputError: no usable pairs, a tokenizer without the template's tokens, no model.
    """
    request = given.request
    assert isinstance(request, PreferenceRequest)
    step, parent = request.step, given.inputs["model"]
    arguments = trl_arguments.preference(step, given.ground, given.folder)
    renderer = load_renderer(parent, request.template)
    data = pair_data(request, renderer, given.inputs)
    model = load_model(parent, given.ground.device)
    trainer = _trainer(step, arguments, model, given, renderer, data)

    def measure() -> Mapping[str, float]:
        if not data.heldout:
            return {}
        policy = trainer.accelerator.unwrap_model(trainer.model)
        reference = getattr(trainer, "ref_model", None)
        if reference is None:
            reference = load_model(parent, given.ground.device).to(policy.device)
        return pair_scores(policy, reference, data.heldout, renderer, step)

    left_out = {"identical": data.identical, "too_long": data.too_long}
    counts = {"pairs": len(data.train), "heldout_pairs": len(data.heldout), "cut": data.cut, **left_out}
    notes = [] if data.heldout else ["no held-out pairs: margin and pair accuracy are not measured"]
    return Prepared(trainer, renderer.tokenizer, counts, {"loss": _loss(step), "beta": step.beta}, notes, measure)


def _loss(step: PreferenceConfig) -> str:
    return f"{step.loss} + {step.sft_weight:g} x sft" if step.sft_weight and step.loss not in ("kto", "orpo") else step.loss


def _trainer(step: PreferenceConfig, arguments: dict[str, Any], model: Any, given: Given, renderer: Renderer, data: PairData) -> Any:
    from datasets import Dataset

    more: dict[str, Any] = {"model": model, "processing_class": _without_additions(renderer.tokenizer)}
    rows: list[dict[str, Any]] = [pair._asdict() for pair in data.train]
    if step.loss == "orpo":
        from trl.experimental.orpo import ORPOConfig

        from tasks.posttraining.orpo_trainer import CountedOrpo

        return CountedOrpo(args=ORPOConfig(**arguments), train_dataset=Dataset.from_list(rows), **more)
    more["ref_model"] = load_model(given.inputs["model"], given.ground.device)
    if step.loss == "kto":
        from trl import KTOConfig, KTOTrainer

        rows = _labelled(data.train, step.seed)
        return KTOTrainer(args=KTOConfig(**arguments), train_dataset=Dataset.from_list(rows), **more)
    from trl import DPOConfig, DPOTrainer

    return DPOTrainer(args=DPOConfig(**arguments), train_dataset=Dataset.from_list(rows), **more)


def _labelled(pairs: list[Pair], seed: int) -> list[dict[str, Any]]:
    """KTO judges single answers and estimates how far the policy has moved from answers of its neighbours: they should have other prompts,
    and it reads rows in their order."""
    both = [(pair.prompt, answer) for pair in pairs for answer in ((pair.chosen, True), (pair.rejected, False))]
    rows = [{"prompt": prompt, "completion": told, "label": good} for prompt, (told, good) in both]
    random.Random(seed).shuffle(rows)
    return rows


def _without_additions(tokenizer: Any) -> Any:
    """A tokenizer that adds nothing to text the template has written whole; the one that is saved stays as it is."""
    if tokenizer("a")["input_ids"] == tokenizer("a", add_special_tokens=False)["input_ids"]:
        return tokenizer
    from tokenizers.processors import Sequence

    bare = copy.deepcopy(tokenizer)
    bare.backend_tokenizer.post_processor = Sequence([])
    return bare
