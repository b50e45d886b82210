"""What a person sees in a browser: the report page, and a run started from the form of the Prefect UI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.e2e.chromium import Page, browser, new_page, program
from tests.e2e.driving import FINAL, Stack, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
SECTIONS = [
    "the line",
    "training",
    "evaluation",
    "what it writes",
    "conversion parity",
    "data",
    "tokenizer",
    "gates",
    "lineage",
    "libraries",
]


@pytest.fixture(scope="module")
def devtools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A browser for this module; asked for before the stack, so that nothing starts in vain."""
    program()
    with browser(tmp_path_factory.mktemp("chromium") / "profile") as address:
        yield address


@pytest.fixture
def page(devtools: str) -> Iterator[Page]:
    with new_page(devtools) as made:
        yield made


@pytest.fixture
def report(devtools: str, smoke: Stack) -> str:
    """Address of the report page of the smoke run."""
    return Path(smoke.command("report", "--recipe", "smoke").stdout.strip()).as_uri()


@pytest.mark.parametrize("width", [1280, 400])
def test_the_report_renders(page: Page, report: str, width: int, tmp_path: Path) -> None:
    page.open(report, width)
    shown = [line.strip().lower() for line in page.text().splitlines()]
    assert set(SECTIONS) <= set(shown), set(SECTIONS) - set(shown)
    for words in ("train-stable", "bits per byte", "tokens/s", "megatron-core"):
        assert any(words in line for line in shown), words
    assert page.complaints == []
    assert page.outside() == []
    assert page.value("document.documentElement.scrollWidth") <= width, "it is wider than the window"
    hidden = page.value(OVERFLOWING)
    assert hidden == [], "cut off at the right edge"
    assert colours(page.picture(tmp_path / f"report-{width}.png", whole=True)) > 20


OVERFLOWING = """[...document.querySelectorAll('main *, body > *')].filter(e => {
    const box = e.getBoundingClientRect();
    if (!box.width || box.right <= document.documentElement.clientWidth + 1) return false;
    for (let p = e.parentElement; p; p = p.parentElement)
        if (['auto', 'scroll'].includes(getComputedStyle(p).overflowX)) return false;
    return !e.closest('svg');
}).map(e => e.tagName + '.' + e.className).slice(0, 10)"""
"""Elements that reach beyond the window and cannot be scrolled to."""


def colours(picture: Path) -> int:
    """Number of different colours in a picture: a blank page has one."""
    with Image.open(picture) as image:
        return len(image.convert("RGB").getcolors(maxcolors=2**24) or [])


def test_a_run_started_from_the_form_completes(page: Page, smoke: Stack, tmp_path: Path) -> None:
    """Deployment page, Run, Custom run, Submit: nothing is filled in."""
    deployment = httpx.get(f"{smoke.prefect}/api/deployments/name/playbook/cpu").json()
    run = run_from_form(page, smoke, deployment["id"])
    assert smoke.ends(run["id"], 200) == "COMPLETED"
    assert run["parameters"]["recipe"] == "smoke"
    page.open(f"{smoke.prefect}/runs/flow-run/{run['id']}")
    wait_until(lambda: "Completed" in page.text(), 60, "the UI does not show the run's end")
    assert colours(page.picture(tmp_path / "run.png")) > 20
    assert page.outside() == []


