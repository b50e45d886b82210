"""Commands about what runs here: up, down, status, logs, cancel, doctor."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path

from contracts.errors import ConfigError, ResourceError
from deployments.output import as_json, table
from infra.site import Site
from infra.site import load as load_site
from infra.stack import client_environment, is_up, only_one, start_servers, start_workers
from infra.stack import down as stop_stack
from infra.stack import status as stack_status
from infra.stack.process import tail
from infra.tracking import ship_leftovers


def up() -> None:
    """Start what does not run yet, register the flows, deliver figures that wait, and say where everything is.

    Raises:
        ResourceError: a port is taken, a process ended at its start, or another command is at work on the stack.
    """
    site = load_site()
    with only_one(site):
        start_servers(site, _say)
        os.environ.update(client_environment(site))
        from deployments.registration import register

        names = register(site)
        _say(f"{len(names)} deployments registered: {', '.join(names)}")
        start_workers(site, _say)
        ship_leftovers(site.scratch / "jobs", _say)
    _show(site)


def down() -> None:
    """Settle running flows, then stop the workers and the servers."""
    site = load_site()
    if not stack_status(site):
        _say(f"nothing runs under {site.home}")
        return
    with only_one(site):
        os.environ.update(client_environment(site))
        stop_stack(site, _say)


def status(json: bool) -> None:
    """Print every process of the stack, one that has died since its start too."""
    site = load_site()
    if json:
        as_json({"home": str(site.home), "up": is_up(site), "processes": [asdict(row) for row in stack_status(site)]})
    elif stack_status(site):
        _show(site)
    else:
        _say(f"nothing runs under {site.home}; `smolflow up` starts it")


def logs(run_name: str | None, server: str | None, lines: int) -> None:
    """Print the last lines of a run's log, its stages included, or of a server's.

    Raises:
        ConfigError: no such run or server.
        ResourceError: the stack is not up.
    """
    site = load_site()
    if server is not None:
        _say(tail(_server_log(site, server), lines))
        return
    from deployments.runs import print_log

    print_log(_reachable(site), run_name, lines)


def cancel(run_name: str | None) -> None:
    """Cancel a run and wait for its end.

    Raises:
        ConfigError: no such run, or it is not active.
        ResourceError: the stack is not up.
    """
    site = _reachable(load_site())
    from deployments.runs import cancel_run

    cancel_run(site, run_name)


def doctor(json: bool) -> None:
    """Print what this machine has and lacks; the exit code is 1 when something cannot work."""
    from infra.doctor import examine

    findings = examine(load_site())
    if json:
        as_json([asdict(finding) for finding in findings])
    else:
        table([(f.level, f.topic, f.found, f.means) for f in findings], ("", "what", "found", "which means"))
    if any(finding.level == "error" for finding in findings):
        sys.exit(1)


def _reachable(site: Site) -> Site:
    if not is_up(site):
        raise ResourceError("the local stack is not up", do="smolflow up", where=site.prefect.url)
    os.environ.update(client_environment(site))
    return site


def _server_log(site: Site, server: str) -> Path:
    known = {row.name: row.log for row in stack_status(site)}
    path = Path(known.get(server, site.home / "stack" / f"{server}.log"))
    if not path.is_file():
        raise ConfigError(
            f"no log of '{server}'", do=f"name one of: {', '.join(known) or 'none was started'}", where=str(site.home / "stack")
        )
    return path


def _show(site: Site) -> None:
    rows = [(row.name, "runs" if row.alive else "has died", row.url, str(row.pid), row.log) for row in stack_status(site)]
    table(rows, ("", "state", "URL", "pid", "log"))


def _say(line: str) -> None:
    print(line, flush=True)
