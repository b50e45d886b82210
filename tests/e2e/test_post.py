"""Post-training as a person runs it: every stage after the base model, and what they leave."""

from __future__ import annotations

import json
from functools import partial
from glob import iglob
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.driving import Stack, sets, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
STEPS = ["sft-main", "preference-main", "reinforcement-main"]
LONGER = {
    "sft-main": ["posttraining.sft.main.epochs=4"],
    "preference-main": ["posttraining.preference.main.epochs=6"],
    "reinforcement-main": ["posttraining.reinforcement.main.steps=20"],
    "merge": ["merging.candidates.half.name=again"],
}
"""What no other test makes, long enough to be killed in the middle; the data stay as they are."""
TRAINED = {"sft-main": 80, "preference-main": 48, "reinforcement-main": 20}
"""Steps of these."""
ASKS = ["posttraining.vibe.approval=true"]


@pytest.fixture(scope="module")
def post(smoke: Stack) -> Stack:
    """The stack after `smolflow run --recipe smoke-post`, which goes on from smoke's artifacts."""
    smoke.command("run", "--recipe", "smoke-post", timeout=550)
    return smoke


@pytest.fixture(scope="module")
def found(post: Stack) -> dict[str, str]:
    """Fingerprint of every stage of that run."""
    rows = post.json("explain", "--recipe", "smoke-post")
    assert {row["verdict"] for row in rows} == {"reused"}
    return {row["stage"]: row["fingerprint"] for row in rows}


def manifest(stack: Stack, stage: str, fingerprint: str) -> dict[str, Any]:
    return dict(json.loads((stack.home / "store" / "artifacts" / stage / fingerprint / "manifest.json").read_text())["content"])


def test_every_stage_is_there_and_a_second_run_does_nothing(post: Stack, found: dict[str, str]) -> None:
    assert "nothing to do" in post.command("run", "--recipe", "smoke-post", timeout=60).stdout
    assert found["convert"] == post.fingerprints()["convert"], "it starts from smoke's own base model"


def test_each_step_names_its_parent_and_is_compared_with_it(post: Stack, found: dict[str, str]) -> None:
    for stage, parent in zip(STEPS, ["convert", "sft-main", "sft-main"], strict=True):
        assert manifest(post, stage, found[stage])["inputs"]["model"]["fingerprint"] == found[parent]
        shown = post.json("show", found[f"measure-{stage}"])
        assert shown["records"]["gate-regression"]["verdict"] == "passed"
        assert shown["manifest"]["counts"]["answers"] == 2 * 2 * 2 * 16  # skills, modes, greedy and sampled, items
        assert shown["manifest"]["counts"]["task_items"] == 32 and set(shown["manifest"]["evidence"]["tasks"]) == {"recall_32"}
    panel = manifest(post, "merge", found["merge"])["evidence"]["panel"]
    assert {one["name"] for one in panel["standings"]} == {"half", "sft-main"} and "recall_32" in panel["required"]
    assert manifest(post, "measure-release", found["measure-release"])["evidence"]["side"] == "test"


def test_card_and_report_tell_where_it_comes_from(post: Stack) -> None:
    folder = Path(post.home / "results" / "smoke-post" / "model")
    card = (folder / "README.md").read_text()
    for words in ("sft-main", "preference-main", "reinforcement-main", "pandas", "mean over tasks", "recall\\_32"):
        assert words in card, words
    page = Path(post.command("report", "--recipe", "smoke-post").stdout.strip()).read_text()
    assert "Held-out accuracy from base to merge" in page


def test_one_talks_with_it_in_both_modes(post: Stack) -> None:
    """Also without a skill: a broken think block is shown as it is, and the empty one before the answer is no thought."""
    for mode in ("think", "no_think"):
        ask = ["chat", "--recipe", "smoke-post", "--prompt", "What is 47+85?", "--mode", mode, "--max-tokens", "24", "--json"]
        done = post.command(*ask)
        assert f", /{mode}" in done.stderr
        said = json.loads(done.stdout)
        reasoning, answer, raw = said["reasoning"], said["answer"], said["raw"]
        assert isinstance(said["ended"], bool) and 0 < said["tokens"] <= 24
        assert said["ended"] or said["tokens"] == 24
        if said.get("problem"):
            assert (reasoning, answer) == ("", raw.strip())
        else:
            assert not any(tag in reasoning + answer for tag in ("<think>", "</think>"))
            assert reasoning in raw and answer in raw
        assert not reasoning or "<think>" in raw
    assert "sft-nothing" in post.refused("chat", "--recipe", "smoke-post", "--stage", "sft-nothing", "--prompt", "Hello")


