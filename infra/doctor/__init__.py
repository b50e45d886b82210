"""What this machine has and lacks, and which code paths that opens. Imports neither torch nor Prefect: import specs and small tools do."""

from __future__ import annotations

from infra.doctor.finding import Finding
from infra.doctor.machine import machine_findings
from infra.doctor.packages import package_findings
from infra.doctor.services import service_findings
from infra.site import Site

__all__ = ["Finding", "examine"]


def examine(site: Site) -> list[Finding]:
    """Every finding: machine, packages, then what the local stack needs."""
    return [*machine_findings(site), *package_findings(), *service_findings(site)]
