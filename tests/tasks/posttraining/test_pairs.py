"""Pairs that a model makes of its own answers: a verified one over a wrong one, in batches that outlive a stop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import ConfigError, InputError
from infra.job import InputRef, JobSpec, Stopped, Summary
from infra.store import Store
from tasks.posttraining import pairs_problems
from tasks.posttraining.chat_requests import chat_request
from tasks.posttraining.config import PairConfig, PostTrainingConfig, PreferenceConfig
from tasks.posttraining.conversation import Sample
from tasks.posttraining.pair_choice import Asked, choose
from tasks.posttraining.pairs import pairs
from tasks.posttraining.rewards.sampled import Unavailable
from tasks.posttraining.sampling import Answer
from tasks.posttraining.skill_rows import skill_rows
from tasks.posttraining.verifiers import grade
from tasks.posttraining.worker import environment, main
from tests.tasks.data.material import silent
from tests.tasks.posttraining.answering import TEMPLATE, taught
from tests.tasks.posttraining.judging import JudgeServer, serving
from tests.tasks.posttraining.material import say, write_lines

ROWS = list({row["answer"]: row for row in skill_rows("add", "no_think", 40, "pairs")}.values())[:8]


@pytest.fixture(scope="module")
def undecided(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers some questions right and wrong by turns."""
    wrong = [{"messages": [*row["messages"][:2], say("The answer is 7.")]} for row in ROWS]
    return taught(model, tmp_path_factory.mktemp("undecided"), [*ROWS, *wrong], steps=120)


def request_config(how: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    made = {"samples": 6, "max_answer_tokens": 24, "heldout_share": 0.3} | (how or {})
    step = PreferenceConfig.parse({"sources": [{"name": "add", "uri": "generated:add"}], "pairs": made})
    return {"template": TEMPLATE.model_dump(mode="json"), "step": step.model_dump(mode="json"), "batch_size": 3, **more}


def run(
    model: Path, root: Path, rows: list[dict[str, Any]] = ROWS, workspace: Any = None, progress: Any = silent,
    strong: Path | None = None, **more: Any,
) -> Summary:  # fmt: skip
    (root / "chat" / "preference-main").mkdir(parents=True, exist_ok=True)
    write_lines(root / "chat" / "preference-main" / "add.jsonl", rows)
    (root / "out").mkdir(exist_ok=True)
    inputs = {"model": model, "chat": root / "chat"} | ({"strong": strong} if strong else {})
    return pairs(request_config(**more), inputs, root / "out", progress, workspace)


def written(root: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "out" / name).read_text().splitlines()]


def test_a_verified_answer_is_chosen_over_a_wrong_one(undecided: Path, tmp_path: Path) -> None:
    summary = run(undecided, tmp_path)
    made = [*written(tmp_path, "pairs.jsonl"), *written(tmp_path, "heldout.jsonl")]
    answers = {row["messages"][1]["content"]: row["answer"] for row in ROWS}
    for row in made:
        right = answers[row["prompt"][-1]["content"]]
        assert all(grade(row["chosen"][0]["content"], right, "no_think"))
        assert not all(grade(row["rejected"][0]["content"], right, "no_think"))
    table = summary.evidence["sources"]["add"]
    assert table["pair"] == len(made) >= 4 and table["pair"] + table.get("all_right", 0) + table.get("all_wrong", 0) == len(ROWS)
    assert summary.counts == {
        "prompts": 8, "pairs": len(written(tmp_path, "pairs.jsonl")), "heldout": len(written(tmp_path, "heldout.jsonl"))
    }  # fmt: skip
    assert 0.2 < summary.metrics["verified_share"] < 0.8


def test_stopped_and_started_again_it_makes_the_same_pairs(undecided: Path, tmp_path: Path) -> None:
    whole = run(undecided, tmp_path / "whole")
    store = Store.open(str(tmp_path / "store"))

    def stop(done: float, total: float, note: str = "") -> None:
        if done >= 3:
            raise Stopped("now")

    with store.begin("pairs-main", "w") as workspace, pytest.raises(Stopped):
        run(undecided, tmp_path / "parts", workspace=workspace, progress=stop)
    with store.begin("pairs-main", "w") as workspace:
        kept = {part.name: part.sealed for part in workspace.parts()}
        assert set(kept) == {"answers-3-000000"}
        again = run(undecided, tmp_path / "parts", workspace=workspace)
        now = {part.name: part.sealed for part in workspace.parts()}
        assert set(now) == {f"answers-3-00000{n}" for n in range(3)} and now["answers-3-000000"] == kept["answers-3-000000"]
    assert again.evidence == whole.evidence
    for name in ("pairs.jsonl", "heldout.jsonl"):
        assert written(tmp_path / "parts", name) == written(tmp_path / "whole", name)


