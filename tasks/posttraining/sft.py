"""Supervised fine-tuning with TRL: all weights or low-rank adapters, loss on the answers alone."""

from __future__ import annotations

from typing import Any

from tasks.posttraining import mixture, packing, trl_arguments
from tasks.posttraining.config import Lora, SftConfig
from tasks.posttraining.model_folder import load_model, load_renderer
from tasks.posttraining.plug import Given, Prepared
from tasks.posttraining.requests import SftRequest
from tasks.posttraining.sft_rows import SftData, sft_data


def prepare(given: Given) -> Prepared:
    """A `trl.SFTTrainer` over the step's mixture.

    Raises:
        ConfigError: packing on a CPU, a batch that ranks cannot share, a template without markers.
        InputError: no usable data, a tokenizer without the template's tokens, no model.
    """
    request = given.request
    assert isinstance(request, SftRequest)
    step = request.step
    arguments = trl_arguments.sft(step, given.ground, given.folder)
    renderer = load_renderer(given.inputs["model"], request.template)
    data = sft_data(request, renderer, given.inputs["chat"])
    planned = packing.plan(
        data.rows.lengths, step.packing, step.max_length, step.global_batch_size, step.epochs, given.ground.device
    )  # fmt: skip
    from trl import SFTConfig as TrlArguments
    from trl import SFTTrainer

    trainer = SFTTrainer(
        model=load_model(given.inputs["model"], given.ground.device),
        args=TrlArguments(**arguments),
        train_dataset=data.rows.dataset(),
        processing_class=renderer.tokenizer,
        peft_config=_adapters(step.lora) if step.lora else None,
    )
    return Prepared(
        trainer,
        renderer.tokenizer,
        counts={
            "conversations": planned.conversations, "sequences": planned.sequences, "epoch_tokens": planned.tokens,
            "trained_tokens": sum(one.trained for one in data.shares), "cut": data.cut, "left_out": data.silent,
        },
        evidence=_evidence(step, data, planned),
        notes=[f"packing: {warning}" for warning in planned.warnings],
    )  # fmt: skip


def _evidence(step: SftConfig, data: SftData, planned: packing.PackingPlan) -> dict[str, Any]:
    weights = {source.name: source.weight for source in step.sources}
    return {
        "mixture": [one.model_dump(mode="json") for one in data.shares],
        "token_share_by_mode": mixture.by_mode(data.shares),
        "weights_for_equal_modes": mixture.weights_for(data.shares, weights),
        "packing": planned.model_dump(mode="json"),
    }


def _adapters(lora: Lora) -> Any:
    from peft import LoraConfig

    scale: Any = lora.alpha  # peft takes fractions, its annotation does not say so
    return LoraConfig(r=lora.rank, lora_alpha=scale, lora_dropout=lora.dropout, target_modules="all-linear", task_type="CAUSAL_LM")
