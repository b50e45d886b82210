"""The backlog as a person uses it: sweeps side by side, on a schedule and from the form's parameters; what is adopted, and what refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from infra.site import CHECKOUT
from tests.e2e.driving import Stack, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CASE: dict[str, Any] = {"recipe": "smoke-court", "tokens": 4096, "device_hours": 0, "canary": False}
ITEMS = ["z-loss", "less-weight-decay"]
NAMES = [one["name"] for one in yaml.safe_load((CHECKOUT / "deployments" / "backlog.yaml").read_text())["modifications"]]


@pytest.fixture(scope="module")
def swept(line_stack: Stack) -> Stack:
    """The stack after two sweeps over one baseline, started in the same moment."""
    runs = [line_stack.submit("backlog/cpu", **CASE, items=[item]) for item in ITEMS]
    assert [line_stack.ends(run, 700) for run in runs] == ["COMPLETED", "COMPLETED"]
    return line_stack


@pytest.fixture
def deployment(swept: Stack) -> Iterator[dict[str, Any]]:
    """The deployment of the backlog; afterwards its defaults are as they were, and no schedule starts anything in other tests."""
    found = registered(swept)
    yield found
    place = f"{swept.prefect}/api/deployments/{found['id']}"
    httpx.patch(place, json={"parameters": found["parameters"]}, timeout=30).raise_for_status()
    for schedule in registered(swept)["schedules"]:
        httpx.delete(f"{place}/schedules/{schedule['id']}", timeout=30).raise_for_status()


def registered(stack: Stack) -> dict[str, Any]:
    return dict(httpx.get(f"{stack.prefect}/api/deployments/name/backlog/cpu", timeout=30).json())


def posted(stack: Stack, key: str) -> list[dict[str, Any]]:
    """Artifacts of that key in the Prefect UI, oldest first."""
    body = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"}
    return list(reversed(httpx.post(f"{stack.prefect}/api/artifacts/filter", json=body, timeout=30).json()))


def standing(stack: Stack, *more: str) -> dict[str, dict[str, Any]]:
    """The backlog over smoke-court, by name."""
    return {one["name"]: one for one in stack.json("backlog", "--recipe", "smoke-court", *more)["modifications"]}


def test_two_sweeps_at_once_share_the_baseline_and_both_end_well(swept: Stack) -> None:
    courts = [row["fingerprint"] for row in swept.json("ls", "court-backlog")]
    assert len(courts) == 2
    inputs = [swept.json("show", court)["manifest"]["inputs"] for court in courts]
    shared = [{role: one["fingerprint"] for role, one in found.items() if role.startswith("baseline.")} for found in inputs]
    assert shared[0] == shared[1] and len(shared[0]) == 4
    now = standing(swept)
    assert all(now[item]["state"] != "proposed" and now[item]["court"] for item in ITEMS)
    assert {one["state"] for name, one in now.items() if name not in ITEMS} == {"proposed"}


def test_the_verdicts_are_posted_with_the_page_and_the_proposal(swept: Stack) -> None:
    tables = posted(swept, "verdicts-smoke-court")
    rows = [row for table in tables for row in json.loads(table["data"])]
    assert {row["change"] for row in rows} == set(ITEMS)
    assert all(row["bits_per_byte"] and row["bits_per_byte/code"] for row in rows)
    for item, text in ((item, one["data"]) for item in ITEMS for one in posted(swept, "court-smoke-court") if item in one["data"]):
        assert "baseline v" in text
        page = Path(text.rpartition("Page: `")[2].rstrip("`"))
        assert item in page.read_text()


def test_the_terminal_tells_a_court_and_where_its_page_lies(swept: Stack) -> None:
    court = standing(swept)["z-loss"]["court"].split()[1]
    said = swept.command("court", court, "--recipe", "smoke-court").stdout
    assert "z-loss" in said and "bits_per_byte" in said and "Holds for" in said
    assert "z-loss" in Path(swept.command("court", court, "--recipe", "smoke-court", "--page").stdout.strip()).read_text()
    assert "z-loss" in swept.json("court", court, "--recipe", "smoke-court")["court"]["arms"]
    assert court in swept.refused("court", "mian", "--recipe", "smoke-court")


def test_garbage_collection_keeps_the_decisions(swept: Stack) -> None:
    gone = {one["path"] for one in swept.json("gc", "--keep", "smoke-court", "--dry-run")}
    for court in [row["fingerprint"] for row in swept.json("ls", "court-backlog")]:
        assert not any(court in path for path in gone)


def test_a_scheduled_run_appears_and_completes_and_up_leaves_the_schedule_alone(deployment: dict[str, Any], swept: Stack) -> None:
    assert deployment["parameter_openapi_schema"]["properties"]["items"]["items"]["enum"] == NAMES
    (schedule,) = deployment["schedules"]
    assert (schedule["schedule"]["cron"], schedule["active"]) == ("0 3 * * 0", True)
    place = f"{swept.prefect}/api/deployments/{deployment['id']}"
    often = {"schedule": {"cron": "* * * * *", "timezone": "UTC"}}
    httpx.patch(f"{place}/schedules/{schedule['id']}", json=often, timeout=30).raise_for_status()
    chosen = {"pool": "cpu", **CASE, "items": ["z-loss"], "canary": True}
    httpx.patch(place, json={"parameters": chosen}, timeout=30).raise_for_status()
    swept.command("up")
    again = registered(swept)
    assert [one["schedule"]["cron"] for one in again["schedules"]] == ["* * * * *"]
    assert again["parameters"] == chosen

    def first() -> dict[str, Any] | None:
        runs = swept.flow_runs(deployments={"id": {"any_": [deployment["id"]]}})
        return next((run for run in runs if run["auto_scheduled"] and run["state"]["type"] not in ("SCHEDULED", "PENDING")), None)

    run = wait_until(first, 200, "no scheduled run was taken")
    assert swept.ends(run["id"], 300) == "COMPLETED"
    (canary, *_) = posted(swept, "canary-smoke-court")
    assert "identical to the last digit" in canary["data"]


def test_nothing_new_completes_at_once_and_says_so(swept: Stack, tmp_path: Path) -> None:
    modifications = yaml.safe_load((CHECKOUT / "deployments" / "backlog.yaml").read_text())["modifications"]
    (tmp_path / "backlog.yaml").write_text(yaml.safe_dump({"modifications": [one for one in modifications if one["name"] in ITEMS]}))
    site = yaml.safe_load(Path(swept.env["SMOLFLOW_SITE"]).read_text()) | {"backlog": str(tmp_path / "backlog.yaml")}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(site))
    program = "import sys, json; from flows.backlog import backlog; print(backlog(**json.loads(sys.argv[1]), return_state=True).message)"
    env = swept.env | {"SMOLFLOW_SITE": str(tmp_path / "site.yaml"), "PREFECT_API_URL": f"{swept.prefect}/api"}
    argv = [sys.executable, "-c", program, json.dumps(CASE)]
    done = subprocess.run(argv, cwd=swept.root, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "nothing new in the backlog" in done.stdout


def test_what_cannot_be_tested_is_refused_by_the_form_or_ends_with_the_reason(swept: Stack) -> None:
    place = f"{swept.prefect}/api/deployments/{registered(swept)['id']}/create_flow_run"
    for wrong in ({"items": ["z-los"]}, {"seeds": []}, {"tokens": -1}, {"device_hours": "much"}):
        assert httpx.post(place, json={"parameters": CASE | wrong}, timeout=30).status_code == 409, wrong
    run = swept.submit("backlog/cpu", **CASE, items=["qk-norm"])
    assert swept.ends(run, 120) == "FAILED"
    assert "depends on 'rope-everywhere', which is proposed" in swept.flow_run(run)["state"]["message"]


def test_only_a_named_adoption_changes_what_is_trained(swept: Stack) -> None:
    case = ["--set", "ablations.courts.main.tokens=8192", "--set", "ablations.courts.main.seeds=[0, 1, 2]"]  # the baseline is the same
    swept.command("run", "court-main", "--recipe", "smoke-court", *case, timeout=500)
    court = swept.json("court", "main", "--recipe", "smoke-court")
    assert court["court"]["accepted"], "muon is far better at this size"
    before = swept.json("explain", "--recipe", "smoke-court")
    fingerprint = court["fingerprint"]
    said = swept.command("adopt", fingerprint[:12], "--recipe", "smoke-court", "--by", "Ada", "--output", "next.yaml").stdout
    assert "baseline v2, adopted by Ada" in said and "muon" in said
    lineage = yaml.safe_load((swept.root / "next.yaml").read_text())["baseline"]
    assert (lineage["version"], lineage["by"], lineage["court"]) == (2, "Ada", fingerprint)
    trained = {row["stage"]: row["fingerprint"] for row in swept.json("explain", "--recipe", "next.yaml")}
    assert trained["train-stable"] != swept.fingerprints()["train-stable"]
    assert swept.json("explain", "--recipe", "smoke-court") == before
    assert "exists already" in swept.refused("adopt", fingerprint, "--recipe", "smoke-court", "--by", "Ada", "--output", "next.yaml")
    assert "another baseline" in swept.refused("adopt", fingerprint, "--recipe", "next.yaml", "--by", "Ada")
    assert "0 courts begin with 'ffff'" in swept.refused("adopt", "ffff", "--recipe", "smoke-court", "--by", "Ada")
    assert "--by NAME" in swept.refused("adopt", fingerprint, "--recipe", "smoke-court", "--by", " ")
    (swept.root / "next.yaml").unlink()