def test_the_worker_leaves_pairs_and_keeps_its_batches(undecided: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(undecided, tmp_path)
    store, inputs = Store.open(str(tmp_path / "store")), {"model": undecided, "chat": tmp_path / "chat"}
    for role, folder in inputs.items():
        with store.begin(role, f"key-{role}") as workspace:
            workspace.commit(f"fp-{role}", [workspace.put("result", folder)])
    spec = JobSpec(
        stage="pairs-main", craft="posttraining", fingerprint="fp", workspace_key="w", store=str(tmp_path / "store"),
        config=request_config(batch_size=4), inputs={role: InputRef(stage=role, fingerprint=f"fp-{role}") for role in inputs},
    )  # fmt: skip
    monkeypatch.setenv("SMOLFLOW_JOB_DIR", str(tmp_path / "job"))
    monkeypatch.setenv("SMOLFLOW_SCRATCH", str(tmp_path / "scratch"))
    assert main(spec) == 0
    with store.begin("pairs-main", "w") as workspace:
        names = [part.name for part in workspace.parts()]
        assert names == ["answers-4-000000", "answers-4-000001", "result"]
        made = workspace.fetch(next(part for part in workspace.parts() if part.name == "result"), tmp_path / "fetched")
    assert (made / "pairs.jsonl").read_bytes() == (tmp_path / "out" / "pairs.jsonl").read_bytes()


def test_other_batches_make_the_same_pairs(undecided: Path, tmp_path: Path) -> None:
    one, other = run(undecided, tmp_path / "one"), run(undecided, tmp_path / "other", batch_size=8)
    assert one.evidence == other.evidence


def test_a_prompt_asked_twice_gives_one_pair(undecided: Path, tmp_path: Path) -> None:
    summary = run(undecided, tmp_path, [*ROWS, *ROWS])
    assert summary.evidence["sources"]["add"]["repeated"] == len(ROWS)


def test_a_parent_that_never_succeeds_is_refused_with_the_reason(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not one pair from 2 prompts \(2 all_wrong\)"):
        run(model, tmp_path, ROWS[:2])


def test_a_prompt_without_a_known_answer_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without a known answer") as refusal:
        run(model, tmp_path, [ROWS[0], {"messages": ROWS[1]["messages"]}])
    assert "add.jsonl:2" in str(refusal.value)


# --- a strong model, and a judge

BIG = {"strong": "sft-big"}


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    """It thinks better of the expected answer than of others."""
    with serving() as server:
        server.mark = lambda answer, asked: "9" if asked.split("<expected>\n")[1].split("\n")[0] in answer else "6.5/10"
        yield server


def both(root: Path) -> list[dict[str, Any]]:
    """Pairs of both files."""
    return [*written(root, "pairs.jsonl"), *written(root, "heldout.jsonl")]


def test_a_strong_models_answer_is_chosen_over_the_parents(undecided: Path, tmp_path: Path) -> None:
    """The strong one is sometimes wrong here, the parent sometimes right: both are left out and counted."""
    summary = run(undecided, tmp_path, strong=undecided, how=BIG)
    answers, made = {row["messages"][1]["content"]: row["answer"] for row in ROWS}, both(tmp_path)
    for row in made:
        right = answers[row["prompt"][-1]["content"]]
        assert all(grade(row["chosen"][0]["content"], right, "no_think")) and not all(
            grade(row["rejected"][0]["content"], right, "no_think")
        )
    table = summary.evidence["sources"]["add"]
    assert table["pair"] == len(made) >= 4 and table["strong_wrong"] > 0 and table["parent_right"] > 0
    assert table["answers"] == table["strong_answers"] == 48 and summary.evidence["strong"] == "sft-big"


def test_without_known_answers_the_strong_models_word_counts(undecided: Path, tmp_path: Path) -> None:
    """And an answer that both give is no pair."""
    bare = [{"messages": row["messages"]} for row in ROWS]
    summary = run(undecided, tmp_path, bare, strong=undecided, how=BIG)
    table = summary.evidence["sources"]["add"]
    assert table["pair"] + table.get("identical", 0) == len(ROWS) and table["pair"] == len(both(tmp_path)) > 0
    assert table["ungraded"] == table["answers"] and "verified_share" not in summary.metrics
    assert all(row["chosen"] != row["rejected"] for row in both(tmp_path))
    with pytest.raises(InputError, match=r"not one pair from 2 prompts \(2 identical\)"):
        run(undecided, tmp_path / "same", bare[:2], strong=undecided, how=BIG | {"temperature": 1e-6})


def test_answers_that_never_end_are_no_pairs_and_the_limit_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\(2 only_cut\)[\s\S]*raise pairs.max_answer_tokens"):
        run(model, tmp_path, ROWS[:2], strong=model, how=BIG | {"max_answer_tokens": 1})


def test_a_judge_chooses_the_best_over_the_worst(undecided: Path, judge: JudgeServer, tmp_path: Path) -> None:
    summary = run(undecided, tmp_path, ROWS[:5], how={"judge": {"url": judge.url, "margin": 2.5}})
    answers, made = {row["messages"][1]["content"]: row["answer"] for row in ROWS}, both(tmp_path)
    assert all(answers[row["prompt"][-1]["content"]] in row["chosen"][0]["content"] for row in made)
    table = summary.evidence["sources"]["add"]
    assert table["pair"] == len(made) >= 2 and table["pair"] + table.get("no_margin", 0) == 5 and table["unmarked"] == 0
    assert [one["model"] for one in summary.evidence["judges"]] == ["judge-1"]


def answered(*texts: str) -> list[Answer]:
    """Answers that ended."""
    return [Answer(text, True, 5) for text in texts]


RIGHT, WRONG, FREE = "The answer is 97.", "The answer is 7.", "Well, 97."


@pytest.mark.parametrize(
    ("marks", "margin", "outcome"),
    [
        ([8.0, 6.0, 2.0], 6, (RIGHT, FREE)),
        ([8.0, 6.0, 2.0], 6.1, "no_margin"),
        ([None, 6.0, 2.0], 2, (WRONG, FREE)),
        ([None, 6.0, None], 2, "no_margin"),
        ([None, None, None], 2, "no_marks"),
        ([5.0, 9.0, 9.0], 4, (WRONG, RIGHT)),
    ],
)
def test_marks_must_differ_by_the_margin(marks: list[float | None], margin: float, outcome: Any) -> None:
    """An answer without a mark is counted, and so is a chosen one that the verifier calls wrong."""
    one = Asked(Sample([say("?")]), "97", "no_think", "add")
    found = choose(one, answered(RIGHT, WRONG, FREE), [], marks, PairConfig.parse({"judge": {"url": "http://a", "margin": margin}}))
    assert ((found.chosen, found.rejected) if found.outcome == "pair" else found.outcome) == outcome
    assert found.counts["unmarked"] == marks.count(None) and found.counts["verified"] == 1
    assert found.counts.get("chosen_wrong", 0) == (outcome[0] == WRONG)


def test_of_a_strong_model_and_a_judge_the_best_of_one_stands_against_the_worst_of_the_other() -> None:
    one, how = Asked(Sample([say("?")]), "97", "no_think", "add"), PairConfig.parse({"strong": "sft-big", "judge": {"url": "http://a"}})
    cut = Answer(FREE, False, 24)
    found = choose(one, [*answered(RIGHT, WRONG), cut], answered(WRONG, RIGHT), [0.0, 3.0, 0.0, 10.0, 8.0], how)
    assert (found.chosen, found.rejected) == (RIGHT, WRONG)
    assert (found.counts["strong_wrong"], found.counts["parent_right"], found.counts["cut"]) == (1, 1, 1)
    assert choose(one, answered(WRONG), answered(WRONG), [0.0, 9.0], how).outcome == "all_wrong"
    assert choose(one, answered(RIGHT), answered(RIGHT), [0.0, 9.0], how).outcome == "all_right"
    assert choose(one, [cut], answered(RIGHT), [0.0, 9.0], how).outcome == "only_cut"


def test_a_judge_that_is_down_ends_the_stage_and_what_was_done_is_kept(undecided: Path, judge: JudgeServer, tmp_path: Path) -> None:
    """A strong model and a judge together, stopped in the middle of the marks: the same pairs, and no batch is done twice."""
    how, store = {**BIG, "judge": {"url": judge.url}}, Store.open(str(tmp_path / "store"))
    rows, how["samples"] = ROWS[:5], 3
    whole = run(undecided, tmp_path / "whole", rows, strong=undecided, how=how)
    say_mark, asked = judge.mark, len(judge.seen)

    def stop(done: float, total: float, note: str = "") -> None:
        assert total == 3 * len(rows)
        if done >= 2 * len(rows) + 3:
            judge.mark = lambda answer, asked: 1 / 0  # type: ignore[assignment, return-value]  # it hangs up

    with store.begin("pairs-main", "w") as workspace, pytest.raises(Unavailable, match=r"cannot be reached[\s\S]*are kept"):
        run(undecided, tmp_path / "parts", rows, workspace=workspace, progress=stop, strong=undecided, how=how)
    judge.mark = say_mark
    del judge.seen[:]
    with store.begin("pairs-main", "w") as workspace:
        kept = {part.name: part.sealed for part in workspace.parts()}
        assert set(kept) == {f"{kind}-3-00000{n}" for kind in ("answers", "strong") for n in range(2)} | {"marks-3-000000"}
        again = run(tmp_path / "gone", tmp_path / "parts", rows, workspace=workspace, strong=tmp_path / "gone", how=how)
        assert kept.items() <= {part.name: part.sealed for part in workspace.parts()}.items()
    assert 0 < len(judge.seen) < asked and again.evidence == whole.evidence and both(tmp_path / "parts") == both(tmp_path / "whole")


def test_a_strong_model_that_is_not_there_is_refused(undecided: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no strong model: no model of 'sft-big' is among the inputs"):
        run(undecided, tmp_path, ROWS[:1], how=BIG)
    with pytest.raises(InputError, match=r"the strong model cannot be fetched[\s\S]*hf:owner/model@0123abc"):  # these tests are offline
        run(undecided, tmp_path, ROWS[:1], how={"strong": "hf:owner/model@0123abc"})


def test_a_recipe_names_strong_models_that_there_are() -> None:
    add = {"name": "add", "uri": "generated:add", "examples": 8}

    def recipe(**pairs: Any) -> PostTrainingConfig:
        step = {"sources": [add], "parent": "sft-main", "pairs": pairs}
        return PostTrainingConfig.parse({"sft": [{"sources": [add]}, {"sources": [add], "name": "big"}], "preference": [step]})

    assert recipe(strong="sft-big").preference[0].models == ["sft-main", "sft-big"]
    assert recipe(strong="hf:owner/model@0123abc").preference[0].models == ["sft-main"]
    holds = {one.stage: one.holds for one in chat_request(recipe(strong="pretrained")).steps}
    assert holds["preference-main"] == "questions", "no answer need be known"
    for how, said in (
        ({"strong": "sft-bgi"}, r"no step 'sft-bgi' to learn from \(did you mean 'sft-big'\?\)"),
        ({"strong": "sft-main"}, "is the parent itself"),
        ({"strong": "preference-main"}, "start from each other"),
        ({"strong": "hf:owner/model"}, "strong 'hf:owner/model' names no revision"),
        ({"judge": {"url": "http://a", "margin": 0}}, "margin"),
        ({"judge": {"url": "127.0.0.1:8000"}}, r"judge\.url"),
    ):
        with pytest.raises(ConfigError, match=said):
            recipe(**how)


def test_a_model_from_a_hub_may_be_fetched_by_the_pairs_alone() -> None:
    def offline(stage: str, config: dict[str, Any]) -> bool:
        whole = {"stage": stage, "craft": "posttraining", "fingerprint": "f", "workspace_key": "w", "store": "s", "inputs": {}}
        return "HF_HUB_OFFLINE" in environment(JobSpec.parse({**whole, "config": config}))

    hub, here = ({"strong": name} for name in ("hf:owner/model@0123abc", "sft-big"))
    assert not offline("pairs-main", request_config(hub)) and offline("preference-main", request_config(hub))
    assert offline("pairs-main", request_config(here))
    fetched, files = ({"steps": [{"sources": [{"uri": uri}]}]} for uri in ("hf:owner/data@0123abc", "chat.jsonl"))
    assert not offline("chat", fetched) and offline("chat", files), "benchmarks come from this machine where the chat data do"


def test_too_few_pairs_and_a_source_without_any_do_not_pass_the_gate() -> None:
    sources = {"add": {"pair": 20, "all_wrong": 3}, "reverse": {"all_right": 12}}
    few, none = pairs_problems({"pairs": 20, "global_batch_size": 32, "sources": sources})
    assert few.startswith("20 pairs do not fill one step of 32") and none.startswith("reverse: no pair from its prompts (12 all_right)")
    assert pairs_problems({"pairs": 64, "global_batch_size": 32, "sources": {"add": {"pair": 64}}}) == []