@pytest.mark.parametrize("stage", LONGER)
def test_a_stage_is_started_killed_and_retried_from_the_ui(post: Stack, found: dict[str, str], stage: str) -> None:
    """As the form and the buttons of the UI do it; Retry is pressed as soon as the run shows that it crashed."""
    before, committed = {*post.parts(stage), *at_work(post, stage)}, fingerprints(post, stage)
    run = post.submit(f"{stage.removesuffix('-main')}/cpu", recipe="smoke-post", overrides=LONGER[stage], stage=stage)
    getting_on = post.parts if stage in TRAINED else partial(at_work, post)
    wait_until(lambda: set(getting_on(stage)) - before, 200, f"{stage} did not get going")
    post.kill_flow_runs()
    assert post.ends(run, 60) == "CRASHED"
    saved = set(post.parts(stage)) - before
    post.set_state(run, "SCHEDULED", name="AwaitingRetry")
    wait_until(lambda: post.flow_run(run)["run_count"] == 2, 60, "the run was not taken again")
    assert post.ends(run, 240) == "COMPLETED", post.flow_run(run)["state"]
    (new,) = fingerprints(post, stage) - committed
    made, known = (manifest(post, stage, fingerprint) for fingerprint in (new, found[stage]))
    if stage == "merge":  # it has no parts: it starts again
        assert cells(made) == cells(known), "the same candidate under another name"
        return
    begun = max(int(name.removeprefix("step-")) for name in saved)
    assert f"begins after step {begun} of {TRAINED[stage]}" in post.command("logs", run, "--lines", "1000").stdout
    assert steps_in_metrics(post, made) == list(range(1, TRAINED[stage] + 1)), "each step once"
    times = TRAINED[stage] // known["counts"]["steps"]
    counts, ledger = made["counts"], made["evidence"]["ledger"]
    assert (counts["steps"], ledger["attempts"]) == (TRAINED[stage], 2)
    seen = "answers" if "answers" in counts else "tokens"
    assert counts[seen] == times * known["counts"][seen] and ledger["tokens"] == counts["tokens"]


def fingerprints(stack: Stack, stage: str) -> set[str]:
    """Artifacts of a stage that are committed."""
    return {Path(name).parent.name for name in iglob(f"{stack.home}/store/artifacts/{stage}/*/manifest.json")}


def at_work(stack: Stack, stage: str) -> list[str]:
    """Files in which workers of a stage have noted progress."""
    return list(iglob(f"{stack.home}/scratch/jobs/{stage}-*/progress.jsonl"))


def cells(merged: dict[str, Any]) -> list[Any]:
    """What a merge measured of each contestant, the best first."""
    return [one["cells"] for one in merged["evidence"]["panel"]["standings"]]


def steps_in_metrics(stack: Stack, trained: dict[str, Any]) -> list[int]:
    """Steps whose loss stands in the metrics of a committed stage, as they follow one another."""
    (place,) = (file["at"] for file in trained["files"] if file["path"] == "metrics.jsonl")
    rows = [json.loads(line) for line in (stack.home / "store" / place).read_text().splitlines()]
    return [step for step, _, values in rows if "loss" in values]


def test_a_person_approves_the_vibe_check_in_the_ui(post: Stack) -> None:
    """The playbook pauses after the page was written; a refusal stops it and says who and why, Retry asks again, an approval is kept."""
    here = post.command("run", "vibe", "--recipe", "smoke-post", *sets(ASKS), "--here", check=False)
    assert here.returncode == 1 and "there is no terminal to ask in" in here.stderr
    following = post.with_env({"PYTHONUNBUFFERED": "1"}).started("run", "--recipe", "smoke-post", *sets(ASKS))
    first = paused(post)
    assert following.stdout is not None
    told = next(line for line in following.stdout if "waits for approval" in line)  # a person answers what they were told of
    assert "pirate" in (post.home / "results" / "smoke-post" / "vibe.html").read_text()
    assert post.resume(first["id"], approve="perhaps", name="Ada") == "REJECT"
    assert post.resume(first["id"], approve="no", name="Ada", remark="no pirate") == "ACCEPT"
    _, said = following.communicate(timeout=90)
    assert following.returncode == 1
    assert f"waits for approval at {post.prefect}/runs/flow-run/{first['id']}" in told
    assert "vibe: refused by Ada: no pirate" in said
    *_, playbook = post.flow_runs(flow_runs={"state": {"type": {"any_": ["FAILED"]}}, "name": {"any_": ["smoke-post · playbook"]}})
    post.set_state(playbook["id"], "SCHEDULED", name="AwaitingRetry")
    again = paused(post)
    assert post.resume(again["id"], approve="yes", name="Ada", remark="now it is") == "ACCEPT"
    assert post.ends(playbook["id"], 120) == "COMPLETED"
    (vibe,) = (row for row in post.json("explain", "--recipe", "smoke-post", *sets(ASKS)) if row["stage"] == "vibe")
    assert vibe["verdict"] == "reused", "it is not asked about again"
    records = post.json("show", vibe["fingerprint"])["records"]
    assert (records["approval"]["by"], records["approval"]["remark"], records["gate-vibe"]["verdict"]) == ("Ada", "now it is", "passed")


def paused(stack: Stack) -> dict[str, Any]:
    """The one run that waits for a person."""
    asked = {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}
    (found,) = wait_until(lambda: stack.flow_runs(**asked), 120, "nobody is asked")
    return dict(found)
