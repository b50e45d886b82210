"""What the local stack needs: its ports."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from contracts.errors import ResourceError
from infra.doctor.finding import Finding
from infra.site import Site


def service_findings(site: Site) -> Iterator[Finding]:
    """Whether the servers' ports are free or already ours."""
    if importlib.util.find_spec("psutil") is None:
        return
    from infra.stack.ports import require_free
    from infra.stack.process import record_of

    for name, server in (("prefect", site.prefect), ("mlflow", site.mlflow)):
        record = record_of(site.home, name)
        if record is not None and record.alive:
            yield Finding(f"port {server.port}", "ok", f"our {name} server (pid {record.pid})", f"open {record.url}")
            continue
        try:
            require_free(server, name)
        except ResourceError as error:
            yield Finding(f"port {server.port}", "error", error.what, f"`smolflow up` cannot start {name}: {error.do}")
        else:
            yield Finding(f"port {server.port}", "ok", "free", f"`smolflow up` starts {name} there")
