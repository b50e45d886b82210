"""A court over runs that lie on disk: what it reads, what it refuses, what it decides and says."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from contracts.errors import ConfigError, InputError
from flows.recipe import Recipe, load
from models.config import ModelConfig
from tasks.training.config import OptimizerConfig, Schedule
from tests.tasks.ablation.courtroom import (
    MODEL,
    RATE,
    STEPS,
    SUITE,
    TOKENS,
    Courtroom,
    Result,
    effects,
    modification,
    phase,
    shifted,
)

MUON = modification(
    "muon",
    change={"training.optimizer.kind": "muon"},
    compensations={RATE: 3e-3},
    why_compensated="each optimizer at its own tuned learning rate",
)
MASKING = modification("no-masking", change={"model.document_masking": False})


def test_what_is_clearly_better_becomes_the_next_baseline_and_what_is_not_leaves_it(courtroom: Courtroom) -> None:
    result = courtroom.hold([MUON, MASKING], effects(muon=-0.4))

    muon, masking = result.decisions
    assert (muon.outcome, muon.state) == ("better", "accepted")
    assert masking.state != "accepted" and masking.accepted == {}
    assert result.accepted == ['training.optimizer.kind="muon"', f"{RATE}=0.003"]
    assert f"{RATE}: 0.002 -> 0.003" in result.diff
    effect = result.effect("muon", "bits_per_byte")
    assert effect is not None and effect.low is not None and effect.high is not None and effect.value is not None
    assert effect.low < effect.value < effect.high < 0
    assert (effect.seeds, effect.baseline_seeds, effect.degrees_of_freedom) == (2, 2, 3)
    evidence = courtroom.summary.evidence
    assert evidence["accepted"] == result.accepted
    assert evidence["verdicts"] == {"muon": "better", "no-masking": masking.outcome}
    assert [row["state"] for row in evidence["decisions"]] == ["accepted", masking.state]
    assert json.loads((courtroom.folder / "out" / "decisions.json").read_text()) == evidence["decisions"]


def test_the_recipe_that_results_is_left_beside_the_case(courtroom: Courtroom) -> None:
    before = load("tiny").model_dump(mode="json")
    courtroom.hold([MUON], effects(muon=-0.4), request={"recipe": before})
    resolved = Recipe.from_yaml((courtroom.folder / "out" / "resolved.yaml").read_text())
    assert resolved == load("tiny", ["training.optimizer.kind=muon", f"{RATE}=0.003"])


def test_a_court_about_an_accepted_set_takes_nothing_into_the_recipe(courtroom: Courtroom) -> None:
    template = {"kind": "leave_one_out", "accepted": [MUON.model_dump(mode="json")]}
    result = courtroom.hold([MUON], effects(muon=-0.4), template=template)
    assert result.decisions[0].outcome == "better"
    assert result.accepted == [] and result.decisions[0].accepted == {}
    assert "for a person to do" in result.decisions[0].sentence


def test_a_sentence_says_effect_interval_confidence_seeds_size_and_budget(courtroom: Courtroom) -> None:
    sentence = courtroom.hold([MUON], effects(muon=-0.4)).decisions[0].sentence

    assert sentence.startswith(("muon: better by 0.3", "muon: better by 0.4"))
    assert "bits per byte [0." in sentence and "at 95% over 2 seeds" in sentence
    assert sentence.endswith("holds for 1.1 M parameters at 102 k tokens of prose, code.")


def test_one_seed_is_allowed_and_everything_is_then_under_powered(courtroom: Courtroom) -> None:
    result = courtroom.hold([MUON, MASKING], effects(muon=-0.4), seeds=(0,))

    assert {one.outcome for one in result.decisions} == {"under-powered"} and result.accepted == []
    effect = result.effect("muon", "bits_per_byte")
    assert effect is not None and effect.low is None and effect.seeds_to_decide is None and effect.degrees_of_freedom == 0
    assert effect.value == pytest.approx(-0.4, abs=0.05)
    assert "one seed says nothing about the noise" in result.decisions[0].sentence
    assert any(remark.startswith("One seed only") for remark in result.remarks)


def test_a_diverged_arm_is_worse_and_the_others_are_judged_without_it(courtroom: Courtroom) -> None:
    hot = modification("hot", change={RATE: 0.2})

    def results(arm: str, seed: int) -> Result:
        return Result(diverged_at=12, steps=12) if (arm, seed) == ("hot", 1) else shifted(arm, seed, -0.4 if arm == "muon" else 0.0)

    result = courtroom.hold([MUON, hot], results)

    muon, diverged = result.decisions
    assert muon.state == "accepted"
    assert (diverged.outcome, diverged.state) == ("worse", "rejected")
    assert "worse: 1 of its runs diverged" in diverged.sentence
    assert "hot.1 diverged at step 12." in result.remarks
    run = next(run for run in result.runs if (run.arm, run.seed) == ("hot", 1))
    assert run.metrics == {} and run.diverged_at == 12 and run.loss
    effect = result.effect("hot", "bits_per_byte")
    assert effect is not None and effect.value is None and effect.diverged == 1


def test_a_baseline_that_diverged_decides_nothing(courtroom: Courtroom) -> None:
    def results(arm: str, seed: int) -> Result:
        return Result(diverged_at=12, steps=12) if arm == "baseline" else shifted(arm, seed)

    result = courtroom.hold([MUON], results)

    assert result.decisions[0].state == "tested" and result.accepted == []
    assert any("No run of the baseline counts" in remark for remark in result.remarks)


@pytest.mark.parametrize(("role", "file"), [("muon.1", "scores.json"), ("muon.1.train", "state.json")])
def test_a_run_that_lost_its_evaluation_or_training_is_named(courtroom: Courtroom, role: str, file: str) -> None:
    courtroom.hold([MUON], effects(muon=-0.4))
    (courtroom.folder / role / file).unlink()

    with pytest.raises(InputError) as refused:
        courtroom.again()

    assert role in refused.value.where and "again" in refused.value.do


def test_a_run_without_any_result_is_refused_until_a_person_leaves_it_out(courtroom: Courtroom) -> None:
    def results(arm: str, seed: int) -> Result | None:
        return None if (arm, seed) == ("muon", 1) else shifted(arm, seed, -0.4 if arm == "muon" else 0.0)

    with pytest.raises(InputError, match=r"run 'muon\.1' has no training"):
        courtroom.hold([MUON], results)
    result = courtroom.hold([MUON], results, left_out={"muon.1": "its node was lost twice"})

    missing = next(run for run in result.runs if (run.arm, run.seed) == ("muon", 1))
    assert missing.left_out == "its node was lost twice" and missing.metrics == {}
    effect = result.effect("muon", "bits_per_byte")
    assert effect is not None and (effect.seeds, effect.baseline_seeds, effect.degrees_of_freedom) == (1, 2, 1)
    assert "muon.1 was left out: its node was lost twice." in result.remarks
    with pytest.raises(ConfigError, match=r"left_out names 'muon\.7'"):
        courtroom.hold([MUON], results, left_out={"muon.7": "?"})


def test_results_of_another_suite_version_are_refused_by_name(courtroom: Courtroom) -> None:
    def results(arm: str, seed: int) -> Result:
        return shifted(arm, seed, suite="offline 2 (99aa)" if (arm, seed) == ("muon", 1) else SUITE)

    with pytest.raises(InputError, match=r"different suites.*baseline\.0, baseline\.1, muon\.0; offline 2 \(99aa\): muon\.1"):
        courtroom.hold([MUON], results)


def test_a_metric_that_no_suite_has_is_refused_with_the_nearest(courtroom: Courtroom) -> None:
    with pytest.raises(ConfigError, match=r"no evaluation measures 'bits_per_byte/proze' \(did you mean 'bits_per_byte/prose'\?\)"):
        courtroom.hold([MUON], effects(), metric="bits_per_byte/proze")


def test_a_metric_without_a_vote_decides_nothing(courtroom: Courtroom) -> None:
    request = {"votes": {}, "reported": {"bits_per_byte": "signal to noise 11, below 20"}}
    result = courtroom.hold([MUON], effects(muon=-0.4), request=request)

    assert (result.decisions[0].outcome, result.decisions[0].state) == ("better", "tested") and result.accepted == []
    assert "signal to noise 11, below 20" in result.decisions[0].sentence
    assert result.votes["bits_per_byte"] == "signal to noise 11, below 20"


def test_a_constant_phase_does_not_compare_with_a_decayed_one(courtroom: Courtroom) -> None:
    shape = modification("wsd", change={"training.phases.*.schedule.shape": "constant"})
    constant = {"wsd": {"phase": phase(schedule=Schedule(learning_rate=2e-3))}}
    with pytest.raises(InputError, match=r"'wsd\.0' ends in a schedule of shape constant, the baseline in one of shape linear"):
        courtroom.hold([shape], effects(), arms=constant)

    cosine = {"wsd": {"phase": phase(schedule=Schedule(shape="cosine", learning_rate=2e-3))}}
    decayed = modification("wsd", change={"training.phases.*.schedule.shape": "cosine"})
    assert courtroom.hold([decayed], effects(), arms=cosine).decisions[0].modification.name == "wsd"
    with pytest.raises(InputError, match="shape cosine"):  # where it is not the factor
        courtroom.hold([modification("wsd", change={"training.optimizer.beta2": 0.99})], effects(), arms=cosine)


def test_a_run_that_stopped_before_its_end_does_not_compare(courtroom: Courtroom) -> None:
    def results(arm: str, seed: int) -> Result:
        return shifted(arm, seed, steps=STEPS // 2 if (arm, seed) == ("muon", 0) else STEPS)

    with pytest.raises(InputError, match=r"muon\.0 at 50% of the phase"):
        courtroom.hold([MUON], results)


def test_a_missing_source_blocks_the_mean_over_sources(courtroom: Courtroom) -> None:
    def results(arm: str, seed: int) -> Result:
        return Result(bits={"code": 2.9}) if (arm, seed) == ("muon", 1) else shifted(arm, seed)

    result = courtroom.hold([MUON], results)

    effect, code = result.effect("muon", "bits_per_byte"), result.effect("muon", "bits_per_byte/code")
    assert effect is not None and code is not None and (effect.seeds, code.seeds) == (1, 2)
    assert "muon.1 was not measured on prose: it has no mean over the sources." in result.remarks


def test_losses_do_not_compare_across_tokenizers_but_bits_per_byte_do(courtroom: Courtroom) -> None:
    def results(arm: str, seed: int) -> Result:
        return shifted(arm, seed, -0.4, tokenizer="beef") if arm == "muon" else shifted(arm, seed)

    result = courtroom.hold([MUON], results)

    curves = {run.arm: bool(run.loss or run.heldout) for run in result.runs}
    assert curves == {"baseline": True, "muon": False}
    assert result.decisions[0].outcome == "better"
    assert any(remark.startswith("Another tokenizer than the baseline's: muon.0, muon.1.") for remark in result.remarks)


def test_other_metrics_are_judged_more_carefully_than_the_one_that_decides(courtroom: Courtroom) -> None:
    result = courtroom.hold([MUON], lambda arm, seed: shifted(arm, seed, right=0.5 + 0.01 * seed))

    widths = {row.metric: row.high - row.low for row in result.effects if row.high is not None and row.low is not None}
    assert set(widths) == {"bits_per_byte", "bits_per_byte/code", "bits_per_byte/prose", "accuracy/grammar_pairs"}
    assert widths["bits_per_byte/code"] > 1.5 * widths["bits_per_byte"]
    accuracy = result.effect("muon", "accuracy/grammar_pairs")
    assert accuracy is not None and not accuracy.lower_is_better
    assert result.votes["accuracy/grammar_pairs"].startswith("reported")


def test_a_dependency_on_something_rejected_is_not_taken(courtroom: Courtroom) -> None:
    slow = modification("slow", change={RATE: 2e-4})
    rest = modification("rest", change={"training.optimizer.beta2": 0.99}, depends_on=["slow"])
    result = courtroom.hold([slow, rest], effects(slow=0.4, rest=-0.3))

    assert [one.state for one in result.decisions] == ["rejected", "tested"] and result.accepted == []
    assert result.decisions[1].outcome == "better"
    assert "depends on 'slow' (rejected)" in result.decisions[1].sentence

    earlier = modification("rest", change={"training.optimizer.beta2": 0.99}, depends_on=["norms"])
    settled = courtroom.hold([earlier], effects(rest=-0.3), request={"settled": {"norms": "accepted"}})
    assert settled.accepted == ["training.optimizer.beta2=0.99"]
    assert courtroom.hold([earlier], effects(rest=-0.3), request={"settled": {"norms": "rejected"}}).accepted == []


def test_two_changes_of_one_field_do_not_both_win(courtroom: Courtroom) -> None:
    rate = modification("rate", change={"training.phases.0.schedule.learning_rate": 4e-3})
    result = courtroom.hold([rate, MUON, MASKING], effects(rate=-0.2, muon=-0.4, no_masking=-0.3))

    assert [one.state for one in result.decisions] == ["tested", "accepted", "accepted"]
    assert "'muon' also sets training.phases.0.schedule.learning_rate" in result.decisions[0].sentence
    assert result.accepted == ['training.optimizer.kind="muon"', f"{RATE}=0.003", "model.document_masking=false"]
    assert any("muon, no-masking were accepted one by one; together they were not tested" in remark for remark in result.remarks)


def test_of_a_sweep_the_best_point_counts_and_only_if_it_beats_the_baseline(courtroom: Courtroom) -> None:
    rates = [2e-4, 4e-3, 8e-3]
    arms = {f"rate[{rate:g}]": {"point": {RATE: rate}, "changes": {RATE: rate}, "phase": phase(rate=rate)} for rate in rates}
    sweep = modification("rate", sweep={RATE: rates})
    off = {"rate[0.0002]": 0.4, "rate[0.004]": -0.1, "rate[0.008]": -0.2}
    result = courtroom.hold([sweep], lambda arm, seed: shifted(arm, seed, off.get(arm, 0.0)), arms=arms)

    decision = result.decisions[0]
    assert (decision.state, decision.arm, decision.accepted) == ("accepted", "rate[0.008]", {RATE: 8e-3})
    assert set(courtroom.summary.metrics) == {f"effect/{arm}" for arm in arms}
    assert result.sweeps == {"rate": {RATE: rates}} and result.points["rate[0.004]"] == {RATE: 4e-3}
    assert {row.outcome for row in result.effects if row.arm == "rate[0.0002]"} == {"worse"}

    flat = courtroom.hold([sweep], lambda arm, seed: shifted(arm, seed, 0.4 if arm != "baseline" else 0.0), arms=arms)
    assert (flat.decisions[0].state, flat.accepted) == ("rejected", [])


def test_speed_is_accepted_only_where_it_is_measured_and_costs_no_more_than_the_tolerance(courtroom: Courtroom) -> None:
    heads = modification("heads", benefit="speed", tolerance=0.1, change={"model.num_key_value_heads": 2})

    def held(speed: float, by: float) -> tuple[str, str]:
        one = courtroom.hold(
            [heads], lambda arm, seed: shifted(arm, seed, by if arm == "heads" else 0.0, speed=(speed if arm == "heads" else 7000.0) + seed)
        ).decisions[0]
        return one.state, one.sentence

    assert held(8400.0, 0.0)[0] == "accepted"
    state, sentence = held(8400.0, 0.4)
    assert state == "rejected" and "it costs more than 0.100 bits per byte" in sentence
    state, sentence = held(6000.0, 0.0)
    assert state == "rejected" and "it brings no speed" in sentence and "-14.3% throughput" in sentence
    assert held(7000.0, 0.0)[0] == "tested"


def test_memory_counts_weights_optimizer_and_cache(courtroom: Courtroom) -> None:
    fewer = ModelConfig(**{**MODEL.model_dump(), "num_key_value_heads": 2})
    heads = modification("heads", benefit="memory", tolerance=0.1, change={"model.num_key_value_heads": 2})
    one = courtroom.hold([heads], effects(), arms={"heads": {"model": fewer}}).decisions[0]

    assert one.state == "accepted" and one.benefits["cache"] == pytest.approx(-0.5)
    assert -0.1 < one.parameter_difference < 0 and -0.1 < one.flops_difference < 0 and -0.1 < one.benefits["memory"] < 0
    same = courtroom.hold([heads], effects()).decisions[0]
    assert same.state == "rejected" and "brings no memory" in same.sentence


def test_stability_counts_spikes_of_the_loss(courtroom: Courtroom) -> None:
    calm = modification("calm", benefit="stability", tolerance=0.1, change={"model.qk_norm": True})
    bumps = tuple(range(24, STEPS, 4))

    def results(arm: str, seed: int) -> Result:
        return shifted(arm, seed, bumps=bumps if arm == "baseline" else ())

    one = courtroom.hold([calm], results).decisions[0]
    assert one.state == "accepted" and one.benefits["stability"] == len(bumps)
    assert courtroom.hold([calm], effects()).decisions[0].state == "tested"


def test_curves_are_thinned_and_a_cut_line_is_no_point(courtroom: Courtroom) -> None:
    steps = 1000
    long = {"phase": phase(tokens=steps * 2048)}
    result = courtroom.hold([MUON], lambda arm, seed: shifted(arm, seed, steps=steps), arms={"baseline": long, "muon": long})

    run = result.runs[0]
    assert 150 <= len(run.loss) <= 200 and run.loss[0][0] == 2048 and run.loss[-1][0] == steps * 2048 == run.tokens
    assert set(run.heldout) == {"code", "prose"} and run.tokens_per_second == pytest.approx(7002)


def test_what_differs_beside_the_factor_is_listed(courtroom: Courtroom) -> None:
    def manifest(torch: str, cpu: str) -> dict[str, object]:
        return {
            "fingerprint": "ab",
            "versions": {"torch": torch, "scipy": "1.17.1"},
            "machine": {"cpu": cpu, "host": "a"},
            "cost": {"seconds": 20},
        }

    names = [f"{arm}.{seed}.train" for arm in ("baseline", "muon") for seed in (0, 1)]
    manifests = {name: manifest("2.13.0" if name != "muon.1.train" else "2.12.0", "EPYC") for name in names}
    result = courtroom.hold(
        [MUON],
        lambda arm, seed: shifted(arm, seed, backend="vLLM 0.11" if (arm, seed) == ("muon", 0) else "transformers 5.0"),
        request={"manifests": manifests},
    )

    listed = {one.what: one.values for one in result.drift}
    assert listed == {
        "training: torch": {"2.13.0": ["baseline.0", "baseline.1", "muon.0"], "2.12.0": ["muon.1"]},
        "evaluation: backend": {"transformers 5.0": ["baseline.0", "baseline.1", "muon.1"], "vLLM 0.11": ["muon.0"]},
    }
    assert result.runs[0].train == "ab" and result.runs[0].seconds == 20 and result.runs[0].versions["torch"] == "2.13.0"


def test_a_mixture_sweep_has_a_response_curve(courtroom: Courtroom) -> None:
    shares = [0.1, 0.3, 0.7, 0.9]
    path = "training.phases.stable.mixture"
    mixtures = [{"prose": share, "code": round(1 - share, 6)} for share in shares]
    arms = {
        f"ratio[prose-{share}]": {"point": {path: one}, "changes": {path: one}, "phase": phase(mixture=one)}
        for share, one in zip(shares, mixtures, strict=True)
    }
    off = {arm: 2 * (share - 0.6) ** 2 - 2 * 0.1**2 for arm, share in zip(arms, shares, strict=True)}
    result = courtroom.hold(
        [modification("ratio", sweep={path: mixtures})], lambda arm, seed: shifted(arm, seed, off.get(arm, 0.0)), arms=arms
    )

    response = result.responses["ratio"]
    assert response.source == "code" and response.optimum == pytest.approx(0.4, abs=0.03)
    assert response.low is not None and response.high is not None
    assert response.low <= response.optimum <= response.high and len(response.runs) == 10
    assert "% of " in response.sentence


def test_pairing_by_seed_is_used_only_where_it_was_settled(courtroom: Courtroom) -> None:
    def results(arm: str, seed: int) -> Result:
        own = shifted("seed", seed, noise=0.1).bits["code"] - 2.9
        return Result(bits={"code": 2.9 + own + (0.001 * seed - 0.06 if arm == "muon" else 0.0)})

    plain, paired = (courtroom.hold([MUON], results, seeds=(0, 1, 2), pairing=one) for one in ("none", "seed"))
    first, second = plain.effect("muon", "bits_per_byte"), paired.effect("muon", "bits_per_byte")
    assert first is not None and second is not None
    assert (first.outcome, second.outcome) == ("under-powered", "better")
    assert first.noise is not None and first.paired_noise is not None and first.paired_noise < first.noise / 10
    assert first.paired_noise == second.paired_noise and (first.degrees_of_freedom, first.paired_degrees_of_freedom) == (4, 2)


def test_reading_the_config_of_a_court_loads_no_statistics() -> None:
    code = "import sys, tasks.ablation, tasks.ablation.config; print([m for m in ('scipy', 'statsmodels', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_tokens_are_what_was_trained(courtroom: Courtroom) -> None:
    result = courtroom.hold([modification("wd", change={"training.optimizer.weight_decay": 0.0})], effects(),
                            arms={"wd": {"optimizer": OptimizerConfig(weight_decay=0.0)}})  # fmt: skip
    assert {run.tokens for run in result.runs} == {TOKENS} and courtroom.summary.counts["tokens"] == 4 * TOKENS
