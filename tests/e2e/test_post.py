"""Post-training as a person runs it: every stage after the base model, and what they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.driving import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
STEPS = ["sft-main", "preference-main", "reinforcement-main"]


@pytest.fixture(scope="module")
def post(smoke: Stack) -> Stack:
    """The stack after `smolflow run --recipe smoke-post`, which goes on from smoke's artifacts."""
    smoke.command("run", "--recipe", "smoke-post", timeout=550)
    return smoke


def fingerprints(stack: Stack) -> dict[str, str]:
    return {row["stage"]: row["fingerprint"] for row in stack.json("explain", "--recipe", "smoke-post")}


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
