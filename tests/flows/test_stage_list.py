"""One list of stages: the site (which imports nothing of the flows), the DAG and the deployed flows name the same ones, in one order."""

from __future__ import annotations

from flows import dag
from flows.stages import STAGES
from infra.site import STAGE_KINDS


def test_site_dag_and_flows_name_the_same_stages() -> None:
    assert list(STAGE_KINDS) == [kind.name for kind in dag.KINDS] == list(STAGES)
