"""The training section: what is refused, and what a phase's identity consists of."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.config import digest, identity
from contracts.errors import ConfigError
from models.config import ModelConfig
from tasks.training.config import Job, OptimizerConfig, Phase, Schedule, TrainingConfig, workspace_identity
from tests.tasks.training.material import phase

MODEL = ModelConfig.preset("tiny")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mixture": {"a": 0.6, "b": 0.3}}, "normalise: true"),
        ({"mixture": {"a": 0.6, "b": 0.40565}}, "1.00565"),
        ({"mixture": {"a": 1.5, "b": -0.5}}, "not negative"),
        ({"mixture": {}}, "no source"),
        ({"mixture": {"a": 0.0}}, "no source"),
        ({"mixture": {"a": float("nan")}}, "finite"),
        ({"tokens": 0}, "greater than 0"),
        ({"name": "Stable Phase"}, "lower-case"),
        ({"schedule": {"shape": "constant", "learning_rate": 1e-3, "final_fraction": 0.1}}, "no final learning rate"),
        ({"schedule": {"shape": "linear", "learning_rate": 1e-3, "warmup_steps": 12}}, "nothing is left to decay"),
        ({"schedule": {"shape": "cosine", "learning_rate": 1e-3, "final_learning_rate": 1e-2}}, "above learning_rate"),
        ({"schedule": {"shape": "cosine", "learning_rate": 1e-3, "final_learning_rate": 1e-4, "final_fraction": 0.1}}, "not both"),
        ({"schedule": {"learning_rate": 1e-3, "warmup": 3}}, "did you mean 'warmup_steps'"),
        ({"checkpoint_evry": 3}, "did you mean 'checkpoint_every'"),
    ],
)
def test_bad_phases_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        phase(**change)


def test_normalise_takes_any_shares() -> None:
    one = phase(mixture={"a": 3.0, "b": 1.0, "c": 0.0}, normalise=True)
    assert one.shares == {"a": 0.75, "b": 0.25}


def test_shares_within_the_tolerance_are_divided_by_their_sum() -> None:
    assert sum(phase(mixture={"a": 0.6, "b": 0.4005}).shares.values()) == pytest.approx(1.0, abs=1e-12)


def test_phases_have_distinct_names() -> None:
    same = [phase().model_dump(mode="json")] * 2
    with pytest.raises(ConfigError, match="two phases are called 'stable'"):
        TrainingConfig.parse({"phases": same})


def test_the_first_phase_has_no_optimizer_to_reset() -> None:
    with pytest.raises(ConfigError, match="no optimizer state to reset"):
        TrainingConfig.parse({"phases": [phase(reset_optimizer=True).model_dump(mode="json")]})


def test_steps_are_rounded_up() -> None:
    assert [phase(tokens=tokens).steps for tokens in (1, 256, 257, 12 * 256)] == [1, 1, 2, 12]


def test_zero_as_rate_or_as_fraction_is_one_schedule() -> None:
    written = [{"final_learning_rate": 0.0}, {"final_fraction": 0.0}, {}]
    assert len({digest(identity(Schedule(shape="linear", learning_rate=1e-3, **one))) for one in written}) == 1  # type: ignore[arg-type]


def key(one: Phase, **changes: Any) -> str:
    base: dict[str, Any] = {"model": MODEL, "phase": one, "optimizer": OptimizerConfig(), "seed": 0}
    return digest(workspace_identity(Job(**(base | changes))))


def test_a_constant_phase_keeps_its_workspace_when_lengthened() -> None:
    assert key(phase()) == key(phase(tokens=10**6))
    decay = {"shape": "linear", "learning_rate": 1e-3}
    assert key(phase(schedule=decay)) != key(phase(schedule=decay, tokens=10**6))


def test_placement_is_not_identity() -> None:
    elsewhere = phase(layout={"micro_batch_size": 1, "data_parallel_size": 8}, checkpoint_every=1, evaluate_every=1, log_every=5)
    assert key(phase()) == key(elsewhere)


@pytest.mark.parametrize(
    "change",
    [
        {"mixture": {"a": 0.5, "b": 0.5}}, {"sequence_length": 16}, {"global_batch_size": 16}, {"rope_theta": 5e5},
        {"reset_optimizer": True},
        {"schedule": {"learning_rate": 1e-3}}, {"precision": {"dtype": "bfloat16"}},
    ],
)  # fmt: skip
def test_what_changes_the_result_changes_the_workspace(change: dict[str, Any]) -> None:
    assert key(phase()) != key(phase(**change))


def test_model_optimizer_seed_and_how_it_ends_change_the_workspace() -> None:
    others = [
        {"model": ModelConfig.preset("tiny", init_std=0.1)},
        {"optimizer": OptimizerConfig(beta2=0.99)},
        {"seed": 1},
        {"end_when_diverged": True},
    ]
    assert len({key(phase()), *(key(phase(), **other) for other in others)}) == 5


def test_config_stays_light() -> None:
    import subprocess
    import sys

    code = (
        "import sys, tasks.training.config; heavy = {'torch', 'numpy', 'prefect', 'megatron'}; "
        "print(sorted({m.split('.')[0] for m in sys.modules} & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
