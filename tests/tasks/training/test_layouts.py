"""One model, one loss: every layout trains like a single process, and every checkpoint goes on at every layout."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.tasks.training.ranks import collective
from tests.tasks.training.spread import CASES, worlds

Losses = dict[str, list[tuple[float, float]]]
TOLERANCE = 1e-5
ADAMW = [name for name in CASES if not name.startswith("muon")]
MUON = [name for name in CASES if name.startswith("muon")]


def run(folder: Path, names: list[str], function: str, monkeypatch: pytest.MonkeyPatch, timeout: float) -> Losses:
    monkeypatch.setenv("CASES", "|".join(names))
    found = collective(folder, worlds(names), f"tests.tasks.training.spread:{function}", timeout)
    return {name: values for world in found.values() for name, values in world.items()}


def reference(name: str) -> str:
    return ("muon " if name.startswith("muon") else "") + ("one, whole sequences" if "whole" in name else "one")


def differences(found: Losses, expected: Losses) -> dict[str, float]:
    return {
        name: max(abs(mine[0] - theirs[0]) for mine, theirs in zip(values, expected[name], strict=True)) for name, values in found.items()
    }


RARE = ["tp2 x dp2", "dp4", "muon one, whole sequences", "muon cp2, whole sequences", "muon pp2 x vpp2"]


def assert_same_losses(folder: Path, names: list[str], monkeypatch: pytest.MonkeyPatch) -> Losses:
    found = run(folder, names, "losses", monkeypatch, 300)
    assert set(found) == set(names)
    assert all(len(values) == 20 for values in found.values())
    wrong = differences(found, {name: found[reference(name)] for name in found})
    assert {name: d for name, d in wrong.items() if d > TOLERANCE} == {}
    return found


@pytest.mark.timeout(320)
def test_every_layout_has_the_losses_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = assert_same_losses(tmp_path, [name for name in CASES if name not in RARE], monkeypatch)
    for name in ("one", "muon one"):
        assert found[name][-1][0] < found[name][0][0] - 0.1, "the model has learned nothing, so equal losses say little"
    assert abs(found["one"][-1][0] - found["one, whole sequences"][-1][0]) > 1e-3, "document masking changes nothing here"


@pytest.mark.slow
@pytest.mark.timeout(320)
def test_rarer_layouts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_same_losses(tmp_path, ["one", "muon one", *RARE], monkeypatch)


def test_an_engine_that_is_closed_leaves_no_threads(tmp_path: Path) -> None:
    """Left behind they cost half a core for every thousand, and an engine has 48. Megatron-core itself keeps one group of a layout: 3."""
    (found,) = collective(tmp_path, [2], "tests.tasks.training.spread:threads").values()
    assert found[-1] - found[0] <= 3 * 2, found


def assert_goes_on(folder: Path, pairs: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, timeout: float) -> None:
    saved = run(folder, sorted({a for a, _ in pairs}), "save", monkeypatch, timeout)
    monkeypatch.setenv("PAIRS", "|".join(f"{a}>{b}" for a, b in pairs))
    found = run(folder, sorted({b for _, b in pairs}), "resume", monkeypatch, timeout)
    assert len(found) == len(pairs)
    wrong = differences(found, {pair: saved[pair.split(">")[0]] for pair in found})
    assert {pair: d for pair, d in wrong.items() if d > TOLERANCE} == {}
    same_layout = {pair for pair in found if pair.split(">")[0] == pair.split(">")[1]}
    assert {pair: found[pair] for pair in same_layout} == {pair: saved[pair.split(">")[0]] for pair in same_layout}, "not bit for bit"


@pytest.mark.timeout(320)
def test_checkpoints_go_on_at_other_layouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [
        ("one", "one"), ("one", "pp2 x vpp2"), ("tp2, sequence parallel", "dp2, overlap"), ("dp2, overlap", "dp2, overlap"),
        ("pp2 x vpp2", "one"), ("dp2, overlap", "tp2, sequence parallel"), ("muon dp2", "muon one"), ("muon pp2", "muon dp2"),
    ]  # fmt: skip
    assert_goes_on(tmp_path, pairs, monkeypatch, 150)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_checkpoint_goes_on_at_every_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name in ADAMW if "whole" not in name and "recompute" not in name]
    pairs = [*itertools.product(names, names), ("cp2, whole sequences", "one, whole sequences")]
    assert_goes_on(tmp_path, pairs, monkeypatch, 440)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_muon_checkpoint_goes_on_at_every_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name in MUON if "whole" not in name]
    pairs = [*itertools.product(names, names), ("muon cp2, whole sequences", "muon one, whole sequences")]
    assert_goes_on(tmp_path, pairs, monkeypatch, 140)
