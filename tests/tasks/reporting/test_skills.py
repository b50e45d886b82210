"""The picture from base to merge, the panel and the vibe check: complete, escaped, and honest about what does not compare."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.errors import InputError
from tasks.evaluation import Answered
from tasks.posttraining import Approval, SkillScores, Vibe
from tasks.reporting import build_view, render_report, render_vibe, vibe_markdown
from tasks.reporting.lineage import ancestry, weights_line
from tasks.reporting.model_card import card_of, limits_of, render_card
from tasks.reporting.skills import final_of, steps_of
from tasks.reporting.skills_plot import depths_of, in_lineage, skills_plot
from tasks.reporting.skills_view import SkillStep
from tests.tasks.reporting.material import HOSTILE, RECIPE
from tests.tasks.reporting.post_material import panel, run, scores
from tests.tasks.reporting.test_page import Tags


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> list[SkillStep]:
    """Of a whole line; intervals of differences are a bootstrap each, so it is derived once."""
    return steps_of(*run(tmp_path_factory.mktemp("line")))


def test_each_step_is_shown_beside_the_model_it_started_from(measured: list[SkillStep]) -> None:
    steps = {step.stage: step for step in measured}
    assert list(steps) == ["convert", "sft-main", "preference-main", "sft-adder", "merge"]
    assert [steps[name].parent for name in ("convert", "sft-main", "preference-main", "sft-adder")] == [
        "",
        "convert",
        "sft-main",
        "sft-main",
    ]
    sft, preference, adder = steps["sft-main"], steps["preference-main"], steps["sft-adder"]
    assert sft.greedy.value == 170 / 400 and sft.greedy.low is not None and 0.37 < sft.greedy.low < 0.39 and sft.items == 400
    assert (
        sft.greedy_change is not None and sft.greedy_change.outcome == "gain" and sft.greedy_change.difference.value == pytest.approx(0.425)
    )
    assert preference.greedy_change is not None and preference.greedy_change.outcome == "no gain outside its interval"
    assert preference.sampled_change is not None and preference.sampled_change.outcome == "gain"  # where preference training shows
    assert adder.greedy_change is not None and adder.greedy_change.outcome == "loss"
    assert {cell.mode for cell in adder.cells if cell.change and cell.change.outcome == "loss"} == {"think"}
    assert (
        steps["merge"].parents == ["preference-main", "sft-adder"] and steps["merge"].parent == "preference-main"
    )  # the panel's best parent


def test_measurements_of_other_questions_are_shown_and_not_compared(tmp_path: Path) -> None:
    manifests, folders = run(tmp_path)
    scores("sft-main", questions="others").write(folders["measure-sft-main"])
    steps = {step.stage: step for step in steps_of(manifests, folders)}
    assert steps["sft-main"].greedy_change is None and steps["sft-main"].parent == "convert"
    (folders["measure-sft-main"] / "skills.json").write_text("{")
    with pytest.raises(InputError, match="no measurement can be read"):
        steps_of(manifests, folders)


def test_a_parent_that_was_not_measured_gives_way_to_its_own(tmp_path: Path) -> None:
    manifests, folders = run(tmp_path)
    del folders["measure-sft-main"]
    assert {step.stage: step.parent for step in steps_of(manifests, folders)}["preference-main"] == "convert"


def test_test_items_are_apart(tmp_path: Path) -> None:
    manifests, folders = run(tmp_path)
    final = final_of(manifests, folders)
    assert final is not None and final.stage == "merge"
    assert final_of(manifests, {name: folder for name, folder in folders.items() if name != "measure-release"}) is None
    scores("merge", "test").write(folders["merge"])
    assert steps_of(manifests, {"merge": folders["merge"]}) == []


def test_lineage_from_the_merge_back_to_the_data(tmp_path: Path) -> None:
    manifests, _ = run(tmp_path)
    assert ancestry(manifests, "merge")[0] == "source" and ancestry(manifests, "merge")[-1] == "merge"
    shaped = ["train-stable", "train-decay", "convert", "sft-main", "preference-main", "sft-adder", "merge"]
    assert weights_line(manifests, "merge") == shaped
    manifests["merge"]["evidence"]["made_of"] = ["preference-main"]  # a parent won as it is
    assert "sft-adder" not in weights_line(manifests, "merge")
    assert in_lineage({"merge": ["a", "b"], "b": ["base"], "base": [], "a": ["base"]}) == ["base", "b", "a", "merge"]


def test_the_picture_says_gain_no_gain_and_loss_in_sign_shape_and_words(measured: list[SkillStep]) -> None:
    steps, svg = measured, skills_plot(measured)
    ET.fromstring(svg)
    assert depths_of(steps) == {"convert": 0, "sft-main": 1, "preference-main": 2, "sft-adder": 2, "merge": 3}
    for text in (
        "✓ gain +0.425",
        "≈ no gain",
        "✕ loss \u2212",
        "greedy 0.425 [0.",
        "from sft-main",
        "of preference-main, sft",
        "the base",
    ):
        assert text in svg, text
    assert svg.count('class="shape worse"') == 3 and svg.count('class="was"') == 9  # two lanes of four steps, and one of each in the key
    assert "nan" not in svg.lower() and skills_plot([]) == ""


def with_tasks(model: str, right: int) -> SkillScores:
    items = [str(n) for n in range(40)]
    ranked = Answered(items=items, right=[float(n < right) for n in range(40)], chance=0.25)
    written = Answered(items=items, right=[(n % 5) / 4 for n in range(40)], samples=4, generative=True, decoding={"temperature": 0.6})
    return scores(model).model_copy(update={"tasks": {"recall_32": ranked, "aime25<script>/think": written}})


def test_tasks_have_their_lane_their_rows_and_their_place_on_the_card(tmp_path: Path) -> None:
    manifests, folders = run(tmp_path)
    for stage, right in (("sft-main", 30), ("preference-main", 8)):
        with_tasks(stage, right).write(folders[f"measure-{stage}"])
    step = {step.stage: step for step in steps_of(manifests, folders)}["preference-main"]
    assert step.tasks is not None and step.tasks.value == pytest.approx((0.2 + 0.5) / 2) and step.items == 400
    assert step.tasks.low is not None and step.tasks.low < step.tasks.value
    assert step.tasks_change is not None and step.tasks_change.outcome == "loss"
    ranked, written = step.cells[-2:]
    assert (ranked.answers, ranked.chance, ranked.attempts, ranked.mode, ranked.formatted) == ("ranked", 0.25, 1, "", None)
    assert (written.answers, written.attempts, written.mode, written.items) == ("sampled", 4, "think", 40)
    view = build_view(RECIPE, manifests, folders)
    ET.fromstring(skills_plot(view.steps))
    page = render_report(view)
    assert "aime25<script>" not in page and "guessing 0.25" in page and "40 × 4" in page and "; mean over tasks" in page
    card = card_of(RECIPE, manifests, folders, "preference-main")
    text = render_card(card, manifests)
    assert "| mean over tasks | tasks against its parent |" in text and "### Tasks of the released model" in text
    assert re.search(r"\| recall\\_32 \| - \| ranked \| 0\.200 \[", text) and "aime25<script>" not in text
    assert "recall\\_32 ranked: not told from guessing" in " ".join(limits_of(replace(card, final=None)))


def test_the_report_has_the_picture_the_panel_and_the_vibe_check(tmp_path: Path) -> None:
    manifests, folders = run(tmp_path)
    folders["vibe"] = tmp_path / "vibe"
    folders["vibe"].mkdir()
    (folders["vibe"] / "vibe.json").write_text(json.dumps(vibe().model_dump(mode="json")))
    page = render_report(build_view(RECIPE, manifests, folders, records={"vibe": {"approval": APPROVED.model_dump()}}))
    assert "It was refused by Ada: &lt;b&gt;no&lt;/b&gt; (2026-01-01" in page
    for anchor in ("skills", "merge", "vibe"):
        assert f'id="{anchor}"' in page and f'href="#{anchor}"' in page
    for text in ("★ soup", "linear: 0.5 preference-main", "a parent as it is", "▾", panel().why, "Asked of merge alone", "says nothing"):
        assert text in page, text
    assert HOSTILE not in page and not re.search(r"url\((?!#)|@import", page)


def vibe() -> Vibe:
    answer = {"text": f"Arr {HOSTILE}", "mode": "no_think", "ended": True, "tokens": 3, "problem": "says nothing"}
    said = (("system", "You are a pirate."), ("user", "Who?"), ("assistant", answer["text"]))
    messages = [{"role": role, "content": text} for role, text in said]
    return Vibe.parse({"talks": [{"name": "persona", "looks_at": "A pirate?", "messages": messages, "answers": [answer]}]})


APPROVED = Approval(approved=False, by="Ada", remark="<b>no</b>", at="2026-01-01T00:00:00+00:00")


def test_the_vibe_check_as_markdown_keeps_what_the_model_wrote_in_its_block() -> None:
    found = vibe()
    found.talks[0].messages[2]["content"] = "```\n# free"
    text = vibe_markdown(found, "sft-main")
    assert "````\n```\n# free\n````" in text and "> says nothing" in text


def test_the_vibe_page_stands_alone_and_escapes_what_the_model_wrote() -> None:
    page, tags = render_vibe(vibe(), "sft-main", APPROVED), Tags()
    tags.feed(page)
    assert "refused by Ada: &lt;b&gt;no&lt;/b&gt;" in page
    assert HOSTILE not in page and "Arr &lt;script&gt;" in page and "A pirate?" in page and "0&#8239;%" in page
    assert not tags.names & {"script", "iframe", "link", "img", "object", "embed", "form"} and tags.addresses == []
