from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import ConfigError, IntegrityError, StageError
from infra.store import ArtifactMissing, Store
from tests.infra.store.material import FILES, commit, contents, folder_of


def test_from_files_to_a_committed_artifact_and_back(store: Store, tmp_path: Path) -> None:
    assert store.find("f1") is None
    artifact = commit(store, folder_of(tmp_path / "out"))
    found = store.find("f1")
    assert found == artifact
    assert found.manifest.config == {"seed": 7}
    assert found.manifest.counts == {"documents": 3}
    assert {file.path: file.bytes for file in found.manifest.files} == {name: len(data) for name, data in FILES.items()}
    assert contents(store.materialise(found, tmp_path / "scratch")) == FILES


def test_another_opening_of_the_same_place_finds_the_same_artifact(store: Store, url: str, tmp_path: Path) -> None:
    artifact = commit(store, folder_of(tmp_path / "out"))
    again = Store.open(store.url)
    assert again.find("f1") == artifact
    assert again.url == store.url
    assert artifact.uri.startswith(url)


def test_lineage_names_inputs_by_fingerprint_and_manifest_hash(store: Store, tmp_path: Path) -> None:
    source = commit(store, folder_of(tmp_path / "a"), stage="source", fingerprint="s1")
    child = commit(store, folder_of(tmp_path / "b"), fingerprint="c1", inputs={"source": source})
    reference = child.manifest.inputs["source"]
    assert (reference.stage, reference.fingerprint, reference.manifest_sha256) == ("source", "s1", source.manifest_sha256)


def test_a_second_commit_of_the_same_identity_gives_the_first_artifact(store: Store, tmp_path: Path) -> None:
    first = commit(store, folder_of(tmp_path / "a"))
    second = commit(store, folder_of(tmp_path / "b", {"other.txt": b"other"}), key="another-workspace")
    assert second == first
    assert store.find("f1") == first


def test_one_workspace_commits_a_second_artifact_over_a_later_part(store: Store, tmp_path: Path) -> None:
    commit(store, folder_of(tmp_path / "a", {"state": b"1"}), stage="train-stable", fingerprint="short", key="w", part="step-000010")
    commit(store, folder_of(tmp_path / "b", {"state": b"2"}), stage="train-stable", fingerprint="long", key="w", part="step-000020")
    assert {artifact.fingerprint for artifact in store.artifacts()} == {"short", "long"}
    with store.begin("train-stable", "w") as workspace:
        assert [part.name for part in workspace.parts()] == ["step-000010", "step-000020"]


