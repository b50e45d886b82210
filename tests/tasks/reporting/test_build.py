"""From artifacts to the view: every figure is where the stages left it, and nothing is shown that was not measured."""

from __future__ import annotations

import json

import pytest

from contracts.config import identity
from tasks.reporting import Link, ReportRequest, build_view, report
from tasks.reporting.measured import read_metrics
from tests.tasks.reporting.material import INPUTS, RECIPE, run


@pytest.fixture
def finished(tmp_path):
    return run(tmp_path)


def test_the_view_of_a_finished_run(finished):
    manifests, folders = finished
    view = build_view(RECIPE, manifests, folders, states={"source": "reused"})
    assert [stage.name for stage in view.stages] == list(INPUTS)
    assert [stage.state for stage in view.stages][:2] == ["reused", "ran"]
    assert view.headline["parameters"] == "1.05M"
    stable, decay = view.phases
    assert (stable.start_tokens, stable.end_tokens, decay.end_tokens) == (0, 20_480, 30_720)
    assert decay.loss[0][0] == 20_480 + 2_048 and len(stable.loss) == 10
    assert set(stable.eval_loss) == {"prose", "code"} and len(stable.eval_loss["prose"]) == 2
    assert decay.layouts == ["DP2 mbs 4, steps 1-5 on cpu"] and decay.interventions == ["step 3: resumed after SIGKILL"]
    assert view.missing == ["The task 'code_keyword_pairs' was left out: too few items."]
    assert view.machine == {"cpus": "2", "memory": "7.8 GiB"}
    assert view.parity[0].bound == "at most 0.0001"


def test_the_data_table(finished):
    view = build_view(RECIPE, *finished)
    prose = view.sources[0]
    assert prose.epochs == 1.9  # as the trainer counted it
    assert [item.name for item in prose.removed] == ["duplicate", "too_short", "held-out text that training shares"]  # by bytes
    assert prose.samples and prose.samples[0].startswith("A kept document of prose")
    assert view.tokenizer["fit to prose"] == "3.10 bytes per token, 1.90 tokens per word"


def test_epochs_follow_from_the_mixture_where_the_trainer_left_no_count(finished):
    manifests, folders = finished
    manifests["train-decay"]["evidence"] = {}
    assert build_view(RECIPE, manifests, folders).sources[0].epochs == pytest.approx((0.6 * 20_480 + 0.5 * 10_240) / 9216)


def test_a_source_beats_the_bigram_only_with_its_whole_interval(finished):
    view = build_view(RECIPE, *finished)
    assert {row.source: row.wins for row in view.bits_per_byte} == {"prose": True, "code": False}


def test_what_did_not_run_is_said_and_not_drawn(finished):
    manifests, folders = finished
    done = {name: manifest for name, manifest in manifests.items() if name not in ("train-decay", "convert", "evaluate")}
    view = build_view(RECIPE, done, {name: folders[name] for name in done}, inputs=INPUTS, states={"train-decay": "failed"})
    assert {stage.name: stage.state for stage in view.stages}["train-decay"] == "failed"
    assert {stage.name: stage.state for stage in view.stages}["evaluate"] == "waiting"
    assert len(view.phases) == 1 and not view.bits_per_byte and not view.parity
    assert len(view.missing) == 2


def test_gates_and_waivers_are_listed(finished):
    records = {
        "tokenize": {"gate-epochs": {"gate": "epochs", "verdict": "waived", "problems": ["'code' is read 7 times"], "waiver": "a test"}},
        "curate": {"gate-documents": {"gate": "documents", "verdict": "passed", "problems": []}, "other": {"note": 1}},
    }
    view = build_view(RECIPE, *finished, records=records)
    assert [(check.name, check.passed) for check in view.gates] == [("tokenize: epochs", False), ("curate: documents", True)]
    assert "waived: a test" in view.gates[0].value


def test_a_step_repeated_after_a_resume_counts_once(tmp_path):
    lines = [[1, 0, {"loss": 5.0}], [2, 0, {"loss": 4.0}], [2, 1, {"loss": 3.9}], [2, 1, {"eval_loss/prose": 3.0}]]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read_metrics(tmp_path / "metrics.jsonl") == [(1, {"loss": 5.0}), (2, {"loss": 3.9, "eval_loss/prose": 3.0})]


def test_the_body_writes_one_page_and_tells_progress(finished, tmp_path):
    manifests, folders = finished
    out, said = tmp_path / "out", []
    out.mkdir()
    request = ReportRequest(
        recipe=RECIPE, manifests=manifests, links=[Link(title="MLflow", url="http://127.0.0.1:5000")], plan="phase  steps"
    )
    summary = report(request, folders, out, lambda done, total, note: said.append((done, total, note)))
    assert [path.name for path in out.iterdir()] == ["report.html"]
    assert summary.counts["bytes"] == (out / "report.html").stat().st_size
    assert said[-1][:2] == (2, 2) and "1 of 2 sources" in said[-1][2]
    assert "phase  steps" in (out / "report.html").read_text()


def test_a_request_survives_json_and_only_its_recipe_is_identity(finished):
    manifests, _ = finished
    request = ReportRequest(recipe=RECIPE, manifests=manifests, states={"source": "reused"})
    assert ReportRequest.parse(request.model_dump(mode="json")) == request
    assert identity(request) == identity(ReportRequest(recipe=RECIPE))
