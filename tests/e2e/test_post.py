"""Post-training as a person runs it: every stage after the base model, what they leave, and one that is killed and retried from the UI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.driving import Stack, sets, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
STEPS = ["sft-main", "preference-main", "reinforcement-main"]
LONGER = ["posttraining.sft.main.schedule.learning_rate=2.0e-3", "posttraining.sft.main.epochs=6"]


@pytest.fixture(scope="module")
def post(smoke: Stack) -> Stack:
    """The stack after `smolflow run --recipe smoke-post`, which goes on from smoke's artifacts."""
    smoke.command("run", "--recipe", "smoke-post", timeout=550)
    return smoke


def fingerprints(stack: Stack, overrides: list[str] | None = None) -> dict[str, str]:
    rows = stack.json("explain", "--recipe", "smoke-post", *sets(overrides or []))
    return {row["stage"]: row["fingerprint"] for row in rows}


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
    panel = manifest(post, found["merge"])["evidence"]["panel"]
    assert {one["name"] for one in panel["standings"]} == {"half", "sft-main"}
    assert manifest(post, found["measure-release"])["evidence"]["side"] == "test"


def test_card_and_report_tell_where_it_comes_from(post: Stack) -> None:
    folder = Path(post.home / "results" / "smoke-post" / "model")
    card = (folder / "README.md").read_text()
    for words in ("sft-main", "preference-main", "reinforcement-main", "pandas"):
        assert words in card, words
    page = Path(post.command("report", "--recipe", "smoke-post").stdout.strip()).read_text()
    assert "Held-out accuracy from base to merge" in page


def test_one_talks_with_it_in_both_modes(post: Stack) -> None:
    for mode in ("think", "no_think"):
        said = post.json("chat", "--recipe", "smoke-post", "--prompt", "What is 47+85?", "--mode", mode)
        assert set(said) >= {"reasoning", "answer", "raw", "ended", "tokens"}
        assert said["tokens"] > 0
    assert "sft-nothing" in post.refused("chat", "--recipe", "smoke-post", "--stage", "sft-nothing", "--prompt", "Hello")


def test_a_step_started_from_the_ui_is_killed_and_goes_on_where_it_was(post: Stack) -> None:
    before = len(post.parts("sft-main"))
    run = post.submit("sft/cpu", recipe="smoke-post", overrides=LONGER)
    wait_until(lambda: len(post.parts("sft-main")) > before, 200, "no checkpoint of the step")
    for process in post.flow_processes():
        process.kill()
    assert post.ends(run, 60) == "CRASHED"
    post.set_state(run, "SCHEDULED", name="AwaitingRetry")
    wait_until(lambda: post.flow_run(run)["run_count"] == 2, 60, "the run was not taken again")
    assert post.ends(run, 300) == "COMPLETED"
    left = manifest(post, fingerprints(post, LONGER)["sft-main"])
    assert left["counts"]["steps"] == 6 * 20
    assert any("ended without a word" in one for one in left["interventions"]), left["interventions"]
