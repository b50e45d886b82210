"""One factor an arm: every court that must be refused, and those that are sound."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.errors import ConfigError
from flows.recipe import Recipe, load
from tasks.ablation.config import Court
from tasks.ablation.factors import check, trained

FAIR = {"why_compensated": "parameters"}
DECAY_RATE = "training.phases.decay.schedule.learning_rate"


def modification(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "hypothesis": "it changes something", **fields}


def court(*modifications: dict[str, Any], **fields: Any) -> Court:
    told = {"modifications": list(modifications) or [modification("nope-off", change={"model.no_rope_every": 0})]}
    return Court.parse({"tokens": 40_960, "warmup_steps": 2, "evaluation": {"backend": "megatron"}, **told, **fields})


@pytest.fixture(scope="module")
def smoke() -> Recipe:
    return load("smoke")


def refused(case: Court, recipe: Recipe, settled: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as refusal:
        check(case, recipe, settled)
    assert refusal.value.where == f"court '{case.name}'"
    return refusal.value.what


@pytest.mark.parametrize(
    "change",
    [
        {"model.no_rope_every": 0},
        {"model.tie_embeddings": False},
        {"model.qk_norm": True},
        {"model.document_masking": False},
        {"model.head_dim": 32},
        {"training.optimizer.kind": "muon"},
        {"training.phases.stable.mixture": {"prose": 0.2, "code": 0.5, "math": 0.3}},
        {"training.phases.*.schedule.learning_rate": 1e-3},
        {"training.phases.*.precision.dtype": "bfloat16"},
        {"tokenizer.digits": "groups_of_three"},
        {"data.sources.prose.filters": "none"},
        {"data.sources.prose.packages": ["pandas"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_field_of_what_is_trained_may_be_the_factor(smoke: Recipe, change: dict[str, Any]) -> None:
    assert [arm.name for arm in check(court(modification("x", change=change)), smoke)] == ["baseline", "x"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"change": {"model.num_layer": 4}}, "did you mean 'num_layers'"),
        ({"change": {"modle.num_layers": 4}}, "did you mean 'model'"),
        ({"sweep": {"training.phases.*.schedule.learnig_rate": [1e-3]}}, "did you mean 'learning_rate'"),
        ({"change": {"model.num_layers": 2}}, "changes nothing: model.num_layers is 2 already"),
        ({"change": {"training.phases.stable.layout.micro_batch_size": 2}}, "changes nothing that is trained"),
        ({"change": {"training.phases.decay.schedule.shape": "cosine"}}, "changes nothing that is trained"),
        ({"change": {"training.phases.stable.tokens": 10_240}}, "changes nothing that is trained"),
        ({"change": {"evaluation.seed": 3}}, "no part of what is trained"),
        ({"change": {"name": "other"}}, "no part of what is trained"),
        ({"change": {"ablations": {}}}, "no part of what is trained"),
        ({"change": {"purpose.epochs.block_above": 9}}, "no part of what is trained"),
        ({"change": {"conversion": {}}}, "no part of what is trained"),
        ({"change": {"training.seed": 3}}, "give it `seeds`"),
        ({"change": {"training.optimizer": {"kind": "muon", "weight_decay": 0.0}}}, "changes 2 things"),
        ({"change": {"model": {"preset": "smoke", "num_layers": 4, "ffn_hidden_size": 128}}}, "changes 2 things"),
        ({"change": {"model.num_attention_heads": 8}}, "the size of a head, 16 to 8"),
        ({"change": {"model.num_attention_heads": 3}}, "is no recipe"),
        ({"change": {"tokenizer.vocab_size": 2048}}, "differs from tokenizer.vocab_size"),
        ({"change": {"training.phases.stable.mixture": {"prosa": 1.0}}}, "did you mean 'prose'"),
        ({"change": {"training.phases.stable.schedule.*": 1}}, "is no recipe"),
        ({"change": {"model": {"preset": "tiny", "vocab_size": 1024}}}, "changes 7 things"),
    ],
)
def test_what_is_no_single_factor_is_refused(smoke: Recipe, fields: dict[str, Any], said: str) -> None:
    what = refused(court(modification("x", **fields)), smoke)
    assert said in what and "'x" in what


def test_compensations_are_declared_and_the_size_of_a_head_counts(smoke: Recipe) -> None:
    for size in (8, 16):
        heads = modification("heads", change={"model.num_attention_heads": 8}, compensations={"model.head_dim": size}, **FAIR)
        assert len(check(court(heads), smoke)) == 2
    vocabulary = modification("vocabulary", change={"tokenizer.vocab_size": 2048}, compensations={"model.vocab_size": 2048}, **FAIR)
    assert len(check(court(vocabulary), smoke)) == 2


def test_a_schedule_is_a_factor_where_the_court_leaves_it_to_the_phase(smoke: Recipe) -> None:
    cosine = modification("cosine", change={"training.phases.decay.schedule.shape": "cosine"})
    assert len(check(court(cosine, before="decay", shape="as_phase"), smoke)) == 2
    assert "changes nothing that is trained" in refused(court(cosine, before="decay"), smoke)
    constant = modification("constant", change={"training.phases.decay.schedule.shape": "constant"})
    assert "decay both" in refused(court(constant, before="decay", shape="as_phase"), smoke)


def test_a_later_court_changes_its_own_phase_only(smoke: Recipe) -> None:
    hot = modification("hot", change={DECAY_RATE: 1e-2})
    assert len(check(court(hot, before="decay"), smoke)) == 2
    assert "'stable' was trained with" in refused(court(before="decay"), smoke)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"metric": "bits_per_byte/prosa"}, "did you mean 'bits_per_byte/prose'"),
        ({"metric": "accuracy/grammar_pair"}, "did you mean 'accuracy/grammar_pairs'"),
        ({"metric": "loss"}, "metric 'loss' is measured by no task"),
        ({"tokens": 1000, "warmup_steps": 0}, "the baseline has 1,000 tokens, less than one step (1,024)"),
        ({"tokens": 2048}, "the baseline is no recipe: a run of 2 steps warms up for 2"),
        ({"left_out": {"nope-of.0": "lost"}}, "did you mean 'nope-off.0'"),
    ],
)
def test_a_court_that_cannot_be_held_is_refused(smoke: Recipe, fields: dict[str, Any], said: str) -> None:
    assert said in refused(court(**fields), smoke)


def test_a_batch_that_is_larger_than_the_budget_is_refused(smoke: Recipe) -> None:
    large = modification("large", change={"training.phases.stable.global_batch_size": 512})
    assert "'large' has 40,960 tokens, less than one step (65,536)" in refused(court(large, warmup_steps=0), smoke)


def test_metrics_of_its_own_evaluation_may_decide(smoke: Recipe) -> None:
    for metric in ("bits_per_byte", "bits_per_byte/code", "accuracy/grammar_pairs"):
        assert check(court(metric=metric), smoke)


def test_what_was_not_accepted_cannot_be_built_on(smoke: Recipe) -> None:
    after = modification("qk-norm", change={"model.qk_norm": True}, depends_on=["nope-off"])
    assert len(check(court(after), smoke)) == len(check(court(after), smoke, {"nope-off": "accepted"})) == 2
    assert "depends on 'nope-off', which is rejected" in refused(court(after), smoke, {"nope-off": "rejected"})
    assert "which is proposed" in refused(court(after), smoke, {})
    both = court(modification("nope-off", change={"model.no_rope_every": 0}), after)
    assert "this court tests too" in refused(both, smoke)


def test_everything_that_is_wrong_is_said_at_once(smoke: Recipe) -> None:
    wrong = [modification("a", change={"model.num_layer": 4}), modification("b", change={"name": "other"})]
    what = refused(court(*wrong, metric="loss"), smoke)
    assert all(said in what for said in ("metric 'loss'", "'a' is no recipe", "'b' changes name"))


def test_equal_runs_are_one_run(smoke: Recipe) -> None:
    case = court(
        modification("a", change={"model.num_layers": 4}), modification("b", change={"model": {"preset": "smoke", "num_layers": 4}})
    )
    _, one, two = check(case, smoke)
    assert trained(one, case, smoke) == trained(two, case, smoke)


def test_a_re_check_at_target_size_is_against_the_same_model(smoke: Recipe) -> None:
    accepted = [modification("nope-off", change={"model.no_rope_every": 0})]
    case = court(template={"kind": "target_size", "accepted": accepted, "model": {"num_layers": 4}}, modifications=[])
    assert [arm.name for arm in check(case, smoke)] == ["baseline", "accepted-set"]


def test_leaving_out_what_the_recipe_already_holds_changes_nothing(smoke: Recipe) -> None:
    accepted = [modification("norm", change={"model.qk_norm": True}), modification("nope", change={"model.no_rope_every": 2})]
    case = court(template={"kind": "leave_one_out", "accepted": accepted}, modifications=[])
    assert "'without-nope' changes nothing" in refused(case, smoke)
