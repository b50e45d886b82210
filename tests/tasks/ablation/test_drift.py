"""What differs between runs, and the canary."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.ablation import compare_canary
from tasks.ablation.drift import drift


def manifest(**fields: Any) -> dict[str, Any]:
    return {
        "versions": {"torch": "2.13.0", "scipy": "1.17.1"},
        "machine": {"cpu": "EPYC", "cpus": 2, "platform": "Linux", "accelerators": [], "host": "a", "memory_bytes": 1},
        "layouts": [{"device": "cpu"}],
        "evidence": {"evaluation": {"settings": {"threads": 1, "precision": "float32"}}},
    } | fields


def test_equal_runs_show_nothing() -> None:
    one = manifest()
    assert drift({"baseline.0": one, "baseline.0.train": one, "a.0": one, "a.0.train": one}, {"baseline.0": "x 1", "a.0": "x 1"}) == []


def test_host_and_memory_are_no_drift() -> None:
    other = manifest(machine={**manifest()["machine"], "host": "b", "memory_bytes": 2})
    assert drift({"baseline.0.train": manifest(), "a.0.train": other}, {}) == []


@pytest.mark.parametrize(
    ("role", "other", "what"),
    [
        (".train", manifest(versions={"torch": "2.12.0", "scipy": "1.17.1"}), "training: torch"),
        (".train", manifest(machine={**manifest()["machine"], "cpu": "Xeon"}), "training: cpu"),
        (".train", manifest(layouts=[{"device": "NVIDIA H100"}]), "training: device"),
        (
            "",
            manifest(evidence={"evaluation": {"settings": {"threads": 8, "precision": "float32"}}}),
            "evaluation: threads",
        ),
        ("", manifest(versions={"torch": "2.13.0", "scipy": "1.18.0"}), "evaluation: scipy"),
    ],
)
def test_a_library_a_machine_or_its_threads_are_shown_with_the_runs(role: str, other: dict[str, Any], what: str) -> None:
    found = drift({f"baseline.0{role}": manifest(), f"a.0{role}": other, f"a.1{role}": other}, {})

    assert [one.what for one in found] == [what]
    assert sorted(found[0].values.values()) == [["a.0", "a.1"], ["baseline.0"]]


def test_the_backend_of_the_evaluation_is_compared() -> None:
    found = drift({}, {"baseline.0": "transformers 5.0", "a.0": "vLLM 0.11"})
    assert found[0].what == "evaluation: backend" and set(found[0].values) == {"transformers 5.0", "vLLM 0.11"}


def test_a_canary_tells_identical_from_noise_from_drift() -> None:
    same = compare_canary(2.879, 2.879, 0.04, 9)
    close, far = compare_canary(2.879, 2.90, 0.04, 9), compare_canary(2.879, 3.2, 0.04, 9)

    assert (same.state, same.difference) == ("identical", 0.0) and "last digit" in same.sentence
    assert close.state == "within noise" and close.bound is not None and abs(close.difference) <= close.bound
    assert far.state == "drift" and far.bound is not None and far.difference > far.bound
    assert "+0.321" in far.sentence


def test_a_canary_without_a_known_noise_says_only_that_something_moved() -> None:
    found = compare_canary(2.879, 2.8790001, None, 0)
    assert found.state == "unknown" and found.bound is None and "is not known" in found.sentence


def test_fewer_degrees_of_freedom_allow_more() -> None:
    assert compare_canary(1.0, 1.1, 0.03, 1).state == "within noise"
    assert compare_canary(1.0, 1.1, 0.03, 30).state == "drift"
