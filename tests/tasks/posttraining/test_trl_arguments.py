"""What TRL is told on a CPU and on GPUs; the latter as data, and as far as TRL itself accepts it here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contracts.config import digest, identity
from contracts.errors import ConfigError, ResourceError
from flows.recipe import load
from tasks.posttraining import step_lines, trl_arguments
from tasks.posttraining.config import PreferenceConfig, SftConfig
from tasks.posttraining.presets import PREFERENCE, SFT
from tasks.posttraining.trl_arguments import Ground, accumulation
from tests.tasks.posttraining.lab import preference_step, sft_step

SOURCES = [{"name": "sums", "uri": "generated:add"}]
CPU, GPUS = Ground("cpu"), Ground("cuda", 8, deepspeed=True, liger=True)
SPREAD = {"nodes": 1, "gpus_per_node": 8, "micro_batch_size": 2, "gradient_checkpointing": True, "liger_kernels": True}


def named(kind: type[Any], preset: str, **changes: Any) -> Any:
    """A step that names a preset."""
    return kind.parse({"sources": SOURCES, "preset": preset, **changes}, "step")


def big(**changes: Any) -> Any:
    step = named(SftConfig, "smollm3-final")
    return step.model_copy(update={"placement": step.placement.model_copy(update=SPREAD | changes)})


def test_on_a_cpu_nothing_is_halved_recomputed_or_packed(tmp_path: Path) -> None:
    from trl import SFTConfig

    found = SFTConfig(**trl_arguments.sft(sft_step(), CPU, tmp_path))
    assert (found.bf16, found.fp16, found.activation_checkpointing, found.use_cpu, found.packing) == (False, False, False, True, False)
    assert found.logging_steps == 1 and found.report_to == [] and not found.logging_nan_inf_filter
    assert found.lr_scheduler_kwargs == {"min_lr_rate": 0.1}
    assert found.get_warmup_steps(1000) == 30


def test_on_gpus_the_same_step_is_bfloat16_sharded_and_packed(tmp_path: Path) -> None:
    found = trl_arguments.sft(big(sharding="zero3"), GPUS, tmp_path)
    assert (found["bf16"], found["use_cpu"], found["activation_checkpointing"], found["use_liger_kernel"]) == (True, False, True, True)
    assert (found["packing"], found["packing_strategy"], found["max_length"]) == (True, "bfd", 65_536)
    assert found["gradient_accumulation_steps"] == 128 // (2 * 8)
    assert found["deepspeed"]["zero_optimization"]["stage"] == 3
    assert found["deepspeed"]["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"]
    assert "fsdp" not in found
    assert GPUS.backend(big(sharding="zero3").placement) == "deepspeed"


@pytest.mark.parametrize(("sharding", "reshards"), [("zero2", False), ("zero3", True)])
def test_without_deepspeed_sharding_is_fsdp(sharding: str, reshards: bool) -> None:
    from transformers import TrainingArguments

    ground, placement = GPUS._replace(deepspeed=False), big(sharding=sharding).placement
    assert ground.backend(placement) == "fsdp"
    found = trl_arguments.sharding(placement, ground)
    assert found["fsdp_config"]["reshard_after_forward"] is reshards and "deepspeed" not in found
    plugin = TrainingArguments(output_dir="unused", use_cpu=True, **found).fsdp_plugin_args
    assert plugin["fsdp_version"] == 2 and plugin["reshard_after_forward"] is reshards
    assert plugin["state_dict_type"] == "FULL_STATE_DICT"


def test_a_cpu_shards_nothing_whatever_the_recipe_says() -> None:
    placement = big(sharding="zero3").placement
    assert CPU.backend(placement) == "plain" and trl_arguments.sharding(placement, CPU) == {}


def test_what_is_not_installed_is_said(tmp_path: Path) -> None:
    bare = Ground("cuda", 8)
    with pytest.raises(ResourceError, match="Liger"):
        trl_arguments.sft(big(), bare, tmp_path)
    with pytest.raises(ResourceError, match="zero1 needs DeepSpeed"):
        trl_arguments.sharding(big(sharding="zero1").placement, bare)


def test_a_batch_that_ranks_cannot_share_is_refused() -> None:
    placement = big(micro_batch_size=3).placement
    with pytest.raises(ConfigError, match="128 is no multiple of 3 sequences on 8 rank"):
        accumulation(128, placement, GPUS)
    assert accumulation(48, placement, GPUS) == 2


def test_losses_reach_the_trainer_that_has_them(tmp_path: Path) -> None:
    from trl import DPOConfig, KTOConfig
    from trl.experimental.orpo import ORPOConfig

    def told(**changes: Any) -> dict[str, Any]:
        return trl_arguments.preference(preference_step(**changes), CPU, tmp_path)

    mixed = DPOConfig(**told(loss="apo_zero", sft_weight=0.5))
    assert (mixed.loss_type, mixed.loss_weights, mixed.bf16) == (["apo_zero", "sft"], [1.0, 0.5], False)
    for loss in ("sigmoid", "apo_zero", "apo_down", "ipo", "discopop"):
        assert DPOConfig(**told(loss=loss, sft_weight=0.0)).loss_type == [loss]
    assert KTOConfig(**told(loss="kto")).per_device_train_batch_size == 2 * preference_step().placement.micro_batch_size
    assert ORPOConfig(**told(loss="orpo")).beta == preference_step().beta


def test_presets_are_the_published_settings() -> None:
    base, last = named(SftConfig, "baby-baseline", name="x"), named(SftConfig, "smollm3-final")
    assert (base.schedule.learning_rate, base.global_batch_size, base.packing, base.max_length, base.name) == (1e-5, 128, "none", 8192, "x")
    assert (last.schedule.learning_rate, last.max_length, last.epochs, last.clip_grad) == (2e-5, 65_536, 5.0, 0.2)
    apo = named(PreferenceConfig, "smollm3-final")
    assert (apo.loss, apo.beta, apo.schedule.learning_rate, apo.max_length, apo.clip_grad) == ("apo_zero", 0.05, 1e-6, 24_576, 0.2)
    assert last.schedule.learning_rate / apo.schedule.learning_rate == pytest.approx(20)
    tiny = named(PreferenceConfig, "tiny", epochs=3)
    assert (tiny.loss, tiny.sft_weight, tiny.beta, tiny.schedule.learning_rate, tiny.epochs) == ("apo_zero", 1.0, 0.1, 1e-4, 3)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, known in ((SftConfig, SFT), (PreferenceConfig, PREFERENCE)) for name in known]
)
def test_every_preset_is_a_whole_step_that_its_trainer_accepts(kind: type[Any], name: str, tmp_path: Path) -> None:
    from trl import DPOConfig, SFTConfig

    known: dict[str, Any] = (SFT if kind is SftConfig else PREFERENCE)[name]
    step = named(kind, name)
    held = step.model_dump()
    assert {key: held[key] for key in known} == known
    if kind is SftConfig:
        assert SFTConfig(**trl_arguments.sft(step, CPU, tmp_path)).learning_rate == known["schedule"]["learning_rate"]
    else:
        assert DPOConfig(**trl_arguments.preference(step, CPU, tmp_path)).beta == known["beta"]


def test_tiny_takes_its_preset_and_says_the_rest_itself() -> None:
    section = load("tiny").posttraining
    assert section is not None
    (step,) = section.preference
    preset = named(PreferenceConfig, "tiny").model_dump()
    assert {key: step.model_dump()[key] for key in PREFERENCE["tiny"]} == {key: preset[key] for key in PREFERENCE["tiny"]}
    assert (step.epochs, step.max_length, step.clip_grad) == (3, 128, 1.0)


def test_what_a_step_says_itself_wins_over_its_preset() -> None:
    step = named(SftConfig, "smollm3-final", epochs=1, schedule={"learning_rate": 3e-5}, lora={"rank": 8})
    assert (step.epochs, step.schedule.learning_rate, step.schedule.warmup_ratio, step.packing) == (1, 3e-5, 0.03, "ffd")
    assert step.lora is not None and step.lora.rank == 8
    assert SftConfig.from_yaml(step.to_yaml()) == step, "the name is gone, its settings stay"
    written = SftConfig.parse({key: value for key, value in step.model_dump().items() if key != "preset"})
    assert digest(identity(written)) == digest(identity(step)), "named or written out, it is the same stage"


def test_a_preset_that_is_none_or_changes_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'baby-baseline'"):
        named(SftConfig, "baby-base")
    with pytest.raises(ConfigError, match="no preset 'baby-baseline'"):
        named(PreferenceConfig, "baby-baseline")
    with pytest.raises(ConfigError, match=r"no preset 'tinny'.*did you mean 'tiny'"):
        named(PreferenceConfig, "tinny")
    with pytest.raises(ConfigError, match="would change nothing"):
        named(SftConfig, "baby-baseline", **SFT["smollm3-final"])


def test_steps_are_told_with_what_their_presets_brought_in() -> None:
    line, *_ = step_lines(load("smollm3-3b").posttraining)
    for words in ("sft-main", "from pretrained", "packing ffd", "learning rate 2e-05", "5 epochs", "65,536 tokens", "clipped at 0.2"):
        assert words in line
