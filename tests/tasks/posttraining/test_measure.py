"""Held-out skills of a model, what two measurements say of a stage, and the gate that looks at generated answers alone."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from contracts.errors import ConfigError, InputError
from tasks.data import heldout_items
from tasks.data.documents import Document, DocumentWriter
from tasks.evaluation import Answered, suites
from tasks.posttraining import Cell, HeldoutRead, SkillScores, compare, form_problems, read_problems, read_skills, regression_problems
from tasks.posttraining.config import ChatEvaluation
from tasks.posttraining.conversation import Sample
from tasks.posttraining.measure import measure
from tasks.posttraining.model_folder import load_model, load_renderer
from tasks.posttraining.skill_rows import question, reply
from tasks.posttraining.skill_scores import HeldoutText
from tasks.posttraining.task_answers import scored
from tests.tasks.data.material import prose, silent
from tests.tasks.posttraining.answering import TEMPLATE, batch, taught
from tests.tasks.posttraining.material import say

ITEMS = heldout_items("add", 8, seed=0)


@pytest.fixture(scope="module")
def knows(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was given the held-out answers: what it is measured to know is known here."""
    rows = [{"messages": [*question(item, "no_think"), say(reply(item, "no_think"))]} for item in ITEMS]
    return taught(model, tmp_path_factory.mktemp("knows"), rows, steps=90)


def run(model: Path, out: Path, curate: Path | None = None, **more: Any) -> tuple[SkillScores, Any]:
    out.mkdir(parents=True, exist_ok=True)
    evaluation = {"skills": ["add"], "items": 8, "max_answer_tokens": 16, **more.pop("evaluation", {})}
    config = {"template": TEMPLATE.model_dump(mode="json"), "evaluation": evaluation, **more}
    summary = measure(config, {"model": model} | ({"curate": curate} if curate else {}), out, silent)
    return read_skills(out), summary


def scores(accuracy: dict[str, float], items: int = 200, seed: int = 0, questions: str = "q") -> SkillScores:
    """A measurement with these accuracies (`add/think/greedy`), right answers spread at random over the items."""
    cells = []
    for name, value in accuracy.items():
        skill, mode, decoding = name.split("/")
        right = [1] * round(value * items) + [0] * (items - round(value * items))
        random.Random(f"{seed} {name}").shuffle(right)
        rest: dict[str, Any] = {key: [0] * items for key in ("formatted", "cut", "tokens", "reflections")}
        cells.append(Cell.parse({"skill": skill, "mode": mode, "decoding": decoding, "correct": right, **rest}))
    return SkillScores(questions=questions, side="validation", cells=cells)


def test_what_a_model_knows_is_what_is_measured(knows: Path, tmp_path: Path) -> None:
    found, summary = run(knows, tmp_path)
    assert [cell.name for cell in found.cells] == [
        "add/think/greedy", "add/no_think/greedy", "add/think/sampled", "add/no_think/sampled"
    ]  # fmt: skip
    plain = found.cells[1]
    assert plain.accuracy == plain.format == 1.0 and sum(plain.cut) == 0 and plain.items == 8
    thinking = found.cells[0]
    assert thinking.format == 0.0 and thinking.accuracy < 1.0, "it never learned to think"
    assert found.of("greedy") == {"add/think": (sum(thinking.correct), 8), "add/no_think": (8, 8)}
    assert summary.metrics["accuracy.greedy"] == found.pooled("greedy") == (thinking.accuracy + 1.0) / 2
    low, high = next(row["accuracy_interval"] for row in summary.evidence["cells"] if row["accuracy"] == 1.0)
    assert 0.6 < low < high == pytest.approx(1.0)


def test_a_base_model_is_asked_as_its_children_are(model: Path, knows: Path, tmp_path: Path) -> None:
    """The template is put on the tokenizer of a model that brings none."""
    base, _ = run(model, tmp_path / "base")
    assert base.pooled("greedy") == 0.0 and all(sum(cell.cut) == 8 for cell in base.cells)
    gains = {change.name: change.verdict for change in compare(base, run(knows, tmp_path / "knows")[0])}
    assert gains["all/greedy"] == gains["add/no_think/greedy"] == "gain"
    assert gains["add/think/greedy"] == "no gain outside its interval"


