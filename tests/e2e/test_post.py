"""Post-training as a person runs it: every stage after the base model, and what they leave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.driving import Stack, sets, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
STEPS = ["sft-main", "preference-main", "reinforcement-main"]
EPOCHS = 6
LONGER = ["posttraining.sft.main.schedule.learning_rate=2.9e-3", f"posttraining.sft.main.epochs={EPOCHS}"]
"""120 steps that no other test trains; the chat data stay as they are."""
LAST_WORD = "Check whether the flow run exceeded its memory allocation"
"""What the worker logs after its second report of a run that was killed."""
ASKS = ["posttraining.vibe.approval=true"]


@pytest.fixture(scope="module")
def post(smoke: Stack) -> Stack:
    """The stack after `smolflow run --recipe smoke-post`, which goes on from smoke's artifacts."""
    smoke.command("run", "--recipe", "smoke-post", timeout=550)
    return smoke


def fingerprints(stack: Stack, overrides: Sequence[str] = ()) -> dict[str, str]:
    return {row["stage"]: row["fingerprint"] for row in stack.json("explain", "--recipe", "smoke-post", *sets(overrides))}


def manifest(stack: Stack, fingerprint: str) -> dict[str, Any]:
    return dict(stack.json("show", fingerprint)["manifest"])


def test_every_stage_is_there_and_a_second_run_does_nothing(post: Stack) -> None:
    rows = post.json("explain", "--recipe", "smoke-post")
    assert {row["verdict"] for row in rows} == {"reused"}
    assert "nothing to do" in post.command("run", "--recipe", "smoke-post", timeout=60).stdout
    found = fingerprints(post)
    assert found["convert"] == post.fingerprints()["convert"], "it starts from smoke's own base model"


def test_each_step_names_its_parent_and_is_compared_with_it(post: Stack) -> None:
    found = fingerprints(post)
    for stage, parent in zip(STEPS, ["convert", "sft-main", "sft-main"], strict=True):
        assert manifest(post, found[stage])["inputs"]["model"]["fingerprint"] == found[parent]
        shown = post.json("show", found[f"measure-{stage}"])
        assert shown["records"]["gate-regression"]["verdict"] == "passed"
        assert shown["manifest"]["counts"]["answers"] == 2 * 2 * 2 * 16  # skills, modes, greedy and sampled, items
        assert shown["manifest"]["counts"]["task_items"] == 32 and set(shown["manifest"]["evidence"]["tasks"]) == {"recall_32"}
    panel = manifest(post, found["merge"])["evidence"]["panel"]
    assert {one["name"] for one in panel["standings"]} == {"half", "sft-main"} and "recall_32" in panel["required"]
    assert manifest(post, found["measure-release"])["evidence"]["side"] == "test"


def test_card_and_report_tell_where_it_comes_from(post: Stack) -> None:
    folder = Path(post.home / "results" / "smoke-post" / "model")
    card = (folder / "README.md").read_text()
    for words in ("sft-main", "preference-main", "reinforcement-main", "pandas", "mean over tasks", "recall\\_32"):
        assert words in card, words
    page = Path(post.command("report", "--recipe", "smoke-post").stdout.strip()).read_text()
    assert "Held-out accuracy from base to merge" in page


def test_one_talks_with_it_in_both_modes(post: Stack) -> None:
    for mode in ("think", "no_think"):
        said = post.json("chat", "--recipe", "smoke-post", "--prompt", "What is 47+85?", "--mode", mode)
        assert set(said) >= {"reasoning", "answer", "raw", "ended", "tokens"}
        assert said["tokens"] > 0
    assert "sft-nothing" in post.refused("chat", "--recipe", "smoke-post", "--stage", "sft-nothing", "--prompt", "Hello")


def test_a_step_is_started_killed_and_retried_from_the_ui(post: Stack) -> None:
    """As the form and the buttons of the UI do it. The worker reports a crash twice, and the second report would undo a Retry before it."""
    before = set(post.parts("sft-main"))
    run = post.submit("sft/cpu", recipe="smoke-post", overrides=LONGER, stage="sft-main")
    wait_until(lambda: set(post.parts("sft-main")) - before, 200, "training did not get going")
    post.kill_flow_runs()
    wait_until(lambda: LAST_WORD in post.command("logs", run).stdout, 90, "the worker has not said its last word on the crash")
    assert post.flow_run(run)["state"]["type"] == "CRASHED"
    saved = max(int(name.removeprefix("step-")) for name in set(post.parts("sft-main")) - before)
    post.set_state(run, "SCHEDULED", name="AwaitingRetry")
    wait_until(lambda: post.flow_run(run)["run_count"] == 2, 60, "the run was not taken again")
    assert post.ends(run, 240) == "COMPLETED", post.flow_run(run)["state"]
    trained = manifest(post, fingerprints(post, LONGER)["sft-main"])
    counts, ledger = trained["counts"], trained["evidence"]["ledger"]
    assert counts["steps"] == EPOCHS * 20 and counts["tokens"] == EPOCHS * counts["epoch_tokens"], "each step once"
    assert ledger["attempts"] == 2 and saved >= 10
    assert f"begins after step {saved} of" in post.command("logs", run, "--lines", "1000").stdout


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
