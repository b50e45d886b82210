"""What is offered in the Prefect UI: the backlog with its choices and its schedule. On a server: tests/e2e/test_backlog.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contracts.errors import ConfigError
from deployments.registration import Deployable, offered
from infra.site import Site

ONE = "modifications:\n  - {name: mine, hypothesis: it helps, change: {model.z_loss: 1.0e-4}}\n"


def site(home: Path, **changes: Any) -> Site:
    return Site.parse({"home": home, **changes})


def backlog_of(given: Site) -> Deployable:
    (found,) = [one for one in offered(given) if one.flow.name == "backlog"]
    return found


def test_the_backlog_is_offered_on_the_playbooks_pool_weekly(tmp_path: Path) -> None:
    found = backlog_of(site(tmp_path, pools={"cpu": {}, "main": {}}, stage_pools={"playbook": "main"}))
    (schedule,) = found.schedules
    assert (found.pool, found.parameters) == ("main", {"pool": "main"})
    assert (schedule.schedule.cron, schedule.schedule.timezone) == ("0 3 * * 0", "UTC")


def test_a_person_s_own_backlog_gives_the_choices(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(ONE)
    found = backlog_of(site(tmp_path, backlog=tmp_path / "mine.yaml", backlog_cron="30 1 * * *"))
    assert found.choices == {"items": ["mine"]}
    assert found.schedules[0].schedule.cron == "30 1 * * *"


def test_a_site_may_have_no_schedule(tmp_path: Path) -> None:
    assert list(backlog_of(site(tmp_path, backlog_cron=None)).schedules) == []


def test_a_bad_cron_and_a_missing_backlog_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="backlog_cron is no cron: 'weekly please'"):
        offered(site(tmp_path, backlog_cron="weekly please"))
    with pytest.raises(ConfigError, match="no backlog at"):
        offered(site(tmp_path, backlog=tmp_path / "none.yaml"))
