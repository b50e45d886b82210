"""The scaling laws of a recipe's courts, from court.json of three budgets whose losses follow a known law."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contracts.errors import ConfigError, InputError
from deployments.scaling_command import show_scaling
from flows.desk import Desk
from flows.plan import Node
from tasks.ablation import trials
from tasks.ablation.results import Run
from tests.flows.decided import accepting

BUDGETS = [20_480, 81_920, 327_680]
GRID = {"kind": "learning_rate_x_batch", "multipliers": [0.25, 4.0], "batch_multipliers": [0.5, 2.0]}
COURTS = [{"name": f"budget-{tokens}", "tokens": tokens, "seeds": [0], "template": GRID, "final_fraction": 0.1} for tokens in BUDGETS]
STUDY = [f"ablations.courts={json.dumps(COURTS)}", 'waivers=[{"gate": "qualification", "reason": "a study of losses"}]']


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOLFLOW_HOME", str(tmp_path))


def hold(desk: Desk, node: Node) -> None:
    """Leave a court whose runs have the loss 100 C^-0.1, and more the further the learning rate is from 2e4 C^-0.25."""
    arms = [arm.name for arm in node.config.arms]
    unmeasured = [Run(arm=name, seed=0, metrics={"bits_per_byte": 1.0}) for name in arms]
    rates = {one.name: one for one in trials(node.config, unmeasured)}
    runs = []
    for run in unmeasured:
        found = rates[f"{node.config.court.name}/{run.arm}.0"]
        wrong = abs(found.learning_rate / (2e4 * found.compute**-0.25) - 1) + abs(found.batch / 1024 - 1)
        runs.append(run.model_copy(update={"metrics": {"bits_per_byte": 100 * found.compute**-0.1 * (1 + wrong)}}))
    result = accepting(node.config.court, set()).model_copy(update={"runs": runs, "arms": arms})
    folder = desk.site.scratch / "made" / node.fingerprint
    folder.mkdir(parents=True)
    (folder / "court.json").write_text(json.dumps(result.model_dump(mode="json")))
    with desk.store.begin(node.name, node.workspace_key) as workspace:
        evidence = {"accepted": [], "decisions": []}
        workspace.commit(node.fingerprint, [workspace.put("result", folder)], config=node.recorded(), evidence=evidence)


def held(count: int) -> None:
    for court in COURTS[:count]:
        desk = Desk.of("smoke", STUDY)
        hold(desk, desk.plan.node(f"court-{court['name']}"))


def test_three_budgets_make_laws_and_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    held(3)
    show_scaling("smoke", STUDY, "bits_per_byte", None, page=False, json=True)
    fit = json.loads(capsys.readouterr().out)["fit"]
    assert len(fit["budgets"]) == 3
    assert fit["loss"]["exponent"] < -0.05
    show_scaling("smoke", STUDY, "bits_per_byte", 1e15, page=False, json=False)
    said = capsys.readouterr().out
    assert "learning rate" in said and "1e+15 FLOPs" in said and "27 runs, 3 budgets" in said
    show_scaling("smoke", STUDY, "bits_per_byte", None, page=True, json=False)
    assert "batch in tokens" in Path(capsys.readouterr().out.strip()).read_text()


def test_what_makes_no_law_is_refused() -> None:
    with pytest.raises(ConfigError, match="no court of 'smoke' has runs with bits_per_byte"):
        show_scaling("smoke", STUDY, "bits_per_byte", None, page=False, json=False)
    held(1)
    with pytest.raises(InputError, match="1 compute budgets make no power law"):
        show_scaling("smoke", STUDY, "bits_per_byte", None, page=False, json=False)
    with pytest.raises(ConfigError, match="accuracy/nothing"):
        show_scaling("smoke", STUDY, "accuracy/nothing", None, page=False, json=False)