def test_artifacts_are_listed_newest_first(store: Store, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        commit(store, folder_of(tmp_path / name), fingerprint=name)
    assert [artifact.fingerprint for artifact in store.artifacts()] == ["three", "two", "one"]


def test_a_missing_input_names_the_stage_to_run_first(store: Store) -> None:
    with pytest.raises(ArtifactMissing, match="run stage 'tokenize' first"):
        store.require("tokenize", "f9")


def test_parts_of_several_nodes_are_uploaded_apart_and_sealed_once(store: Store, tmp_path: Path) -> None:
    with store.begin("train-stable", "w") as workspace:
        first = workspace.upload("step-000010", folder_of(tmp_path / "node0", {"shard-0": b"0" * 10}))
        with store.attach("train-stable", "w", workspace.lease) as other_node:
            second = other_node.upload("step-000010", folder_of(tmp_path / "node1", {"shard-1": b"1" * 10}))
        assert workspace.parts() == []
        part = workspace.seal("step-000010", first + second, {"step": 10})
        assert workspace.parts() == [part]
        assert contents(workspace.fetch(part, tmp_path / "back")) == {"shard-0": b"0" * 10, "shard-1": b"1" * 10}


def test_a_sealed_part_is_not_sealed_over(store: Store, tmp_path: Path) -> None:
    with store.begin("curate", "w") as workspace:
        part = workspace.put("result", folder_of(tmp_path / "a"))
        with pytest.raises(StageError, match="sealed before"):
            workspace.put("result", folder_of(tmp_path / "b", {"other": b"x"}))
        workspace.verify(part)
    with store.begin("curate", "w") as workspace, pytest.raises(StageError, match="sealed before"):
        workspace.put("result", folder_of(tmp_path / "b", {"other": b"x"}))


def test_a_part_is_dropped_unless_an_artifact_stands_on_it(store: Store, tmp_path: Path) -> None:
    with store.begin("train-stable", "w") as workspace:
        early = workspace.put("step-000010", folder_of(tmp_path / "a"))
        late = workspace.put("step-000020", folder_of(tmp_path / "b"))
        workspace.commit("f1", [late])
        assert workspace.drop(early)
        assert not workspace.drop(late)
        assert [part.name for part in workspace.parts()] == ["step-000020"]
    assert store.find("f1") is not None


def test_two_parts_with_a_file_of_the_same_name_make_no_artifact(store: Store, tmp_path: Path) -> None:
    with store.begin("curate", "w") as workspace:
        parts = [workspace.put(name, folder_of(tmp_path / name)) for name in ("a", "b")]
        with pytest.raises(StageError, match="two files are called"):
            workspace.commit("f1", parts)
    assert store.find("f1") is None


def test_a_figure_that_json_cannot_carry_is_refused(store: Store, tmp_path: Path) -> None:
    with store.begin("curate", "w") as workspace:
        part = workspace.put("result", folder_of(tmp_path / "a"))
        for bad in ({"metrics": {"loss": float("nan")}}, {"evidence": {"table": [{"loss": float("inf")}]}}):
            with pytest.raises(StageError, match="cannot be written as JSON"):
                workspace.commit("f1", [part], **bad)
        with pytest.raises(StageError, match="cannot be written as JSON"):
            workspace.put("other", tmp_path / "a", {"loss": float("-inf")})
    assert store.find("f1") is None


def test_evidence_keeps_its_hash_whatever_its_keys(store: Store, tmp_path: Path) -> None:
    with store.begin("curate", "w") as workspace:
        part = workspace.put("result", folder_of(tmp_path / "a"), {"by_length": {2: "b", 10: "a"}})
        workspace.commit("f1", [part], evidence={"by_length": {2: 0.5, 10: 1}})
    found = Store.open(store.url).find("f1")
    assert found is not None
    assert found.manifest.evidence == {"by_length": {"2": 0.5, "10": 1}}


@pytest.mark.parametrize("name", ["../evil", "", "a/b", ".hidden", "a\nb"])
def test_names_that_could_lead_out_of_their_folder_are_refused(tmp_path: Path, name: str) -> None:
    store = Store.open(str(tmp_path / "store"))
    with pytest.raises(ConfigError):
        store.begin(name, "key")
    with pytest.raises(ConfigError):
        store.begin("curate", name)
    with pytest.raises(ConfigError):
        store.find(name)
    with store.begin("curate", "w") as workspace, pytest.raises(ConfigError):
        workspace.upload(name, folder_of(tmp_path / "out"))


def test_links_to_folders_are_not_silently_left_out(store: Store, tmp_path: Path) -> None:
    out = folder_of(tmp_path / "out")
    (out / "linked").symlink_to(tmp_path)
    with store.begin("curate", "w") as workspace, pytest.raises(StageError, match="no regular file"):
        workspace.upload("result", out)


def test_records_beside_an_artifact_are_replaced_by_name(store: Store, tmp_path: Path) -> None:
    artifact = commit(store, folder_of(tmp_path / "a"))
    assert store.records(artifact) == {}
    store.put_record(artifact, "gate-epochs", {"verdict": "refused"})
    store.put_record(artifact, "gate-epochs", {"verdict": "passed"})
    store.put_record(artifact, "gate-documents", {"verdict": "passed"})
    assert store.records(artifact) == {"gate-epochs": {"verdict": "passed"}, "gate-documents": {"verdict": "passed"}}
    assert store.find("f1") == artifact


def test_a_published_text_comes_back_under_its_reference(store: Store) -> None:
    reference = store.publish("name: tiny\n")
    assert reference.startswith("store:recipe/")
    assert store.publish("name: tiny\n") == reference
    assert store.read_published(reference) == "name: tiny\n"
    with pytest.raises(ArtifactMissing):
        store.read_published("store:recipe/0123")
    store.objects.write(f"published/{reference.removeprefix('store:')}", b"name: evil\n")
    with pytest.raises(IntegrityError):
        store.read_published(reference)
    with pytest.raises(ConfigError):
        store.read_published("store:../format.json")


def test_a_store_in_memory_lives_as_long_as_its_process(tmp_path: Path) -> None:
    artifact = commit(Store.open(f"memory://{tmp_path.name}"), folder_of(tmp_path / "a"))
    assert Store.open(f"memory://{tmp_path.name}").find("f1") == artifact
    assert Store.open("memory://elsewhere").find("f1") is None


def test_a_file_url_and_a_plain_path_name_the_same_store(tmp_path: Path) -> None:
    commit(Store.open(str(tmp_path / "store")), folder_of(tmp_path / "a"))
    assert Store.open(f"file://{tmp_path}/store").find("f1") is not None
