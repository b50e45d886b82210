"""The rules of number formats and FP8 recipes that need no device to check."""

from __future__ import annotations

import pytest

from contracts.errors import ConfigError
from models.precision import Precision

BF16 = {"dtype": "bfloat16"}


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, {}),
        (BF16, {}),
        (
            {**BF16, "fp8": "hybrid", "fp8_recipe": "delayed", "fp8_amax_history_len": 32},
            {"fp8": "hybrid", "fp8_recipe": "delayed", "fp8_param": False, "fp8_amax_history_len": 32, "fp8_amax_compute_algo": "max"},
        ),
        ({**BF16, "fp8": "hybrid", "fp8_param": True}, {"fp8": "hybrid", "fp8_recipe": "tensorwise", "fp8_param": True}),
        ({**BF16, "fp8": "e4m3", "fp8_recipe": "blockwise"}, {"fp8": "e4m3", "fp8_recipe": "blockwise", "fp8_param": False}),
        ({**BF16, "fp8": "e4m3", "fp8_recipe": "mxfp8"}, {"fp8": "e4m3", "fp8_recipe": "mxfp8", "fp8_param": False}),
    ],
)
def test_each_recipe_is_spelled_the_way_megatron_core_wants_it(fields: dict[str, object], options: dict[str, object]) -> None:
    assert Precision.parse(fields).transformer_options() == options


def test_the_first_and_last_layers_can_stay_in_bfloat16() -> None:
    options = Precision.parse({**BF16, "fp8": "hybrid", "bf16_first_layers": 1, "bf16_last_layers": 2}).transformer_options()
    assert (options["first_last_layers_bf16"], options["num_layers_at_start_in_bf16"], options["num_layers_at_end_in_bf16"]) == (True, 1, 2)


def test_data_parallelism_and_optimizer_agree_with_the_recipe() -> None:
    precision = Precision.parse({**BF16, "fp8": "hybrid", "fp8_param": True})
    assert precision.ddp_options() == {"grad_reduce_in_fp32": True, "fp8_param_gather": True}
    assert precision.optimizer_options() == {"bf16": True, "fp8_recipe": "tensorwise"}
    assert Precision().optimizer_options() == {"bf16": False}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"fp8": "hybrid"}, "fp8 needs dtype bfloat16"),
        ({"fp8_param": True}, "mean nothing without fp8"),
        ({**BF16, "bf16_last_layers": 1}, "mean nothing without fp8"),
        ({**BF16, "fp8": "hybrid", "fp8_recipe": "delayed", "bf16_first_layers": 1}, "delayed recipe cannot keep first or last layers"),
        ({**BF16, "fp8": "hybrid", "fp8_recipe": "delayed", "fp8_amax_history_len": 1}, "16 to 1024"),
        ({**BF16, "fp8": "hybrid", "fp8_recipe": "blockwise"}, "set fp8: e4m3"),
        ({**BF16, "fp8": "hybrid", "fp8_recipe": "mxfp8"}, "set fp8: e4m3"),
        ({**BF16, "fp8": "e4m3", "fp8_recipe": "tensorwise"}, "set fp8: hybrid"),
        ({**BF16, "fp8": "e4m3", "fp8_recipe": "delayed"}, "set fp8: hybrid"),
        ({**BF16, "fp8": "e5m2"}, "fp8"),
        ({"dtype": "float16"}, "dtype"),
    ],
)
def test_a_combination_that_core_or_the_hardware_format_refuses(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Precision.parse(fields)
