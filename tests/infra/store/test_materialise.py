from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from contracts.errors import ConfigError
from infra.store import Store
from tests.infra.store.material import FILES, commit, contents, folder_of, python

BRING = """
import sys
from pathlib import Path
from infra.store import Store
store = Store.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
place = store.materialise(store.find("f1"), Path(sys.argv[2]))
print(sum(path.stat().st_size for path in place.rglob("*") if path.is_file()), flush=True)
"""


def inodes(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_ino for path in folder.rglob("*") if path.is_file()}


def test_a_second_call_copies_nothing(store: Store, tmp_path: Path) -> None:
    artifact = commit(store, folder_of(tmp_path / "a"))
    place = store.materialise(artifact, tmp_path / "scratch")
    assert place == tmp_path / "scratch" / "f1"
    before = inodes(place)
    assert store.materialise(artifact, tmp_path / "scratch") == place
    assert inodes(place) == before


def test_a_copy_that_somebody_touched_is_brought_again(store: Store, tmp_path: Path) -> None:
    artifact = commit(store, folder_of(tmp_path / "a"))
    place = store.materialise(artifact, tmp_path / "scratch")
    (place / "notes.txt").chmod(0o644)
    (place / "notes.txt").write_bytes(b"x" * len(FILES["notes.txt"]))
    (place / "model/weights.bin").unlink()
    (place / "empty").chmod(0o644)
    (place / "empty").write_bytes(b"not empty")
    assert contents(store.materialise(artifact, tmp_path / "scratch")) == FILES


def test_the_copy_is_the_stores_own_no_longer(store: Store, tmp_path: Path) -> None:
    out = folder_of(tmp_path / "a")
    artifact = commit(store, out)
    (out / "notes.txt").write_bytes(b"changed after the commit")
    place = store.materialise(artifact, tmp_path / "scratch")
    assert contents(place) == FILES
    (place / "notes.txt").chmod(0o644)
    (place / "notes.txt").write_bytes(b"changed here")
    assert contents(store.materialise(artifact, tmp_path / "elsewhere")) == FILES


def test_copies_are_read_only(store: Store, tmp_path: Path) -> None:
    place = store.materialise(commit(store, folder_of(tmp_path / "a")), tmp_path / "scratch")
    assert all(path.stat().st_mode & 0o222 == 0 for path in place.rglob("*") if path.is_file())
    shutil.rmtree(place)


def test_only_what_is_named_is_brought_and_the_rest_later(store: Store, tmp_path: Path) -> None:
    artifact = commit(store, folder_of(tmp_path / "a"))
    place = store.materialise(artifact, tmp_path / "scratch", ["notes.txt"])
    assert set(contents(place)) == {"notes.txt"}
    store.materialise(artifact, tmp_path / "scratch", ["model"])
    assert set(contents(place)) == {"notes.txt", "model/weights.bin"}
    assert contents(store.materialise(artifact, tmp_path / "scratch")) == FILES
    with pytest.raises(ConfigError, match=r"no file 'nodes.txt'.*\n.*notes.txt"):
        store.materialise(artifact, tmp_path / "scratch", ["nodes.txt"])


def test_processes_that_want_the_same_artifact_at_once_all_get_it(store: Store, tmp_path: Path) -> None:
    big = FILES | {f"shard-{number}.bin": os.urandom(300_000) for number in range(6)}
    commit(store, folder_of(tmp_path / "a", big))
    racers = [python(BRING, store.url, str(tmp_path / "scratch")) for _ in range(3)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    outputs = [racer.stdin.write("go\n") and racer.stdin.flush() for racer in racers if racer.stdin]
    outputs = [racer.communicate()[0].strip() for racer in racers]
    assert outputs == [str(sum(len(data) for data in big.values()))] * 3
    assert contents(tmp_path / "scratch" / "f1") == big


def test_what_a_killed_process_left_half_brought_is_no_obstacle(store: Store, tmp_path: Path) -> None:
    artifact = commit(store, folder_of(tmp_path / "a"))
    half = folder_of(tmp_path / "scratch" / ".f1.incoming", {"notes.txt": b"half", "model/weights.bin": b"ha"})
    (half / "notes.txt").chmod(0o444)
    assert contents(store.materialise(artifact, tmp_path / "scratch")) == FILES
    assert not half.exists()


def test_a_file_in_the_way_of_a_folder_is_told_and_not_overwritten(store: Store, tmp_path: Path) -> None:
    artifact = commit(store, folder_of(tmp_path / "a"))
    folder_of(tmp_path / "scratch", {"f1": b"a person's own file"})
    with pytest.raises(FileExistsError):
        store.materialise(artifact, tmp_path / "scratch")
    assert (tmp_path / "scratch" / "f1").read_bytes() == b"a person's own file"
