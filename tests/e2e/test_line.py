"""The whole line as a person runs it: up, run, look, run again, change a field, interrupt, start stages from the UI."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.driving import Stack, sets, wait_until
from tests.e2e.mlflow_api import loss_steps, mlflow_run

pytestmark = pytest.mark.timeout(600)
STAGES = ["source", "curate", "tokenizer", "tokenize", "train-stable", "train-decay", "convert", "evaluate", "report"]


def test_every_stage_is_in_the_store(smoke: Stack) -> None:
    assert {row["stage"] for row in smoke.json("ls")} >= set(STAGES)


def test_report_is_one_self_contained_page(smoke: Stack) -> None:
    page = Path(smoke.command("report", "--recipe", "smoke").stdout.strip()).read_text()
    assert page.count("<html") == 1
    assert not re.search(r"<script[^>]*\ssrc|<link[^>]*\shref|<img[^>]*\ssrc=.http|@import|url\(.?http", page)
    for word in ("train-stable", "bits per byte", "parity"):
        assert word in page.lower()


def test_model_folder_loads_and_generates(smoke: Stack) -> None:
    """The line that `run` prints, as it is printed."""
    told = smoke.command("run", "--recipe", "smoke").stdout
    printed = told.partition("load it and generate:")[2].partition("stop the local stack")[0].strip()
    assert "transformers" in printed
    done = subprocess.run(printed, shell=True, capture_output=True, text=True, timeout=120, env=smoke.env)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.partition("The function returns")[2].strip()) > 10, done.stdout


def test_second_run_does_nothing(smoke: Stack) -> None:
    before = {row["fingerprint"]: row["created"] for row in smoke.json("ls")}
    assert "nothing to do" in smoke.command("run", "--recipe", "smoke", timeout=60).stdout
    assert {row["fingerprint"]: row["created"] for row in smoke.json("ls")} == before


def test_explain_names_the_changed_field(smoke: Stack) -> None:
    rows = smoke.json("explain", "--recipe", "smoke", *sets(["training.phases.decay.schedule.learning_rate=0.004"]))
    found = {row["stage"]: row for row in rows}
    assert [name for name, row in found.items() if row["verdict"] == "reused"] == STAGES[:5]
    assert any("learning_rate: 0.005 -> 0.004" in line for line in found["train-decay"]["because"])
    assert "input model changed" in found["evaluate"]["because"]


def test_show_gives_files_gates_and_lineage(smoke: Stack) -> None:
    of = smoke.fingerprints()
    found = smoke.json("show", of["convert"][:16])
    assert found["manifest"]["fingerprint"] == of["convert"]
    assert "model/model.safetensors" in {file["path"] for file in found["manifest"]["files"]}
    lineage = [(row["stage"], row["fingerprint"]) for row in found["lineage"]]
    assert lineage[0] == ("convert", of["convert"])
    assert set(lineage) == {(stage, of[stage]) for stage in STAGES[:7]}
    curate = smoke.json("show", of["curate"][:16])
    assert curate["records"]["gate-documents"]["verdict"] == "passed"
    assert "train/prose-00000.parquet" in smoke.command("show", of["curate"][:16]).stdout
    assert "0 artifacts begin with 'ffff" in smoke.refused("show", "f" * 20)


def test_garbage_collection_lists_and_removes_nothing(smoke: Stack) -> None:
    before = _files(smoke)
    kept = smoke.json("gc", "--keep", "smoke", "--dry-run")
    assert not {Path(one["path"]).name for one in kept} & set(smoke.fingerprints().values()), "the recipe that is kept needs all of them"
    gone = smoke.json("gc", "--keep", "tiny", "--dry-run")
    assert {Path(one["path"]).name for one in gone if one["kind"] == "artifact"} >= set(smoke.fingerprints().values())
    assert _files(smoke) == before


def test_logs_name_the_stages(smoke: Stack) -> None:
    first = smoke.flow_runs(flow_runs={"name": {"any_": ["smoke · playbook"]}})[0]
    told = smoke.command("logs", first["id"], "--lines", "400").stdout
    assert "smoke · playbook: Completed" in told
    assert re.search(r"train-stable\s+train-stable ran in", told)
    assert "gate curate/documents: passed" in told


def test_metrics_are_in_mlflow(smoke: Stack) -> None:
    run = mlflow_run(smoke, "smoke", smoke.fingerprints()["train-stable"])
    assert run is not None
    assert run["info"]["run_name"] == "train-stable"
    metrics = {metric["key"] for metric in run["data"]["metrics"]}
    assert {"loss", "grad_norm", "learning_rate", "tokens_per_second"} <= metrics
    assert loss_steps(smoke, run) == set(range(1, 61))
    assert run["info"]["status"] == "FINISHED"


def test_prefect_shows_artifacts_and_names(smoke: Stack) -> None:
    assert {"smoke · playbook", *(f"smoke · {stage}" for stage in STAGES)} <= {run["name"] for run in smoke.flow_runs()}
    artifacts = httpx.post(f"{smoke.prefect}/api/artifacts/filter", json={"limit": 200}).json()
    keys = {artifact["key"]: artifact["type"] for artifact in artifacts}
    assert keys["playbook-smoke"] == "table"
    assert keys["report-smoke"] == "markdown"
    assert keys["loss-train-stable"] == "image"
    assert keys["result-curate"] == "table"
    assert keys["mlflow-convert"] == "markdown"
    assert {artifact["data"] for artifact in artifacts if artifact["key"] == "progress-curate"} == {100.0}


def test_every_deployment_completes_with_the_defaults_of_its_form(smoke: Stack) -> None:
    """What the UI's form does with the playbook and each stage: create a run with the parameters' defaults. All of it is reused."""
    before = {row["fingerprint"]: row["created"] for row in smoke.json("ls")}
    names = [f"{name}/cpu" for name in ("playbook", "source", "curate", "tokenizer", "tokenize", "train", "convert", "evaluate", "report")]
    deployments = {name: httpx.get(f"{smoke.prefect}/api/deployments/name/{name}").json() for name in names}
    runs = {name: smoke.submit(name, **_defaults(deployment)) for name, deployment in deployments.items()}
    assert {name: smoke.ends(run, 200) for name, run in runs.items()} == dict.fromkeys(names, "COMPLETED")
    assert {row["fingerprint"]: row["created"] for row in smoke.json("ls")} == before


def test_a_stage_alone_names_what_to_run_first(smoke: Stack) -> None:
    assert "train-decay" in smoke.refused("run", "convert", "--recipe", "smoke", *sets(["training.seed=11"]))


def test_run_here_needs_no_worker_and_says_so(smoke: Stack) -> None:
    """Only the report depends on the question, so only it runs again."""
    changed = sets(["purpose.question=Does it run in this very process?"])
    told = smoke.command("run", "--here", "--recipe", "smoke", *changed)
    assert "without a worker" in told.stdout
    assert "Does it run in this very process?" in Path(smoke.command("report", "--recipe", "smoke", *changed).stdout.strip()).read_text()
    again = [row["verdict"] for row in smoke.json("explain", "--recipe", "smoke", *changed)]
    assert again == ["reused"] * len(STAGES)


def test_interrupted_run_saves_leaves_no_process_and_is_resumable(smoke: Stack) -> None:
    """Ctrl-C in mid-training."""
    longer = sets(["training.phases.stable.tokens=1024000", "training.phases.stable.checkpoint_every=50", "training.seed=21"])
    process = smoke.started("run", "train-stable", "--recipe", "smoke", *longer)
    before = set(smoke.parts())
    wait_until(lambda: len(set(smoke.parts()) - before) and smoke.ranks(), 120, "no checkpoint appeared")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 1, err
    assert "save a checkpoint" in out
    assert "Cancelled" in err and "newest checkpoint" in err
    assert smoke.ranks() == []
    assert smoke.flow_processes() == []
    saved = sorted(set(smoke.parts()) - before)
    assert saved and int(saved[-1].removeprefix("step-")) < 1000
    assert int(saved[-1].removeprefix("step-")) % 50, "it was saved when it was asked to end"


def test_a_persons_own_text(smoke: Stack, tmp_path: Path) -> None:
    """The second act: `init` over one's own folder, published to the store, run by the worker; only the first data stage here."""
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(40):
        seen = [f"Chapter {number} tells of the {word} that walked along the river" for word in ("heron", "otter", "fox", "hare")]
        lines = [f"{line} and of the people who saw it there." for line in seen]
        (texts / f"{number}.txt").write_text("\n\n".join(lines * 3))
    recipe = tmp_path / "mine.yaml"
    smoke.command("init", "--from", "smoke", "--text", str(texts), str(recipe))
    told = smoke.command("run", "source", "--recipe", str(recipe)).stdout
    assert re.search(r"published as store:recipe/[0-9a-f]+", told)
    assert json.loads(smoke.command("explain", "--recipe", str(recipe), "--json").stdout)[0]["verdict"] == "reused"


def _defaults(deployment: dict[str, Any]) -> dict[str, Any]:
    properties = deployment["parameter_openapi_schema"]["properties"]
    return {name: field["default"] for name, field in properties.items()} | deployment["parameters"]


def _files(stack: Stack) -> dict[str, int]:
    root = stack.home / "store"
    return {str(path.relative_to(root)): path.stat().st_size for path in root.rglob("*") if path.is_file()}
