"""Seed runs' evaluations, written as the stage `evaluate` leaves them, through the body of the stage `qualify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import ConfigError, InputError
from infra.job import Summary
from tasks.evaluation.qualification import QualificationResult, qualification_problems
from tasks.evaluation.qualifying import FILE, QualifyRequest, qualify

SEEDS, TOKENS = [0, 1, 2, 3], [100, 200, 300, 400, 500]
APART = {0: -1.5, 1: -0.5, 2: 0.5, 3: 1.5}


def scores(bits: float, accuracy: float, **changed: Any) -> dict[str, Any]:
    """An evaluation of two sources and two tasks; `bits` a byte, `accuracy` of 1,000 items."""
    right = [1.0] * round(1000 * accuracy) + [0.0] * (1000 - round(1000 * accuracy))
    source = {"documents": ["a", "b"], "bits": [100 * bits, 300 * bits], "bytes": [100, 300], "bigram_bits": [260.0, 780.0]}
    answered = {"items": [str(n) for n in range(1000)], "right": right, "chance": 0.25}
    dull = answered | {"right": [1.0, 0.0, 0.0, 0.0] * 250}
    return {
        "suite": "offline 1 abc", "tokenizer": "t", "backend": "megatron-core 0.16.1",
        "compressed": {"prose": source, "code": source}, "answered": {"induction": answered, "brackets": dull},
    } | changed  # fmt: skip


def line(tokens: int, seed: int) -> dict[str, Any]:
    """A model that learns: bits fall from 2.9 to 2.5, induction rises from .30 to .50."""
    step = tokens / 500
    return scores(3.0 - 0.5 * step + 0.02 * APART[seed], 0.25 + 0.25 * step + 0.005 * APART[seed])


def written(root: Path, cells: dict[str, dict[str, Any]]) -> dict[str, Path]:
    folders = {}
    for role, found in cells.items():
        folders[role] = root / role
        folders[role].mkdir(parents=True)
        (folders[role] / "scores.json").write_text(json.dumps(found))
    return folders


def grid(seeds: list[int] = SEEDS, tokens: list[int] = TOKENS) -> dict[str, dict[str, Any]]:
    return {f"baseline.{seed}.{count}": line(count, seed) for seed in seeds for count in tokens}


def run(root: Path, cells: dict[str, dict[str, Any]], **changed: Any) -> tuple[QualificationResult, Summary]:
    asked = QualifyRequest.parse({"arms": ["baseline"], "seeds": SEEDS, "tokens": TOKENS} | changed)
    (root / "out").mkdir()
    summary = qualify(asked, written(root / "in", cells), root / "out", lambda done, total, note: None)
    return QualificationResult.parse(json.loads((root / "out" / FILE).read_text())), summary


def test_learned_metrics_qualify_and_the_dull_one_says_why_not(tmp_path: Path) -> None:
    found, summary = run(tmp_path, grid())
    assert summary.evidence["qualified"] == {
        "accuracy/brackets": False,
        "accuracy/induction": True,
        "bits_per_byte": True,
        "bits_per_byte/code": True,
        "bits_per_byte/prose": True,
    }
    assert "monotonicity 0, needs 0.5" in summary.evidence["why"]["accuracy/brackets"]
    assert summary.evidence["why"]["bits_per_byte"].startswith("qualified: monotonicity 1")
    assert summary.counts == {"evaluations": 20, "metrics": 5, "qualified": 4}
    assert found.suite == "offline 1 abc" and not found.remarks
    assert qualification_problems(summary.evidence, "bits_per_byte") == []
    assert "monotonicity" in qualification_problems(summary.evidence, "accuracy/brackets")[0]


def test_curves_are_left_for_plots(tmp_path: Path) -> None:
    found, _ = run(tmp_path, grid())
    assert list(found.curves["bits_per_byte"]["baseline"]) == SEEDS
    points = found.curves["bits_per_byte/prose"]["baseline"][2]
    assert [tokens for tokens, _ in points] == TOKENS
    assert points[-1][1] == pytest.approx(2.51)


def test_numbers_by_hand(tmp_path: Path) -> None:
    found, summary = run(tmp_path, grid())
    bits = found.metrics["bits_per_byte"]
    spread = 0.02 * (5 / 3) ** 0.5  # of -1.5 -.5 .5 1.5
    assert bits.signal_to_noise == pytest.approx(sum((3 - 0.1 * n) / spread for n in range(1, 6)) / 5)
    assert bits.above_random == pytest.approx((2.6 - 2.5) / spread)
    assert summary.metrics["above_random/bits_per_byte"] == bits.above_random
    assert bits.baseline is not None and (bits.baseline.value, bits.baseline.what) == (pytest.approx(2.6), "the token bigram")
    task = found.metrics["accuracy/induction"].baseline
    assert task is not None and (task.value, task.what) == (0.25, "chance")


def test_a_guess_of_any_token_is_the_baseline_of_bits_where_the_vocabulary_is_known(tmp_path: Path) -> None:
    cells = grid()
    for one in cells.values():
        one["compressed"] = {name: source | {"tokens": [20, 60]} for name, source in one["compressed"].items()}
        one["vocab_size"] = 1024
    found, _ = run(tmp_path, cells)
    baseline = found.metrics["bits_per_byte"].baseline
    assert baseline is not None and (baseline.value, baseline.what) == (pytest.approx(10 * 80 / 400), "a guess of any token")


def test_untrained_model_is_the_baseline_of_bits_and_no_step(tmp_path: Path) -> None:
    cells = grid() | {f"baseline.{seed}.0": scores(8.0 + 0.02 * APART[seed], 0.25) for seed in SEEDS}
    found, _ = run(tmp_path, cells, tokens=[0, *TOKENS])
    bits = found.metrics["bits_per_byte"]
    assert bits.baseline is not None and (bits.baseline.value, bits.baseline.what) == (pytest.approx(8), "the untrained model")
    assert bits.steps == 5 and found.curves["bits_per_byte"]["baseline"][0][0][0] == 0


def test_bits_without_bigram_or_untrained_model_do_not_qualify(tmp_path: Path) -> None:
    cells = grid()
    for cell in cells.values():
        cell["compressed"] = {name: source | {"bigram_bits": []} for name, source in cell["compressed"].items()}
    _, summary = run(tmp_path, cells)
    assert "knows nothing" in summary.evidence["why"]["bits_per_byte"]
    assert summary.evidence["qualified"]["accuracy/induction"]


def test_evaluations_of_different_suites_are_refused_by_name(tmp_path: Path) -> None:
    cells = grid()
    cells["baseline.2.300"]["suite"] = "offline 2 def"
    with pytest.raises(InputError, match=r"2 different suites.*and 15 more; 'offline 2 def': baseline\.2\.300"):
        run(tmp_path, cells)


def test_two_seeds_are_not_enough(tmp_path: Path) -> None:
    _, summary = run(tmp_path, grid(seeds=[0, 1]), seeds=[0, 1])
    assert not any(summary.evidence["qualified"].values())
    assert summary.evidence["why"]["bits_per_byte"] == "not qualified: needs 4 complete seeds of 'baseline', has 2"


def test_three_lengths_are_not_enough(tmp_path: Path) -> None:
    _, summary = run(tmp_path, grid(tokens=[100, 200, 300]), tokens=[100, 200, 300])
    assert summary.evidence["why"]["bits_per_byte"] == "not qualified: needs 5 points of the curve, has 3"


def test_missing_and_diverged_runs_are_named_and_do_not_count(tmp_path: Path) -> None:
    cells = grid()
    del cells["baseline.1.200"]
    cells["baseline.3.500"] |= {"compressed": {}, "answered": {}, "diverged_at": 77}
    found, summary = run(tmp_path, cells)
    assert "baseline.3.500 diverged at step 77: it has no value" in found.remarks
    assert "no evaluation of baseline.1.200" in found.remarks
    assert summary.evidence["why"]["bits_per_byte"].endswith("needs 4 complete seeds of 'baseline', has 2")


def test_task_that_was_left_out_everywhere_does_not_vanish(tmp_path: Path) -> None:
    cells = {role: cell | {"left_out": {"recall_64": "window too short"}} for role, cell in grid().items()}
    found, summary = run(tmp_path, cells)
    assert summary.evidence["qualified"]["accuracy/recall_64"] is False
    assert any("left out recall_64: window too short" in remark for remark in found.remarks)


def test_value_that_is_no_number_is_a_gap(tmp_path: Path) -> None:
    cells = grid()
    compressed = cells["baseline.0.400"]["compressed"]
    compressed["prose"] = compressed["prose"] | {"bits": [float("nan"), 1.0]}
    _, summary = run(tmp_path, cells)
    assert "has 3" in summary.evidence["why"]["bits_per_byte/prose"] and "has 3" in summary.evidence["why"]["bits_per_byte"]
    assert summary.evidence["qualified"]["bits_per_byte/code"]


def test_variants_are_ordered_and_may_have_one_seed(tmp_path: Path) -> None:
    cells = grid() | {f"lr[0.1].0.{count}": scores(3.2 - 0.3 * count / 500, 0.25 + 0.1 * count / 500) for count in TOKENS}
    found, summary = run(tmp_path, cells, arms=["baseline", "lr[0.1]"])
    assert found.metrics["bits_per_byte"].ordering_consistency == 1
    assert summary.evidence["qualified"]["bits_per_byte"]


def test_different_backends_are_remarked(tmp_path: Path) -> None:
    cells = grid()
    cells["baseline.0.100"]["backend"] = "transformers 5"
    found, _ = run(tmp_path, cells)
    assert found.remarks == ["evaluated by different backends: megatron-core 0.16.1, transformers 5"]


@pytest.mark.parametrize(
    ("role", "said"),
    [("baseline.0", "no role"), ("baseline.x.100", "no role"), ("other.0.100", "not asked"), ("baseline.9.100", "not asked")],
)
def test_input_that_nobody_asked_for_is_refused(tmp_path: Path, role: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        run(tmp_path, {role: line(100, 0)})


def test_no_evaluations_or_unreadable_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to qualify"):
        run(tmp_path, {})
    folders = written(tmp_path, grid())
    (folders["baseline.0.100"] / "scores.json").unlink()
    asked = QualifyRequest(arms=["baseline"], seeds=SEEDS, tokens=TOKENS)
    with pytest.raises(InputError, match="no evaluation can be read"):
        qualify(asked, folders, tmp_path, lambda done, total, note: None)


def test_request_that_names_something_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="tokens holds something twice"):
        QualifyRequest.parse({"arms": ["baseline"], "seeds": [0], "tokens": [100, 100]})
    with pytest.raises(ConfigError, match="must not be negative"):
        QualifyRequest.parse({"arms": ["baseline"], "seeds": [0], "tokens": [-1]})


def test_bounds_are_the_requests(tmp_path: Path) -> None:
    (tmp_path / "strict").mkdir()
    _, strict = run(tmp_path / "strict", grid(), signal_to_noise=1000)
    assert "needs 1000" in strict.evidence["why"]["bits_per_byte"]
    (tmp_path / "loose").mkdir()
    found, loose = run(tmp_path / "loose", grid(), monotonicity=-1, above_random=-1000, signal_to_noise=0)
    assert found.thresholds.signal_to_noise == 0 and loose.evidence["qualified"]["bits_per_byte"]
    assert "all seeds agree exactly" in loose.evidence["why"]["accuracy/brackets"], "no bound makes a task without spread pass"


def test_package_offers_the_body_and_not_the_module_of_that_name() -> None:
    import tasks.evaluation as package

    assert package.QualifyRequest is QualifyRequest
    assert package.qualify is qualify, "the stage looks its body up by this name, after the request was imported"
