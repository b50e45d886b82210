"""The whole line as a person runs it: up, run, look, run again, change a field, break things."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Stack, make_stack

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def smoke(stack: Stack) -> Stack:
    """The stack after `smolflow run --recipe smoke`."""
    done = stack.command("run", "--recipe", "smoke", timeout=400)
    assert "where to look" in done.stdout
    return stack


def test_every_stage_is_in_the_store(smoke: Stack) -> None:
    stages = {row["stage"] for row in smoke.json("ls")}
    assert stages >= {"source", "curate", "tokenizer", "tokenize", "train-stable", "train-decay", "convert", "evaluate", "report"}


def test_report_is_one_self_contained_page(smoke: Stack) -> None:
    page = Path(smoke.command("report", "--recipe", "smoke").stdout.strip()).read_text()
    assert page.count("<html") == 1
    assert "<script src" not in page and "<link rel" not in page
    for word in ("train-stable", "bits per byte", "parity"):
        assert word in page.lower()


def test_model_folder_loads_and_generates(smoke: Stack) -> None:
    model = smoke.json("run", "--recipe", "smoke")["places"]["model"]
    code = (
        "import sys; from transformers import AutoModelForCausalLM, AutoTokenizer; "
        "t = AutoTokenizer.from_pretrained(sys.argv[1]); m = AutoModelForCausalLM.from_pretrained(sys.argv[1]); "
        "print(len(m.generate(**t('The', return_tensors='pt', return_token_type_ids=False), max_new_tokens=8)[0]))"
    )
    done = subprocess.run([sys.executable, "-c", code, model], capture_output=True, text=True, timeout=120, env=smoke.env)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.strip().splitlines()[-1]) > 1


def test_second_run_does_nothing(smoke: Stack) -> None:
    before = {row["fingerprint"]: row["created"] for row in smoke.json("ls")}
    done = smoke.command("run", "--recipe", "smoke", timeout=60)
    assert "nothing to do" in done.stdout
    assert {row["fingerprint"]: row["created"] for row in smoke.json("ls")} == before


def test_explain_names_the_changed_field(smoke: Stack) -> None:
    rows = {
        row["stage"]: row
        for row in smoke.json("explain", "--recipe", "smoke", "--set", "training.phases.decay.schedule.learning_rate=0.004")
    }
    assert {name for name, row in rows.items() if row["verdict"] == "reused"} == {
        "source",
        "curate",
        "tokenizer",
        "tokenize",
        "train-stable",
    }
    assert any("learning_rate: 0.005 -> 0.004" in line for line in rows["train-decay"]["because"])
    assert "input model changed" in rows["evaluate"]["because"]


def test_metrics_are_in_mlflow(smoke: Stack) -> None:
    found = httpx.post(f"{smoke.mlflow}/api/2.0/mlflow/experiments/search", json={"max_results": 100}).json()
    experiments = [row["experiment_id"] for row in found["experiments"]]
    runs = httpx.post(f"{smoke.mlflow}/api/2.0/mlflow/runs/search", json={"experiment_ids": experiments, "max_results": 200}).json()["runs"]
    names = {run["info"]["run_name"]: {m["key"]: m for m in run["data"].get("metrics", [])} for run in runs}
    training = next(metrics for name, metrics in names.items() if name.endswith("train-stable"))
    history = httpx.get(
        f"{smoke.mlflow}/api/2.0/mlflow/metrics/get-history",
        params={"run_id": next(r["info"]["run_id"] for r in runs if r["info"]["run_name"].endswith("train-stable")), "metric_key": "loss"},
    ).json()["metrics"]
    assert {"loss", "grad_norm", "learning_rate", "tokens_per_second"} <= training.keys()
    assert len({point["step"] for point in history}) == 60


def test_prefect_shows_artifacts_and_names(smoke: Stack) -> None:
    runs = httpx.post(f"{smoke.prefect}/api/flow_runs/filter", json={"limit": 200}).json()
    assert {"smoke · playbook", "smoke · train-stable", "smoke · convert"} <= {run["name"] for run in runs}
    assert all(run["state"]["type"] == "COMPLETED" for run in runs)
    artifacts = httpx.post(f"{smoke.prefect}/api/artifacts/filter", json={"limit": 200}).json()
    keys = {artifact["key"]: artifact["type"] for artifact in artifacts}
    assert keys["playbook-smoke"] == "table"
    assert keys["loss-train-stable"] == "image"
    assert keys["progress-curate"] == "progress"


def test_a_run_from_the_form_with_its_defaults_completes(smoke: Stack) -> None:
    """What the UI's form does: create a run of the deployment with the parameters' defaults."""
    deployment = httpx.get(f"{smoke.prefect}/api/deployments/name/playbook/cpu").json()
    defaults = {k: v["default"] for k, v in deployment["parameter_openapi_schema"]["properties"].items() if "default" in v}
    assert defaults["recipe"] == "smoke"
    run = httpx.post(f"{smoke.prefect}/api/deployments/{deployment['id']}/create_flow_run", json={"parameters": defaults}).json()
    assert _ends(smoke, run["id"]) == "COMPLETED"


def test_a_stage_alone_names_what_to_run_first(smoke: Stack) -> None:
    done = smoke.command("run", "convert", "--recipe", "smoke", "--set", "training.seed=11", check=False)
    assert done.returncode == 1
    assert "train-decay" in done.stderr


def test_unknown_recipe_key_is_refused(smoke: Stack) -> None:
    done = smoke.command("run", "--recipe", "smoke", "--set", "training.sed=1", check=False)
    assert done.returncode == 1
    assert "did you mean 'seed'" in done.stderr


def test_a_persons_own_text(smoke: Stack, tmp_path: Path) -> None:
    """The second act: `init` over one's own folder, published to the store, run by the worker; only the data stages here."""
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(40):
        seen = [f"Chapter {number} tells of the {word} that walked along the river" for word in ("heron", "otter", "fox", "hare")]
        lines = [f"{line} and of the people who saw it there." for line in seen]
        (texts / f"{number}.txt").write_text("\n\n".join(lines * 3))
    recipe = tmp_path / "mine.yaml"
    smoke.command("init", "--from", "smoke", "--text", str(texts), str(recipe))
    smoke.command("run", "source", "--recipe", str(recipe))
    assert json.loads(smoke.command("explain", "--recipe", str(recipe), "--json").stdout)[0]["verdict"] == "reused"


def test_store_away_fails_fast_and_says_how(tmp_path: Path) -> None:
    away = make_stack(tmp_path, store="s3://bucket/prefix")
    env = away.env | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    argv = [sys.executable, "-m", "deployments.command", "run", "--recipe", "smoke"]
    done = subprocess.run(argv, cwd=away.root, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "What to do" in done.stderr


def test_stack_down_is_said(tmp_path: Path) -> None:
    done = make_stack(tmp_path).command("run", "--recipe", "smoke", check=False)
    assert done.returncode == 1
    assert "smolflow up" in done.stderr


def _ends(stack: Stack, run_id: str, seconds: int = 240) -> str:
    import time

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = httpx.get(f"{stack.prefect}/api/flow_runs/{run_id}").json()["state"]
        if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return str(state["type"])
        time.sleep(1)
    return "still running"
