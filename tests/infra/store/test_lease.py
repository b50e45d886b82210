from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.store import LeaseHeld, LeaseLost, Store
from tests.infra.store.material import folder_of, python

HOLD = """
import sys
from pathlib import Path
from infra.store import Store
workspace = Store.open(sys.argv[1]).begin("train-stable", "w")
if len(sys.argv) > 2:
    workspace.put("step-000010", Path(sys.argv[2]))
    workspace.upload("step-000020", Path(sys.argv[2]))
print(workspace.lease, flush=True)
sys.stdin.read()
"""
TAKE = """
import sys
from infra.store import LeaseHeld, Store
store = Store.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    print(store.begin("train-stable", "w").lease, flush=True)
except LeaseHeld:
    print("held", flush=True)
sys.stdin.read()
"""


def foreign_lease(store: Store, *, silent_for: float) -> None:
    """A lease that a process on another machine took an hour ago and last renewed `silent_for` seconds ago."""
    now = time.time()
    holder = {"token": "t", "host": "elsewhere/1234", "pid": 1, "process_started": "5", "since": now - 3600}
    store.objects.create("workspaces/train-stable/w/lease/1.json", json.dumps(holder).encode())
    store.objects.write("workspaces/train-stable/w/lease/1.beat", json.dumps({"at": now - silent_for, "released": False}).encode())


def test_of_two_live_holders_the_second_is_told_who_holds_it_and_what_to_do(store: Store) -> None:
    other = python(HOLD, store.url)
    assert other.stdout is not None
    assert other.stdout.readline() == "1\n"
    with pytest.raises(LeaseHeld, match=rf"process {other.pid} on .* since 20") as refusal:
        store.begin("train-stable", "w")
    assert "wait for it to end, or stop that process" in str(refusal.value)
    other.communicate("")


def test_a_holder_that_was_killed_between_upload_and_seal_is_taken_over_at_once(store: Store, tmp_path: Path) -> None:
    other = python(HOLD, store.url, str(folder_of(tmp_path / "a")))
    assert other.stdout is not None
    assert other.stdout.readline() == "1\n"
    other.kill()
    other.communicate()
    with store.begin("train-stable", "w") as workspace:
        assert workspace.lease == 2
        newest, skipped = workspace.newest()
        assert (newest.name if newest else None, skipped) == ("step-000010", [])
        again = workspace.put("step-000020", folder_of(tmp_path / "b"))
        assert workspace.newest() == (again, [])


def test_a_released_lease_is_free_at_once(store: Store, tmp_path: Path) -> None:
    with store.begin("curate", "w") as workspace:
        assert workspace.lease == 1
    with store.begin("curate", "w") as workspace:
        assert workspace.lease == 2
        assert workspace.put("result", folder_of(tmp_path / "a")).lease == 2


def test_leases_of_other_workspaces_do_not_matter(store: Store) -> None:
    with store.begin("curate", "w"), store.begin("curate", "v") as other, store.begin("tokenize", "w") as third:
        assert (other.lease, third.lease) == (1, 1)


def test_waiting_for_a_live_holder_ends_when_it_lets_go(store: Store) -> None:
    holder = store.begin("curate", "w")
    threading.Timer(1.0, holder.release).start()
    with store.begin("curate", "w", wait=60) as workspace:
        assert workspace.lease == 2


def test_waiting_has_an_end(store: Store) -> None:
    with store.begin("curate", "w"), pytest.raises(LeaseHeld):
        store.begin("curate", "w", wait=0.2)


def test_a_fenced_holder_can_neither_seal_nor_commit_nor_drop(store: Store, tmp_path: Path) -> None:
    foreign_lease(store, silent_for=1)
    stale = store.attach("train-stable", "w", 1)
    part = stale.put("step-000010", folder_of(tmp_path / "a"))
    files = stale.upload("step-000020", folder_of(tmp_path / "b"))
    foreign_lease(store, silent_for=3600)
    with store.begin("train-stable", "w") as newer:
        for act in (
            lambda: stale.seal("step-000020", files),
            lambda: stale.commit("f1", [part]),
            lambda: stale.drop(part),
        ):
            with pytest.raises(LeaseLost, match="lease 1 was lost to process"):
                act()
        assert [part.name for part in newer.parts()] == ["step-000010"]
        assert store.find("f1") is None


def test_a_fenced_holder_does_not_touch_the_files_of_the_newer_one(store: Store, tmp_path: Path) -> None:
    foreign_lease(store, silent_for=1)
    stale = store.attach("train-stable", "w", 1)
    foreign_lease(store, silent_for=3600)
    with store.begin("train-stable", "w") as newer:
        part = newer.put("step-000010", folder_of(tmp_path / "new", {"state": b"new"}))
        stale.upload("step-000010", folder_of(tmp_path / "old", {"state": b"old"}))
        newer.verify(part)


def test_a_holder_elsewhere_is_taken_over_only_when_it_has_been_silent(store: Store) -> None:
    foreign_lease(store, silent_for=1)
    with pytest.raises(LeaseHeld, match="process 1 on elsewhere"):
        store.begin("train-stable", "w")
    foreign_lease(store, silent_for=3600)
    with store.begin("train-stable", "w") as workspace:
        assert workspace.lease == 2


def test_a_worker_joins_only_a_lease_that_is_in_force(store: Store, tmp_path: Path) -> None:
    with pytest.raises(LeaseLost):
        store.attach("curate", "w", 1)
    with store.begin("curate", "w") as workspace:
        with store.attach("curate", "w", workspace.lease) as worker:
            assert worker.lease == workspace.lease
        assert workspace.put("result", folder_of(tmp_path / "a")).lease == 1
    with pytest.raises(LeaseLost, match="not in force"):
        store.attach("curate", "w", 1)
    with store.begin("curate", "w"), pytest.raises(LeaseLost, match="lost to process"):
        store.attach("curate", "w", 1)


def test_a_worker_started_by_hand_takes_a_lease_itself(store: Store) -> None:
    with store.attach("curate", "w", None) as worker:
        assert worker.lease == 1
        with pytest.raises(LeaseHeld):
            store.begin("curate", "w")


def test_of_racing_threads_one_creates(store: Store) -> None:
    barrier = threading.Barrier(8)

    def race(number: int) -> bool:
        barrier.wait()
        return store.objects.create("race/object", f"thread {number}".encode())

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(race, range(8)))
    assert won.count(True) == 1
    assert store.objects.read("race/object") == f"thread {won.index(True)}".encode()
    assert store.objects.create("race/object", f"thread {won.index(True)}".encode())  # a repeated request of the winner has won as well
    assert not store.objects.create("race/object", b"late")


def test_of_racing_processes_one_gets_the_lease(store: Store) -> None:
    racers = [python(TAKE, store.url) for _ in range(3)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    got = [racer.stdout.readline().strip() for racer in racers if racer.stdout]
    for racer in racers:
        racer.communicate("")
    assert sorted(got) == ["1", "held", "held"]
