from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import pytest

from contracts.errors import IntegrityError
from infra.store import Artifact, Store, Workspace
from infra.store.documents import canonical
from tests.infra.store.material import FILES, commit, contents, folder_of


def place(artifact: Artifact, name: str) -> str:
    """Where the bytes of a file lie."""
    return next(file.at for file in artifact.manifest.files if file.path == name)


def test_a_missing_or_cut_file_makes_the_artifact_count_as_none(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    artifact = commit(store, folder_of(tmp_path / "a"))
    store.objects.write(place(artifact, "notes.txt"), b"cut")
    assert store.find("f1") is None
    assert "'notes.txt' has 3 bytes instead of 7" in caplog.text
    store.objects.delete([place(artifact, "model/weights.bin")])
    assert store.find("f1") is None
    assert "'model/weights.bin' is missing" in caplog.text


def test_an_altered_file_of_the_same_size_is_refused_when_it_is_brought_here(store: Store, tmp_path: Path) -> None:
    artifact = commit(store, folder_of(tmp_path / "a"))
    store.objects.write(place(artifact, "notes.txt"), b"x" * 7)
    assert store.find("f1") is not None
    with pytest.raises(IntegrityError, match=r"'notes.txt' was altered"):
        store.materialise(artifact, tmp_path / "scratch")
    assert "notes.txt" not in contents(tmp_path / "scratch" / "f1")


def test_an_altered_manifest_is_no_manifest(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    commit(store, folder_of(tmp_path / "a"))
    key = "artifacts/curate/f1/manifest.json"
    good = store.objects.read(key)
    for bad in (good.replace(b'"documents": 3', b'"documents": 4'), good[:-20], b"", b"[]"):
        store.objects.write(key, bad)
        caplog.clear()
        assert store.find("f1") is None
        assert store.artifacts() == []
        assert "manifest.json" in caplog.text
    with pytest.raises(IntegrityError):
        store.gc({"f1"}, dry_run=False)
    store.objects.write(key, good)
    assert store.find("f1") is not None


def test_a_damaged_artifact_is_made_again_by_the_ordinary_way(store: Store, tmp_path: Path) -> None:
    artifact = commit(store, folder_of(tmp_path / "a"))
    store.objects.delete([place(artifact, "notes.txt")])
    again = commit(store, folder_of(tmp_path / "b", {"notes.txt": b"made again"}))
    assert store.find("f1") == again
    assert contents(store.materialise(again, tmp_path / "scratch")) == {"notes.txt": b"made again"}


def test_a_manifest_cannot_reach_outside_its_folder(store: Store, tmp_path: Path) -> None:
    artifact = commit(store, folder_of(tmp_path / "a", {"notes.txt": b"hello"}))
    content = artifact.manifest.model_dump(mode="json")
    for field, value in (("path", "../../escaped"), ("path", "/etc/escaped"), ("at", "../../../etc/passwd"), ("path", "a\\..\\b")):
        content["files"][0] |= {"path": "notes.txt", "at": place(artifact, "notes.txt")} | {field: value}
        signed = {"sha256": hashlib.sha256(canonical(content)).hexdigest(), "content": content}
        store.objects.write("artifacts/curate/f1/manifest.json", json.dumps(signed).encode())
        assert store.find("f1") is None
        assert store.artifacts() == []


def test_the_newest_whole_part_is_found_behind_damaged_ones(store: Store, tmp_path: Path) -> None:
    with store.begin("train-stable", "w") as workspace:
        parts = [workspace.put(f"step-{step:06d}", folder_of(tmp_path / str(step))) for step in (10, 20, 30, 40)]
        workspace.put("trial-9", folder_of(tmp_path / "trial"))
        root = "workspaces/train-stable/w/parts"
        store.objects.write(f"{root}/step-000040/part.json", b'{"sha256": "0')
        store.objects.delete([f"{root}/step-000030/{workspace.lease}/notes.txt"])
        store.objects.write(f"{root}/step-000020/{workspace.lease}/notes.txt", b"altered")
        found, skipped = workspace.newest()
        assert found == parts[0]
        assert ["step-000040" in skipped[0], "is missing" in skipped[1], "altered" in skipped[2]] == [True] * 3
        with pytest.raises(IntegrityError, match="altered"):
            workspace.verify(parts[1])
        with pytest.raises(IntegrityError):
            workspace.fetch(parts[1], tmp_path / "back")


def test_a_part_that_is_not_to_be_taken_is_skipped_with_its_reason_or_without_a_word(store: Store, tmp_path: Path) -> None:
    with store.begin("train-stable", "w") as workspace:
        parts = [workspace.put(f"step-{step:06d}", folder_of(tmp_path / str(step))) for step in (10, 20, 30)]
        reasons = {"step-000030": "", "step-000020": "it lacks its optimizer"}
        assert workspace.newest(refused=lambda part: reasons.get(part.name)) == (parts[0], ["it lacks its optimizer"])


def test_no_part_at_all_is_no_error(store: Store) -> None:
    with store.begin("train-stable", "w") as workspace:
        assert workspace.newest() == (None, [])


def test_a_damaged_part_is_replaced_when_training_reaches_it_again(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with store.begin("train-stable", "w") as workspace:
        workspace.put("step-000010", folder_of(tmp_path / "a"))
        store.objects.delete([f"workspaces/train-stable/w/parts/step-000010/{workspace.lease}/notes.txt"])
        again = workspace.put("step-000010", folder_of(tmp_path / "b", {"state": b"again"}))
        assert workspace.newest() == (again, [])
    assert "damaged and is replaced" in caplog.text


def test_uploaded_files_are_no_part_until_they_are_sealed(store: Store, tmp_path: Path) -> None:
    with store.begin("train-stable", "w") as workspace:
        workspace.upload("step-000010", folder_of(tmp_path / "a"))
    with store.begin("train-stable", "w") as workspace:
        assert workspace.parts() == []
        assert workspace.newest() == (None, [])
        part = workspace.put("step-000010", folder_of(tmp_path / "b", {"state": b"second attempt"}))
        assert contents(workspace.fetch(part, tmp_path / "back")) == {"state": b"second attempt"}


def lose_one_file(store: Store, workspace: Workspace) -> None:
    store.objects.delete([f"workspaces/curate/w/parts/result/{workspace.lease}/notes.txt"])


def test_a_part_is_not_sealed_when_the_store_does_not_hold_what_was_sent(store: Store, tmp_path: Path) -> None:
    with store.begin("curate", "w") as workspace:
        files = workspace.upload("result", folder_of(tmp_path / "a"))
        lose_one_file(store, workspace)
        with pytest.raises(IntegrityError, match=r"'notes.txt' is missing"):
            workspace.seal("result", files)
        assert workspace.parts() == []


def test_an_artifact_is_not_committed_over_a_part_that_lost_a_file(store: Store, tmp_path: Path) -> None:
    with store.begin("curate", "w") as workspace:
        part = workspace.put("result", folder_of(tmp_path / "a"))
        lose_one_file(store, workspace)
        with pytest.raises(IntegrityError):
            workspace.commit("f1", [part])
    assert store.find("f1") is None


def test_a_manifest_is_readable_by_a_person(store: Store, tmp_path: Path) -> None:
    commit(store, folder_of(tmp_path / "a"))
    text = store.objects.read("artifacts/curate/f1/manifest.json").decode()
    assert json.loads(text)["content"]["files"][0]["path"] in FILES
    assert len(text.splitlines()) > 10
