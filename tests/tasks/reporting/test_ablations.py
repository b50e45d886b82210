"""Courts in the report of a run: read from the artifacts, placed in the DAG, and named where they changed what was trained."""

from __future__ import annotations

import json
import re

import pytest

from contracts.errors import ConfigError
from tasks.reporting import FILES, build_view, render_report
from tasks.reporting.dag import dag_picture
from tests.tasks.reporting.court_material import court
from tests.tasks.reporting.material import RECIPE, run
from tests.tasks.reporting.qualification_material import qualification

RECIPE_WITH_COURT = {**RECIPE, "ablations": {"qualification": {"tokens": 1}, "courts": [{"name": "main", "before": None}]}}


def held(root, before: str = "stable"):
    """(manifests, folders) of a finished run that held a court before a phase, and qualified its metrics."""
    manifests, folders = run(root)
    found = court().model_copy(update={"before": before})
    for name, file, document in (("qualify", "qualification.json", qualification()), ("court-main", "court.json", found)):
        folders[name] = root / name
        folders[name].mkdir()
        (folders[name] / file).write_text(json.dumps(document.model_dump(mode="json")))
    labels = [f"{one.arm}.{one.seed}" for one in found.runs]
    judged = dict.fromkeys(labels, "evaluate") | {f"{role}.train": "train-arm" for role in labels} | {"qualify": "qualify"}
    seeds = {f"baseline.{seed}.{tokens}": "evaluate" for seed in range(4) for tokens in (10, 20)}
    for name, inputs in (("qualify", seeds), ("court-main", judged)):
        refs = {role: {"stage": stage, "fingerprint": "f", "manifest_sha256": "0"} for role, stage in inputs.items()}
        manifests[name] = {**manifests["source"], "stage": name, "inputs": refs}
    return manifests, folders


def test_a_court_stands_between_what_its_runs_start_from_and_the_phase_it_settles(tmp_path):
    view = build_view(RECIPE_WITH_COURT, *held(tmp_path))
    stages = {stage.name: stage for stage in view.stages}
    assert stages["court-main"].runs == 12 and stages["qualify"].runs == 4  # the runs are no boxes, and no inputs that would make a cycle
    assert stages["court-main"].inputs == {"qualify": "qualify"} and stages["court-main"].follows == ["tokenize"]
    assert "court-main" in stages["train-stable"].follows and not stages["train-decay"].follows
    svg = dag_picture(view.stages)
    assert "12 runs" in svg and "train-arm" not in svg and svg.count('class="box ') == len(stages)


def test_the_evaluations_of_a_courts_runs_are_never_taken_for_that_of_the_model(tmp_path):
    view = build_view(RECIPE, *held(tmp_path))  # a recipe that does not say where the court stands
    court_view = next(stage for stage in view.stages if stage.name == "court-main")
    assert (court_view.runs, court_view.inputs, court_view.follows) == (12, {"qualify": "qualify"}, [])
    assert "12 runs" in dag_picture(view.stages)


def test_a_court_before_a_later_phase_starts_from_the_phase_before_it(tmp_path):
    recipe = {**RECIPE, "ablations": {"courts": [{"name": "main", "before": "decay"}]}}
    view = build_view(recipe, *held(tmp_path, "decay"))
    stages = {stage.name: stage for stage in view.stages}
    assert set(stages["court-main"].follows) == {"tokenize", "train-stable"}
    stable, decay = view.phases
    assert not stable.verdicts and len(decay.verdicts) == 1


def test_a_court_that_has_not_been_held_is_drawn_as_waiting(tmp_path):
    manifests, folders = run(tmp_path)
    inputs = {"court-main": {"baseline.0": "evaluate", "baseline.0.train": "train-arm"}}
    view = build_view(RECIPE_WITH_COURT, manifests, folders, inputs=inputs)
    stages = {stage.name: stage for stage in view.stages}
    assert (stages["court-main"].state, stages["court-main"].runs) == ("waiting", 1)
    assert view.courts == [] and 'class="box waiting"' in dag_picture(view.stages)


def test_the_report_says_what_a_court_accepted_and_which_phases_were_trained_with_it(tmp_path):
    view = build_view(RECIPE_WITH_COURT, *held(tmp_path))
    page = render_report(view)
    for anchor in ("qualification", "ablations", "training"):
        assert f'id="{anchor}"' in page and f'href="#{anchor}"' in page
    assert view.courts[0].decisions[0].sentence in page
    said = "trained with muon (training.phases.*.optimizer.kind: adamw → muon, training.phases.*.schedule.learning_rate: 0.002 → 0.003)"
    assert page.count(f"{said}, accepted by court-main") == 2
    assert "2 of 4 metrics may vote." in page and "<b>1 of 5</b><span>changes accepted by ablation</span>" in page
    made_from = re.search(r"<tr><td>court-main</td>.*?</tr>", page, re.DOTALL)
    assert made_from and "12 runs" in made_from.group()


def test_a_change_of_one_phase_is_named_there_alone(tmp_path):
    manifests, folders = held(tmp_path)
    result = court()
    muon = result.decisions[0].model_copy(update={"accepted": {"training.phases.decay.mixture": {"code": 0.3}}})
    (folders["court-main"] / "court.json").write_text(
        json.dumps(result.model_copy(update={"decisions": [muon, *result.decisions[1:]]}).model_dump(mode="json"))
    )
    view = build_view(RECIPE_WITH_COURT, manifests, folders)
    assert [len(phase.verdicts) for phase in view.phases] == [0, 1]


def test_a_court_over_a_step_stands_before_it_and_changes_no_phase(tmp_path):
    manifests, folders = held(tmp_path, "sft-main")
    result = court().model_copy(update={"before": "sft-main"})
    muon = result.decisions[0].model_copy(update={"accepted": {"posttraining.sft.main.epochs": 3}})
    judged = result.model_copy(update={"decisions": [muon, *result.decisions[1:]]})
    (folders["court-main"] / "court.json").write_text(json.dumps(judged.model_dump(mode="json")))
    manifests["sft-main"] = {**manifests["convert"], "stage": "sft-main", "inputs": {"model": {"stage": "convert", "fingerprint": "f"}}}
    view = build_view({**RECIPE, "ablations": {"steps": [{"name": "main", "stage": "sft-main"}]}}, manifests, folders)
    stages = {stage.name: stage for stage in view.stages}
    assert stages["court-main"].follows == ["convert"] and stages["sft-main"].follows == ["court-main"]
    assert not any(phase.verdicts for phase in view.phases)


def test_a_court_of_another_version_is_refused_by_name(tmp_path):
    manifests, folders = held(tmp_path)
    (folders["court-main"] / "court.json").write_text('{"nome": "main"}')
    with pytest.raises(ConfigError, match="court-main"):
        build_view(RECIPE_WITH_COURT, manifests, folders)


def test_only_the_small_files_of_a_court_are_read():
    assert FILES["court"] == ["court.json"] and FILES["qualify"] == ["qualification.json"]
