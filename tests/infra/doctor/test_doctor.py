from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from importlib import invalidate_caches
from importlib.metadata import version
from pathlib import Path

import pytest

from infra.doctor import Finding, examine
from infra.doctor.packages import package_findings
from tests.servers import local_site


def by_topic(findings: list[Finding], topic: str) -> Finding:
    return next(finding for finding in findings if finding.topic == topic)


@pytest.fixture
def site_packages(tmp_path: Path) -> Iterator[Path]:
    """A folder of packages in front of the installed ones."""
    sys.path.insert(0, str(tmp_path))
    invalidate_caches()
    yield tmp_path
    sys.path.remove(str(tmp_path))
    invalidate_caches()


def test_the_index_s_apex_is_refused(site_packages: Path) -> None:
    (site_packages / "apex").mkdir()
    (site_packages / "apex" / "__init__.py").write_text("")
    found = by_topic(list(package_findings()), "apex")
    assert found.level == "error"
    assert "pip uninstall apex" in found.means


def test_nvidia_s_apex_is_refused_without_transformer_engine_and_taken_with_it(site_packages: Path) -> None:
    (site_packages / "apex" / "optimizers").mkdir(parents=True)
    (site_packages / "apex" / "__init__.py").write_text("")
    assert by_topic(list(package_findings()), "apex").level == "error"
    (site_packages / "transformer_engine").mkdir()
    (site_packages / "transformer_engine" / "__init__.py").write_text("")
    invalidate_caches()
    assert by_topic(list(package_findings()), "apex").level == "ok"


def test_kernels_are_reported_when_they_are_there(site_packages: Path) -> None:
    assert by_topic(list(package_findings()), "amp_C").found == "not built"
    (site_packages / "amp_C.py").write_text("")
    invalidate_caches()
    assert by_topic(list(package_findings()), "amp_C").found == "there"


def test_a_pin_that_does_not_hold_is_an_error_with_the_command(site_packages: Path) -> None:
    metadata = site_packages / "fastapi-0.155.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fastapi\nVersion: 0.155.0\n")
    invalidate_caches()
    assert version("fastapi") == "0.155.0"
    found = by_topic(list(package_findings()), "fastapi")
    assert (found.level, found.found) == ("error", "0.155.0")
    assert "pip install 'fastapi" in found.means


def test_a_taken_port_is_an_error_and_a_free_one_is_not(tmp_path: Path) -> None:
    site = local_site(tmp_path)
    with socket.create_server((site.mlflow.host, site.mlflow.port)):
        findings = examine(site)
    assert by_topic(findings, f"port {site.mlflow.port}").level == "error"
    assert by_topic(findings, f"port {site.prefect.port}").level == "ok"


def test_every_finding_says_what_it_means(tmp_path: Path) -> None:
    findings = examine(local_site(tmp_path))
    assert {"python", "processors", "memory", "disk", "GPUs"} <= {finding.topic for finding in findings}
    assert all(finding.found and finding.means for finding in findings)
