from __future__ import annotations

from pathlib import Path

import pytest

from infra.store import Artifact, Garbage, LeaseHeld, Store
from tests.infra.store.material import commit, contents, folder_of


@pytest.fixture
def line(store: Store, tmp_path: Path) -> dict[str, Artifact]:
    """source -> curate -> tokenize, and a curate of another recipe over the same source."""
    source = commit(store, folder_of(tmp_path / "1", {"raw": b"raw"}), stage="source", fingerprint="s1")
    curate = commit(store, folder_of(tmp_path / "2", {"text": b"text"}), stage="curate", fingerprint="c1", inputs={"source": source})
    other = commit(store, folder_of(tmp_path / "3", {"text": b"other"}), stage="curate", fingerprint="c2", inputs={"source": source})
    tokenize = commit(store, folder_of(tmp_path / "4", {"ids": b"ids"}), stage="tokenize", fingerprint="t1", inputs={"curate": curate})
    return {"s1": source, "c1": curate, "c2": other, "t1": tokenize}


def gone(found: list[Garbage]) -> set[tuple[str, str]]:
    return {(one.kind, one.path) for one in found}


def test_what_a_kept_artifact_came_from_is_kept(store: Store, line: dict[str, Artifact], tmp_path: Path) -> None:
    expected = {("artifact", "artifacts/curate/c2"), ("part", "workspaces/curate/c2/parts/result")}
    assert gone(store.gc({"t1"}, dry_run=True)) == expected
    assert len(store.artifacts()) == 4
    assert gone(store.gc({"t1"}, dry_run=False)) == expected
    assert {artifact.fingerprint for artifact in store.artifacts()} == {"s1", "c1", "t1"}
    assert contents(store.materialise(line["t1"], tmp_path / "scratch")) == {"ids": b"ids"}
    assert store.gc({"t1"}, dry_run=False) == []


def test_nothing_kept_leaves_an_empty_store(store: Store, line: dict[str, Artifact]) -> None:
    found = store.gc(set(), dry_run=False)
    assert all(one.bytes > 0 for one in found)
    assert store.artifacts() == []
    left = set(store.objects.sizes("workspaces"))
    assert all("/lease/" in key for key in left)


def test_checkpoints_of_an_interrupted_run_stay_while_its_workspace_is_kept(store: Store, tmp_path: Path) -> None:
    with store.begin("train-stable", "w") as workspace:
        workspace.put("step-000010", folder_of(tmp_path / "a"))
        workspace.upload("step-000020", folder_of(tmp_path / "b"))
    unsealed = ("upload", "workspaces/train-stable/w/parts/step-000020/1")
    assert gone(store.gc({"w"}, dry_run=True)) == {unsealed}
    assert gone(store.gc(set(), dry_run=True)) == {unsealed, ("part", "workspaces/train-stable/w/parts/step-000010")}
    store.gc({"w"}, dry_run=False)
    with store.begin("train-stable", "w") as workspace:
        found, skipped = workspace.newest()
        assert (found is not None, skipped) == (True, [])


def test_checkpoints_that_no_artifact_stands_on_go_and_the_committed_one_stays(store: Store, tmp_path: Path) -> None:
    with store.begin("train-stable", "w") as workspace:
        workspace.put("step-000010", folder_of(tmp_path / "a"))
        workspace.commit("f1", [workspace.put("step-000020", folder_of(tmp_path / "b"))])
    assert gone(store.gc({"f1"}, dry_run=False)) == {("part", "workspaces/train-stable/w/parts/step-000010")}
    assert store.find("f1") is not None


def test_files_of_an_artifact_stay_though_its_part_was_made_again(store: Store, tmp_path: Path) -> None:
    with store.begin("curate", "w") as workspace:
        part = workspace.put("result", folder_of(tmp_path / "a"))
        artifact = workspace.commit("f1", [part])
    record = "workspaces/curate/w/parts/result/part.json"
    store.objects.delete([record])
    with store.begin("curate", "w") as workspace:
        workspace.put("result", folder_of(tmp_path / "b", {"other": b"other"}))
    store.gc({"f1"}, dry_run=False)
    assert store.find("f1") == artifact


def test_nothing_goes_while_a_run_that_is_not_kept_is_at_work(store: Store, line: dict[str, Artifact]) -> None:
    with store.begin("train-stable", "another-recipe"), pytest.raises(LeaseHeld, match="at work"):
        store.gc({"t1"}, dry_run=False)
    assert len(store.artifacts()) == 4


def test_a_workspace_at_work_is_left_alone(store: Store, tmp_path: Path) -> None:
    with store.begin("train-stable", "w") as workspace:
        files = workspace.upload("step-000010", folder_of(tmp_path / "a"))
        assert store.gc({"w"}, dry_run=False) == []
        workspace.seal("step-000010", files)
