"""What cannot work is said at once, before anything runs and without a stack: nothing is started, nothing half-written."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest

from tests.e2e.driving import Stack, make_stack, sets

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def site(tmp_path: Path) -> Stack:
    """A site whose stack does not run."""
    return make_stack(tmp_path)


def test_stack_down_is_said(site: Stack) -> None:
    assert "smolflow up" in site.refused("run", "--recipe", "smoke")


def test_store_away_fails_fast_and_says_how(tmp_path: Path) -> None:
    away = make_stack(tmp_path, store="s3://bucket/prefix")
    away = away.with_env({"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"})
    said = away.refused("run", "--recipe", "smoke", timeout=30)
    assert "What to do" in said
    assert "127.0.0.1:9" in said


def test_a_store_of_a_newer_version_is_left_alone(site: Stack) -> None:
    site.command("ls")
    place = site.home / "store" / "format.json"
    newer = json.dumps(json.loads(place.read_text()) | {"format": 99})
    place.write_text(newer)
    for arguments in (["run"], ["ls"], ["gc", "--keep", "smoke"]):
        said = site.refused(*arguments)
        assert "newer smolflow" in said
        assert "update smolflow" in said
    assert [path.name for path in (site.home / "store").rglob("*") if path.is_file()] == ["format.json"]
    assert place.read_text() == newer


@pytest.mark.parametrize("server", ["prefect", "mlflow"])
def test_a_taken_port_is_told_and_nothing_is_left_running(site: Stack, server: str) -> None:
    port = int({"prefect": site.prefect, "mlflow": site.mlflow}[server].rpartition(":")[2])
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        said = site.refused("up")
    assert f"port {port} is already taken" in said
    assert f"{server}.port" in said
    assert site.json("status")["processes"] == []


def test_a_machine_with_too_little_memory_is_told_before_the_run(site: Stack) -> None:
    huge = ["model.hidden_size=16384", "model.num_attention_heads=128", "model.ffn_hidden_size=65536", "model.num_layers=96"]
    said = site.refused("run", "--recipe", "smoke", *sets(huge))
    assert re.search(r"phase '\w+' needs about [\d,.]+ [GT]iB of memory", said), said
    assert "micro_batch_size" in said


def test_a_recipe_for_devices_is_not_sent_to_a_pool_of_processors(site: Stack) -> None:
    said = site.refused("run", "--recipe", "smollm3-3b")
    assert "pool 'cpu' of CPUs" in said
    assert "--dry-run" in said


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("training.sed=1", "did you mean 'seed'"),
        ("training.phases.stable.layout={tensor_parallel_size: 3}", "tensor_parallel_size 3"),
        ("training.phases.stable.layout={pipeline_parallel_size: 3}", "pipeline_parallel_size 3"),
        ("data.sources.prose.kind=filez", "kind"),
        ("training.seed", "key.path=value"),
    ],
)
def test_bad_values_are_refused_before_anything_runs(site: Stack, override: str, named: str) -> None:
    assert named in site.refused("run", "--recipe", "smoke", *sets([override]))


def test_an_unknown_stage_is_refused_with_the_names(site: Stack) -> None:
    assert "train-stable" in site.refused("run", "pretrain")


def test_the_3b_recipe_is_planned_on_any_laptop(site: Stack) -> None:
    told = site.command("run", "--recipe", "smollm3-3b", "--dry-run").stdout
    assert re.search(r"8\.68 GiB", told), told
    plan = site.json("run", "--recipe", "smollm3-3b", "--dry-run")["plan"]
    phases = {phase["name"]: phase for phase in plan["phases"]}
    pretraining = [phases[name] for name in ("stage1", "stage2", "stage3")]
    assert plan["parameters"] == 3_075_098_624
    assert sum(phase["steps"] for phase in pretraining) == 4_720_000
    assert {phase["tokens_per_batch"] for phase in pretraining} == {2_359_296}
    assert {phase["ranks"] for phase in pretraining} == {384}
    assert round(pretraining[0]["static_bytes"] / 2**30, 2) == 8.68


def test_three_ways_of_tensor_parallelism_are_refused_for_the_3b(site: Stack) -> None:
    tp3 = "training.phases.0.layout.tensor_parallel_size=3"
    said = site.refused("run", "--recipe", "smollm3-3b", "--dry-run", *sets([tp3]))
    assert "num_attention_heads 16 cannot be split over tensor_parallel_size 3" in said
