from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import ConfigError
from infra.site import Site, load


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path) -> Iterator[None]:
    """Without a person's own SMOLFLOW_ variables, in an empty folder."""
    before = dict(os.environ)
    for name in ("SMOLFLOW_HOME", "SMOLFLOW_SITE"):
        os.environ.pop(name, None)
    folder = Path.cwd()
    os.chdir(tmp_path)
    yield
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(before)


def test_the_local_site_keeps_everything_under_the_working_folder(tmp_path: Path) -> None:
    site = load()
    assert site.home == tmp_path / ".smolflow"
    assert site.store == str(tmp_path / ".smolflow" / "store")
    assert site.scratch == tmp_path / ".smolflow" / "scratch"
    assert site.pool_of("train") == site.pool_of("playbook") == "cpu"
    assert site.pools["gpu"].kind == "gpu"


def test_smolflow_home_moves_all_of_it(tmp_path: Path) -> None:
    os.environ["SMOLFLOW_HOME"] = "elsewhere"
    site = load()
    assert site.home == tmp_path / "elsewhere"
    assert site.store == str(tmp_path / "elsewhere" / "store")


def test_a_site_file_is_named_in_the_environment(tmp_path: Path) -> None:
    Path("mine.yaml").write_text("name: mine\nstore: s3://bucket/prefix\nhome: state\nstage_pools: {train: cpu}\n")
    os.environ["SMOLFLOW_SITE"] = "mine.yaml"
    site = load()
    assert (site.name, site.store, site.home) == ("mine", "s3://bucket/prefix", tmp_path / "state")


def test_a_site_survives_the_way_through_yaml() -> None:
    site = load("one-gpu")
    assert Site.from_yaml(site.to_yaml()) == site
    assert site.pool_of("train") == "gpu"
    assert site.pool_of("curate") == "cpu"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage_pools": {"trian": "cpu"}}, "did you mean 'train'"),
        ({"stage_pools": {"train": "gpus"}, "pools": {"cpu": {}, "gpu": {"kind": "gpu"}}}, "did you mean 'gpu'"),
        ({"pools": {"gpu": {"kind": "gpu"}}}, "pool 'cpu' is not declared"),
        ({"prefect": {"port": 5000}}, "share port 5000"),
        ({"store": "s3://key:secret@host/bucket"}, "holds credentials"),
        ({"mlfow": {"port": 1}}, "did you mean 'mlflow'"),
        ({"prefect": {"port": 70000}}, "prefect.port"),
        ({"pools": {"cpu": {"limit": 0}}}, "limit"),
    ],
)
def test_a_site_that_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Site.parse(changes)


def test_an_unknown_site_is_told_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'local'"):
        load("locl")