def test_a_sweep_is_started_from_the_form_watched_cancelled_and_retried(page: Page, line_stack: Stack, tmp_path: Path) -> None:
    """Items chosen from the list, seeds and tokens typed in; then the run's page, its menu, and what the retry leaves."""
    deployment = httpx.get(f"{line_stack.prefect}/api/deployments/name/backlog/cpu").json()["id"]

    def form() -> None:
        page.open(f"{line_stack.prefect}/v2/deployments/deployment/{deployment}/run", height=1600)
        page.fill(labelled("Recipe"), "smoke-court")
        page.fill(labelled("Tokens"), "204800")
        page.fill("document.querySelectorAll('form input[type=number]')[1]", "7")
        page.click("Select")
        page.click("less-weight-decay")
        page.press("Escape")
        page.value(f"{labelled('Canary')}.click()")
        page.picture(tmp_path / "form.png")

    run = submitted(page, line_stack, deployment, form)
    chosen = {"recipe": "smoke-court", "items": ["less-weight-decay"], "seeds": [0, 7], "tokens": 204_800, "pool": "cpu", "canary": False}
    assert {name: run["parameters"].get(name) for name in chosen} == chosen

    wait_until(lambda: "baseline.0 train-arm" in tasks_of(line_stack, run["id"]), 300, "no run of the sweep has begun")
    page.open(f"{line_stack.prefect}/v2/runs/flow-run/{run['id']}")
    shown_in(page, "Task Runs", "baseline.0")
    page.click("Open menu")
    page.click("Cancel")
    page.click("Cancel Flow Run")
    state_of(page, line_stack, run["id"], "CANCELLED", 120)
    wait_until(lambda: not line_stack.ranks(), 30, "a cancelled sweep leaves processes")

    page.open(f"{line_stack.prefect}/v2/runs/flow-run/{run['id']}")
    shown(page, "Cancelled")
    page.click("Open menu")
    page.click("Retry")
    shown(page, "Will become")
    page.click("Retry")
    wait_until(lambda: page.text() and line_stack.flow_run(run["id"])["run_count"] == 2, 120, "the run was not taken again")
    state_of(page, line_stack, run["id"], "COMPLETED", 400)
    assert "less-weight-decay" in line_stack.flow_run(run["id"])["state"]["message"]
    page.open(f"{line_stack.prefect}/v2/runs/flow-run/{run['id']}")
    shown_in(page, "Artifacts", "verdicts-smoke-court")
    assert colours(page.picture(tmp_path / "sweep.png")) > 20


def tasks_of(stack: Stack, run: str) -> list[str]:
    """Names of the tasks of a flow run."""
    body = {"flow_runs": {"id": {"any_": [run]}}, "limit": 200}
    return [one["name"] for one in httpx.post(f"{stack.prefect}/api/task_runs/filter", json=body, timeout=30).json()]


def labelled(label: str) -> str:
    """The field of a form whose label begins like that."""
    return f"document.getElementById([...document.querySelectorAll('label')].find(l => l.innerText.trim().startsWith('{label}'))?.htmlFor)"


def shown(page: Page, words: str, seconds: float = 60) -> None:
    """Wait until a reader sees these words."""
    wait_until(lambda: words in page.text(), seconds, f"the page does not show '{words}'")


def shown_in(page: Page, tab: str, words: str) -> None:
    """Press a tab until its words are seen: a press before the page has its data falls flat."""
    wait_until(lambda: page.click(tab) or words in page.text(), 60, f"tab '{tab}' does not show '{words}'")


def state_of(page: Page, stack: Stack, run: str, kind: str, seconds: float) -> None:
    """Wait for the end of a run with its page open, and for that kind of end."""
    wait_until(lambda: page.text() and stack.flow_run(run)["state"]["type"] in FINAL, seconds, "the run has not ended")
    assert stack.flow_run(run)["state"]["type"] == kind, stack.flow_run(run)["state"]


def run_from_form(page: Page, stack: Stack, deployment: str) -> dict[str, Any]:
    """Fill in nothing and press Submit."""

    def form() -> None:
        page.open(f"{stack.prefect}/deployments/deployment/{deployment}")
        page.click("Run")
        page.click("Custom run")
        wait_until(lambda: "Built-in name (smoke" in page.text(), 60, "the form does not explain its parameters")

    return submitted(page, stack, deployment, form)


def submitted(page: Page, stack: Stack, deployment: str, form: Callable[[], None]) -> dict[str, Any]:
    """The run that Submit creates. A server that is busy at that moment (503: SQLite is locked) is asked again, as a person would."""
    before = {run["id"] for run in runs_of(stack, deployment)}

    def answered() -> list[dict[str, Any]] | bool:
        page.text()  # takes in what the page complains of
        created = [run for run in runs_of(stack, deployment) if run["id"] not in before and not run["auto_scheduled"]]
        return created or any("status of 503" in line for line in page.complaints[known:])

    for _ in range(5):
        form()
        known = len(page.complaints)
        page.click("Submit")
        found = wait_until(answered, 60, "neither a run nor an error")
        if found is not True:
            (run,) = found
            return dict(run)
    pytest.fail("the Prefect server is busy all the time")


def runs_of(stack: Stack, deployment: str) -> list[dict[str, Any]]:
    """Runs of one deployment."""
    return stack.flow_runs(deployments={"id": {"any_": [deployment]}})
