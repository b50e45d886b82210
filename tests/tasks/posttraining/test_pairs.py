"""Pairs that a model makes of its own answers: a verified one over a wrong one, in batches that outlive a stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import InputError
from infra.job import InputRef, JobSpec, Stopped, Summary
from infra.store import Store
from tasks.posttraining import pairs_problems
from tasks.posttraining.config import PreferenceConfig
from tasks.posttraining.pairs import pairs
from tasks.posttraining.skill_rows import skill_rows
from tasks.posttraining.verifiers import grade
from tasks.posttraining.worker import main
from tests.tasks.data.material import silent
from tests.tasks.posttraining.answering import TEMPLATE, taught
from tests.tasks.posttraining.material import say, write_lines

ROWS = list({row["answer"]: row for row in skill_rows("add", "no_think", 40, "pairs")}.values())[:8]


@pytest.fixture(scope="module")
def undecided(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers some questions right and wrong by turns."""
    wrong = [{"messages": [*row["messages"][:2], say("The answer is 7.")]} for row in ROWS]
    return taught(model, tmp_path_factory.mktemp("undecided"), [*ROWS, *wrong], steps=120)


def request_config(**more: Any) -> dict[str, Any]:
    step = PreferenceConfig.parse(
        {"sources": [{"name": "add", "uri": "generated:add"}], "pairs": {"samples": 6, "max_answer_tokens": 24, "heldout_share": 0.3}}
    )
    return {"template": TEMPLATE.model_dump(mode="json"), "step": step.model_dump(mode="json"), "batch_size": 3, **more}


def run(model: Path, root: Path, rows: list[dict[str, Any]] = ROWS, workspace: Any = None, progress: Any = silent, **more: Any) -> Summary:
    (root / "chat" / "preference-main").mkdir(parents=True, exist_ok=True)
    write_lines(root / "chat" / "preference-main" / "add.jsonl", rows)
    (root / "out").mkdir(exist_ok=True)
    return pairs(request_config(**more), {"model": model, "chat": root / "chat"}, root / "out", progress, workspace)


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


def test_too_few_pairs_and_a_source_without_any_do_not_pass_the_gate() -> None:
    sources = {"add": {"pair": 20, "all_wrong": 3}, "reverse": {"all_right": 12}}
    few, none = pairs_problems({"pairs": 20, "global_batch_size": 32, "sources": sources})
    assert few.startswith("20 pairs do not fill one step of 32") and none.startswith("reverse: no pair from its prompts (12 all_right)")
    assert pairs_problems({"pairs": 64, "global_batch_size": 32, "sources": {"add": {"pair": 64}}}) == []