@pytest.fixture
def sums(monkeypatch: pytest.MonkeyPatch) -> str:
    """A suite of one task whose answers are written: the sums that the model `knows`."""
    rows = [{"question": item.question, "answer": item.answer} for item in ITEMS]
    config = {
        "custom_dataset": lambda **_: {"test": Dataset.from_list(rows)}, "test_split": "test", "output_type": "generate_until",
        "doc_to_text": "{{question}}", "doc_to_target": "{{answer}}", "generation_kwargs": {"until": ["sum", "."], "max_gen_toks": 8},
        "filter_list": [{"name": "n", "filter": [{"function": "regex", "regex_pattern": "is ([0-9]+)"}, {"function": "take_first"}]}],
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    tasks = {"sums": {"harness": {"generation": config}, "formulation": "generation", "metric": "exact_match"}}
    own = suites.Suite.parse({"name": "own", "version": 1, "does": "", "tasks": tasks})
    known = suites._suites()
    monkeypatch.setattr(suites, "_suites", lambda: {**known, "own": own})
    return "sums"


def test_tasks_are_asked_in_conversation_or_ranked_and_stand_beside_the_skills(knows: Path, tmp_path: Path, sums: str) -> None:
    evaluation = {"tasks": [sums, "recall_32"], "task_items": 8, "attempts": {sums: 2}, "task_answer_tokens": 16, "temperature": 0.1}
    found, summary = run(knows, tmp_path / "a", evaluation=evaluation)
    assert list(found.tasks) == ["recall_32", "sums/think", "sums/no_think"]
    plain, ranked = found.tasks["sums/no_think"], found.tasks["recall_32"]
    assert plain.right == [1.0] * 8 and plain.samples == 2 and plain.decoding == {"temperature": 0.1, "top_p": 0.95}
    assert sum(found.tasks["sums/think"].right) < 8, "it never learned to answer after /think"
    assert ranked.samples == 1 and ranked.chance == 0.25 and len(ranked.right) == 8
    assert found.of_tasks()["sums/no_think"] == (8.0, 8) and summary.metrics["accuracy.sums.no_think"] == 1.0
    low, high = summary.evidence["tasks"]["sums/no_think"]["accuracy_interval"]
    assert 0.6 < low < high == 1.0
    test, _ = run(knows, tmp_path / "b", evaluation=evaluation, side="test")
    assert list(test.tasks) == ["recall_32"], "a benchmark that steered the line is not asked again as if nothing had seen it"
    assert not set(test.tasks["recall_32"].items) & set(ranked.items)
    assert run(knows, tmp_path / "c")[0].questions != found.questions


def test_reasoning_is_not_scored_and_one_that_never_ends_says_nothing() -> None:
    assert scored("<think>\n1+2=3\n</think>\nThe answer is 3.") == "The answer is 3." and scored("Hello.") == "Hello."
    assert scored("<think>\nThe answer is 3.") == ""


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        ({"tasks": ["gsm_pluss"]}, "did you mean 'gsm_plus'"),
        ({"tasks": ["humaneval"]}, "runs what the model writes"),
        ({"tasks": ["aime25"], "attempts": {"gsm_plus": 4}}, "'gsm_plus' is no task of `tasks`"),
        ({"tasks": ["recall_32"], "attempts": {"recall_32": 4}}, "whose answer is written"),
        ({"tasks": ["aime25"], "attempts": {"aime25": 4}, "temperature": 0}, "several need one above 0"),
    ],
)
def test_tasks_that_cannot_be_asked_are_refused_in_the_recipe(evaluation: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ChatEvaluation.parse(evaluation)


def test_a_measurement_says_beforehand_what_it_measures() -> None:
    evaluation = ChatEvaluation(skills=["add"], tasks=["ruler", "aime25", "recall_32"])
    assert evaluation.cells() == ["add/think", "add/no_think", "ruler/no_think", "aime25/think", "aime25/no_think", "recall_32"]
    assert {name: task.samples for name, task in evaluation.named_tasks().items()} == {"ruler": 1, "aime25": "recommended", "recall_32": 1}


def test_a_task_that_cannot_be_had_is_said_before_anything_is_asked(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing was run: grammar_pairs"):
        run(model, tmp_path, evaluation={"tasks": ["grammar_pairs"]})
    assert not (tmp_path / "skills.json").exists()


def test_other_batches_measure_the_same(knows: Path, tmp_path: Path) -> None:
    assert run(knows, tmp_path / "a")[0].cells == run(knows, tmp_path / "b", evaluation={"batch_size": 3})[0].cells


def test_heldout_text_is_measured_where_there_is_some(model: Path, tmp_path: Path) -> None:
    with DocumentWriter(tmp_path / "curate" / "heldout", "prose") as writer:
        for n in range(4):
            writer.add(Document(f"prose/{n}", prose(n), "prose", "", str(n)))
    found, summary = run(model, tmp_path / "out", tmp_path / "curate", window=64)
    assert len(found.text["prose"].bits) == 4
    assert 2.0 < summary.metrics["bits_per_byte.prose"] == found.bits_per_byte()["prose"] < 9.0


def test_a_better_margin_does_not_excuse_lost_answers(knows: Path, tmp_path: Path) -> None:
    """Planted: pushed by its pairs alone a model tells right from wrong ever better, and generates the right answer no more."""
    renderer, network = load_renderer(knows, TEMPLATE), load_model(knows)
    sides = [
        batch([renderer.render(Sample([*question(item, "no_think"), say(f"The answer is {answer}.")])) for item, answer in side])
        for side in ([(item, item.answer) for item in ITEMS], [(item, str(int(item.answer) + 1)) for item in ITEMS])
    ]

    def logps() -> list[torch.Tensor]:
        found = []
        for side in sides:
            logits, labels = network(side["input_ids"], attention_mask=side["attention_mask"]).logits[:, :-1], side["labels"][:, 1:]
            each = torch.log_softmax(logits, -1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
            found.append((each * (labels >= 0)).sum(-1))
        return found

    before = [one.detach() for one in logps()]
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(25):  # `apo_down`: both fall, the rejected one faster
        chosen, rejected = (now - then for now, then in zip(logps(), before, strict=True))
        (torch.sigmoid(0.1 * chosen) + torch.sigmoid(0.1 * (rejected - chosen))).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    chosen, rejected = (now - then for now, then in zip(logps(), before, strict=True))
    margin = (chosen - rejected).detach()
    assert float(margin.mean()) > 0 and float((margin > 0).float().mean()) >= 0.75, "by its own metrics it has become better"

    network.save_pretrained(tmp_path / "pushed")
    renderer.tokenizer.save_pretrained(tmp_path / "pushed")
    was, now = run(knows, tmp_path / "was")[0], run(tmp_path / "pushed", tmp_path / "now")[0]
    assert was.cells[1].accuracy == 1.0 and now.cells[1].accuracy < 0.5
    problems = regression_problems(was, now, max_regression=0.05)
    assert problems and problems[0].startswith("held-out accuracy (greedy) fell from ")


def test_the_measured_case_of_apo_zero_is_refused() -> None:
    """Pair accuracy 0.72, margin +0.16; add/think 0.81 -> 0.39 (three other cells as they were)."""
    others = {"add/no_think/greedy": 0.05, "reverse/think/greedy": 0.5, "reverse/no_think/greedy": 0.5}
    before, after = scores({"add/think/greedy": 0.81, **others}), scores({"add/think/greedy": 0.39, **others}, seed=1)
    (line,) = regression_problems(before, after, max_regression=0.05)
    assert "(most in add/think/greedy: 0.810 to 0.390)" in line and "by more than 0.050" in line
    assert regression_problems(before, after, max_regression=0.2) == [], "a tolerance lets it pass"


def test_a_skill_that_collapsed_while_another_rose_stops_the_line() -> None:
    """Planted: the mean stays where it was."""
    before = scores({"add/think/greedy": 0.5, "reverse/no_think/greedy": 0.9})
    after = scores({"add/think/greedy": 0.9, "reverse/no_think/greedy": 0.5}, seed=1)
    assert regression_problems(before, after, 0.05) == [], "the mean alone sees nothing"
    (line,) = regression_problems(before, after, 0.05, max_cell_regression=0.1)
    assert line.startswith("reverse/no_think/greedy alone fell from 0.900 to 0.500 [") and "wholly beyond 0.100" in line
    assert regression_problems(before, after, 0.05, 0.35) == [], "its interval reaches the tolerance"
    assert regression_problems(before, after, 1.0, 0.1) == [], "what may forget everything may forget one thing"


def test_bits_of_heldout_text_are_held_where_a_bound_is_set() -> None:
    def spending(bits: float) -> SkillScores:
        text = {"prose": HeldoutText(bits=[100 * bits + n for n in range(20)], bytes=[100] * 20)}
        return scores({"add/think/greedy": 0.5}).model_copy(update={"text": text})

    assert regression_problems(spending(3.0), spending(4.0), 0.05) == []
    (line,) = regression_problems(spending(3.0), spending(4.0), 0.05, max_bits_regression=0.5)
    assert line.startswith("bits per byte/prose rose from 3.095 to 4.095") and "wholly beyond 0.500" in line
    assert regression_problems(spending(3.0), spending(3.4), 0.05, max_bits_regression=0.5) == []
    (line,) = regression_problems(scores({"add/think/greedy": 0.5}), spending(4.0), 0.05, max_bits_regression=0.5)
    assert "share no held-out text" in line


def test_a_released_model_that_lost_its_form_in_one_mode_is_refused() -> None:
    """Planted: always right, and after /think it often answers without a thought."""
    found = scores({"add/think/greedy": 1.0, "reverse/think/greedy": 1.0, "add/no_think/greedy": 1.0, "add/think/sampled": 1.0}, items=100)
    formed = {"add/think/greedy": 80, "reverse/think/greedy": 100, "add/no_think/greedy": 95}
    cells = [cell.model_copy(update={"formatted": [1] * (n := formed.get(cell.name, 0)) + [0] * (100 - n)}) for cell in found.cells]
    (line,) = form_problems(found.model_copy(update={"cells": cells}), 0.95)
    assert line.startswith("180 of 200 greedy answers in mode think are in form (0.900)") and "add/think/greedy: 0.800" in line
    assert form_problems(found.model_copy(update={"cells": cells}), 0.9) == []


def test_a_fall_within_the_noise_of_its_items_stops_nobody() -> None:
    before, after = scores({"add/think/greedy": 0.60}, items=20), scores({"add/think/greedy": 0.50}, items=20, seed=1)
    assert regression_problems(before, after, max_regression=0.05) == []
    assert [change.verdict for change in compare(before, after) if change.name == "all/greedy"] == ["no gain outside its interval"]


def test_a_task_that_was_lost_stops_the_line_however_good_the_rest(tmp_path: Path) -> None:
    """Planted: skills rise, and recall over a long context falls (SmolLM3's preference training)."""

    def measured(skill: float, recall: float, seed: int) -> SkillScores:
        right = [1.0] * round(100 * recall) + [0.25] * (100 - round(100 * recall))  # the share of four answers
        random.Random(seed).shuffle(right)
        answered = Answered(items=[str(n) for n in range(100)], right=right, samples=4, generative=True)
        return scores({"add/think/greedy": skill}, seed=seed).model_copy(update={"tasks": {"ruler/no_think": answered}})

    before, after = measured(0.5, 0.9, 0), measured(0.9, 0.5, 1)
    (line,) = regression_problems(before, after, max_regression=0.05)
    assert line.startswith("ruler/no_think fell from 0.925 to 0.625, by more than 0.050")
    assert regression_problems(before, after, max_regression=0.4) == [] == regression_problems(before, measured(0.5, 0.88, 1), 0.01)
    assert {"ruler/no_think", "all/tasks"} <= {change.name for change in compare(before, after) if change.verdict == "loss"}
    after.write(tmp_path)
    assert read_skills(tmp_path) == after
    with pytest.raises(InputError, match="other questions were asked"):
        compare(before, scores({"add/think/greedy": 0.5}))


def test_a_gain_and_a_loss_are_told_apart_by_interval() -> None:
    before = scores({"add/think/sampled": 0.50, "reverse/think/sampled": 0.90})
    changes = {one.name: one for one in compare(before, scores({"add/think/sampled": 0.75, "reverse/think/sampled": 0.60}, seed=1))}
    assert changes["add/think/sampled"].verdict == "gain" and changes["reverse/think/sampled"].verdict == "loss"
    pooled = changes["all/sampled"]
    assert pooled.difference == pytest.approx(-0.025) and pooled.low is not None and pooled.low < 0 < (pooled.high or 0)


def test_measurements_of_other_questions_do_not_compare() -> None:
    with pytest.raises(InputError, match="other questions were asked"):
        compare(scores({"add/think/greedy": 0.5}), scores({"add/think/greedy": 0.5}, questions="other"))
    with pytest.raises(InputError, match="other questions were asked"):
        regression_problems(scores({"add/think/greedy": 0.5}), scores({"add/no_think/greedy": 0.5}), 0.05)


@pytest.mark.parametrize(
    ("evaluation", "said"), [({"skills": []}, "no skill to measure"), ({"skills": ["ad"]}, "did you mean 'add'"), ({"items": 900}, "has 5")]
)
def test_what_cannot_be_measured_is_refused(model: Path, tmp_path: Path, evaluation: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(model, tmp_path, evaluation=evaluation)


def test_no_measurement_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no measurement can be read"):
        read_skills(tmp_path)
    (tmp_path / "skills.json").write_text(json.dumps({"cells": 3}))
    with pytest.raises(ConfigError):
        read_skills(tmp_path)


def read(model: str, questions: str = "q", when: str = "2026-01-01") -> HeldoutRead:
    return HeldoutRead(model=model, questions=questions, when=when, why="release")


def test_only_the_test_side_leaves_a_record() -> None:
    measured = scores({"add/think/greedy": 0.5})
    assert HeldoutRead.of(measured, "m", "now", "release") is None
    assert HeldoutRead.of(measured.model_copy(update={"side": "test"}), "m", "now", "release") == read("m", when="now")


@pytest.mark.parametrize(
    ("reads", "said"),
    [
        ([read("final")], []),
        ([], ["was not measured on the test items"]),
        ([read("final"), read("draft"), read("other")], ["read for 2 other model(s), first by release"]),
        ([read("final"), read("final")], ["read 2 times for the released model"]),
        ([read("draft")], ["read for 1 other model(s)", "was not measured"]),
    ],
)
def test_heldout_tests_are_read_once(reads: list[HeldoutRead], said: list[str]) -> None:
    problems = read_problems(reads, "final")
    assert len(problems) == len(said) and all(part in problem for part, problem in zip(said, problems, strict=True))
