from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from infra.site import Site
from infra.store import Artifact, Manifest
from infra.tracking import BESIDE_SPOOL, Parent, Tracker, register_model, ship_leftovers
from infra.tracking.mlflow import Mlflow, TrackingAway
from tests.servers import (
    local_site,
    mlflow_server,  # noqa: F401
    start_server,
    stop_server,
)


def spool(folder: Path, steps: range, start: int = 1_700_000_000_000) -> None:
    """What a trainer appends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as handle:
        for step in steps:
            handle.write(json.dumps([step, start + step, {"loss": 5.0 - step / 1000}]) + "\n")


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def runs(site: Site, recipe: str) -> list[Run]:
    client = MlflowClient(tracking_uri=site.mlflow.url)
    experiment = client.get_experiment_by_name(recipe)
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def steps(site: Site, run: Run, metric: str = "loss") -> list[int]:
    """Steps of every point of a curve, repeated ones too."""
    return sorted(point.step for point in MlflowClient(tracking_uri=site.mlflow.url).get_metric_history(run.info.run_id, metric))


def test_points_params_and_final_figures_reach_mlflow(mlflow_server: Site, tmp_path: Path) -> None:  # noqa: F811
    tracker = Tracker.for_stage(mlflow_server, "full", "train-stable", "abc", tmp_path, params={"optimizer.kind": "muon", "tokens": 5})
    tracker.start()
    spool(tmp_path, range(1, 2500))
    link = tracker.record({"final_loss": 2.5, "bytes/second (mean)": 3.0, "loss": 2.6}, {"fingerprint": "f00"})
    assert tracker.stop("FINISHED")
    (run,) = runs(mlflow_server, "full")
    assert steps(mlflow_server, run) == list(range(1, 2500))
    assert run.data.params == {"optimizer.kind": "muon", "tokens": "5"}
    assert run.data.metrics["final_loss"] == 2.5
    assert run.data.metrics["bytes/second _mean_"] == 3.0
    assert run.data.metrics["loss"] == 5.0 - 2499 / 1000, "a final figure does not bend the curve"
    assert run.data.tags["fingerprint"] == "f00"
    assert (run.info.run_name, run.info.status) == ("train-stable", "FINISHED")
    assert link == f"{mlflow_server.mlflow.url}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


def test_a_resume_goes_on_in_the_same_run_and_repeats_no_step(mlflow_server: Site, tmp_path: Path) -> None:  # noqa: F811
    first = Tracker.for_stage(mlflow_server, "resumed", "train-stable", "abc", tmp_path)
    first.start()
    spool(tmp_path, range(1, 31))
    first.stop("FAILED")
    kept = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)[:20]
    (tmp_path / "metrics.jsonl").write_text("".join(kept))
    second = Tracker.for_stage(mlflow_server, "resumed", "train-stable", "abc", tmp_path)
    second.start()
    spool(tmp_path, range(21, 41), start=1_800_000_000_000)
    assert second.stop()
    (run,) = runs(mlflow_server, "resumed")
    assert steps(mlflow_server, run) == list(range(1, 41))
    assert run.info.status == "FINISHED"


def test_a_resume_with_an_empty_scratch_folder_finds_its_run_again(mlflow_server: Site, tmp_path: Path) -> None:  # noqa: F811
    first = Tracker.for_stage(mlflow_server, "elsewhere", "train-stable", "abc", tmp_path / "a")
    first.start()
    spool(tmp_path / "a", range(1, 31))
    first.stop("FAILED")
    second = Tracker.for_stage(mlflow_server, "elsewhere", "train-stable", "abc", tmp_path / "b")
    second.start()
    spool(tmp_path / "b", range(1, 21))
    spool(tmp_path / "b", range(21, 41), start=1_800_000_000_000)
    assert second.stop()
    (run,) = runs(mlflow_server, "elsewhere")
    assert steps(mlflow_server, run) == list(range(1, 41))


def test_stages_are_nested_in_their_playbook(mlflow_server: Site, tmp_path: Path) -> None:  # noqa: F811
    stage = Tracker.for_stage(mlflow_server, "nested", "curate", "abc", tmp_path, parent=Parent.playbook("run-1"))
    stage.start()
    stage.stop()
    playbook = Tracker.for_playbook(mlflow_server, "nested", "run-1")
    playbook.start()
    playbook.record({}, {"report": "report.html"})
    assert playbook.stop()
    by_name = {run.info.run_name: run for run in runs(mlflow_server, "nested")}
    assert set(by_name) == {"curate", "playbook"}
    assert by_name["curate"].data.tags["mlflow.parentRunId"] == by_name["playbook"].info.run_id
    assert not (mlflow_server.scratch / "jobs" / "playbook-run-1").exists()


def test_a_loss_that_is_not_a_number_is_shown_as_such(mlflow_server: Site, tmp_path: Path) -> None:  # noqa: F811
    tracker = Tracker.for_stage(mlflow_server, "broken", "train-stable", "abc", tmp_path)
    tracker.start()
    (tmp_path / "metrics.jsonl").write_text(
        '[1, 1700000000000, {"loss": 4.0}]\n[2, 1700000000001, {"loss": NaN}]\n[3, 1700000000002, {"loss": Infinity}]\n'
    )
    assert tracker.stop()
    (run,) = runs(mlflow_server, "broken")
    assert steps(mlflow_server, run) == [1, 2, 3]


@pytest.fixture
def quiet_site(tmp_path: Path) -> Any:
    """A site whose MLflow accepts connections and never answers."""
    site = local_site(tmp_path / "home")
    with socket.create_server((site.mlflow.host, site.mlflow.port)):
        yield site


def test_a_server_that_never_answers_holds_nothing_up(quiet_site: Site, tmp_path: Path) -> None:
    tracker = Tracker.for_stage(quiet_site, "away", "curate", "abc", tmp_path / "job")
    tracker.start()  # MLflow's own client would hold it up for 246 s, longer than this test may take
    assert tracker.record({"documents": 3.0}, {}) == ""
    assert not tracker.stop()


def test_what_was_logged_in_an_outage_arrives_once(mlflow_server: Site) -> None:  # noqa: F811
    folder = mlflow_server.scratch / "jobs" / "train-stable-abc"
    tracker = Tracker.for_stage(mlflow_server, "outage", "train-stable", "abc", folder)
    tracker.start()
    spool(folder, range(1, 51))
    wait_for(lambda: runs(mlflow_server, "outage") and steps(mlflow_server, runs(mlflow_server, "outage")[0]))
    stop_server(mlflow_server, "mlflow")
    spool(folder, range(51, 101))
    tracker.record({"final_loss": 4.9}, {"fingerprint": "f00"})
    assert not tracker.stop()
    assert "Connection refused" in tracker.trouble
    said: list[str] = []
    assert ship_leftovers(folder.parent, said.append) == 0
    assert "wait in" in said[0]
    start_server(mlflow_server, "mlflow")
    assert ship_leftovers(folder.parent, said.append) == 1
    (run,) = runs(mlflow_server, "outage")
    assert steps(mlflow_server, run) == list(range(1, 101))
    assert (run.info.status, run.data.metrics["final_loss"], run.data.tags["fingerprint"]) == ("FINISHED", 4.9, "f00")
    assert not folder.exists()
    assert ship_leftovers(folder.parent, said.append) == 0


def test_points_from_beside_the_worker_stand_in_the_same_run(mlflow_server: Site, tmp_path: Path) -> None:  # noqa: F811
    def beside(steps: range) -> None:
        with (tmp_path / BESIDE_SPOOL).open("a", encoding="utf-8") as handle:
            for step in steps:
                handle.write(json.dumps([step, 1_700_000_000_000 + step, {"evaluation/bits_per_byte": 3.0 - step / 1000}]) + "\n")

    first = Tracker.for_stage(mlflow_server, "beside", "train-stable", "abc", tmp_path)
    first.start()
    spool(tmp_path, range(1, 301))
    beside(range(100, 300, 100))
    assert first.stop("FAILED")
    (tmp_path / "metrics.jsonl").unlink()  # as a resume begins
    again = Tracker.for_stage(mlflow_server, "beside", "train-stable", "abc", tmp_path)
    again.start()
    spool(tmp_path, range(1, 501))
    beside(range(300, 500, 100))
    assert again.stop("FINISHED")
    (run,) = runs(mlflow_server, "beside")
    assert steps(mlflow_server, run) == list(range(1, 501))
    assert steps(mlflow_server, run, "evaluation/bits_per_byte") == [100, 200, 300, 400]


def released(fingerprint: str, uri: str) -> Artifact:
    manifest = Manifest(stage="release", fingerprint=fingerprint, workspace_key="w", created="2026-01-01T00:00:00+00:00")
    return Artifact(manifest, "0" * 64, uri)


def test_a_released_model_is_registered_once_and_found_by_its_fingerprint(mlflow_server: Site, tmp_path: Path) -> None:  # noqa: F811
    server, client = Mlflow(mlflow_server.mlflow.url, timeout=30), MlflowClient(tracking_uri=mlflow_server.mlflow.url)
    local, remote = released("f0", str(tmp_path / "artifacts")), released("f1", "s3://bucket/artifacts/release/f1")
    page = register_model(server, "tiny", local, {"recipe": "tiny", "winner": "soup-0.9"}, "# tiny\n" + "x" * 9000)
    assert page == f"{mlflow_server.mlflow.url}/#/models/tiny/versions/1"
    assert register_model(server, "tiny", local, {"winner": "sft-main"}, "again") == page
    assert register_model(server, "tiny", remote, {}).endswith("/versions/2")
    first, second = (client.get_model_version("tiny", number) for number in ("1", "2"))
    assert first.source == "smolflow://release/f0" and second.source == remote.uri
    assert first.tags == {"fingerprint": "f0", "uri": local.uri, "recipe": "tiny", "winner": "sft-main"} and first.description == "again"


def test_a_registry_that_is_away_says_so() -> None:
    with pytest.raises(TrackingAway, match="registered-models"):
        register_model(Mlflow("http://127.0.0.1:9", timeout=1), "tiny", released("f0", "/x"), {})
