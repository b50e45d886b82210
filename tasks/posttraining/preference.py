"""Preference optimisation with TRL: DPO and its kin, KTO, ORPO.

A policy can raise its margin while both likelihoods fall and the skill is gone: at tiny scale APO-zero alone took sums from 0.81 to 0.39
while pair accuracy rose to 0.72. So margin and pair accuracy are reported here, and the gate is generated held-out accuracy.
"""

from __future__ import annotations

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
        reference = load_model(parent, given.ground.device)
        return pair_scores(trainer.accelerator.unwrap_model(trainer.model), reference, data.heldout, renderer, step)

    left_out = {"identical": data.identical, "too_long": data.too_long}
    counts = {"pairs": len(data.train), "heldout_pairs": len(data.heldout), "cut": data.cut, **left_out}
    notes = [] if data.heldout else ["no held-out pairs: margin and pair accuracy are not measured"]
    return Prepared(trainer, renderer.tokenizer, counts, {"loss": _loss(step), "beta": step.beta}, notes, measure)


def _loss(step: PreferenceConfig) -> str:
    return f"{step.loss} + {step.sft_weight:g} x sft" if step.sft_weight and step.loss not in ("kto", "orpo") else step.loss


def _trainer(step: PreferenceConfig, arguments: dict[str, Any], model: Any, given: Given, renderer: Renderer, data: PairData) -> Any:
    from datasets import Dataset

    more: dict[str, Any] = {"model": model, "processing_class": renderer.tokenizer}
    if step.loss == "orpo":
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        rows = [_as_text(pair, renderer) for pair in data.train]
        return ORPOTrainer(args=ORPOConfig(**arguments), train_dataset=Dataset.from_list(rows), **more)
    more["ref_model"] = load_model(given.inputs["model"], given.ground.device)
    if step.loss == "kto":
        from trl import KTOConfig, KTOTrainer

        rows = [row for pair in data.train for row in _as_labelled(pair)]
        return KTOTrainer(args=KTOConfig(**arguments), train_dataset=Dataset.from_list(rows), **more)
    from trl import DPOConfig, DPOTrainer

    rows = [_as_pair(pair) for pair in data.train]
    return DPOTrainer(args=DPOConfig(**arguments), train_dataset=Dataset.from_list(rows), **more)


def _as_pair(pair: Pair) -> dict[str, Any]:
    return {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected, "chat_template_kwargs": dict(pair.kwargs)}


def _as_labelled(pair: Pair) -> list[dict[str, Any]]:
    """KTO judges single answers."""
    both = ((pair.chosen, True), (pair.rejected, False))
    return [{"prompt": pair.prompt, "completion": said, "label": good, "chat_template_kwargs": dict(pair.kwargs)} for said, good in both]


def _as_text(pair: Pair, renderer: Renderer) -> dict[str, str]:
    """ORPO does not hand arguments to the template, so it is given text."""
    prompt = renderer.text(pair.sample(), prompt=True)
    return {
        "prompt": prompt,
        "chosen": renderer.text(pair.sample(pair.chosen)).removeprefix(prompt),
        "rejected": renderer.text(pair.sample(pair.rejected)).removeprefix(prompt),
    }
