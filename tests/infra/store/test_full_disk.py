from __future__ import annotations

from pathlib import Path

from infra.store import Store
from tests.infra.store.material import commit, contents, folder_of, python

LIMIT = 64 * 1024
LIMITED = f"""
import resource, sys
from pathlib import Path
from contracts.errors import ResourceError
from infra.store import Store

what, url, place = sys.argv[1:]
store = Store.open(url)
resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, {LIMIT}))
try:
    if what == "put":
        with store.begin("train-stable", "w") as workspace:
            workspace.put("step-000020", Path(place))
    else:
        store.materialise(store.find("f1"), Path(place))
except ResourceError as error:
    print(error)
"""
BIG = {"state.json": b"{}", "checkpoint/shard.bin": b"s" * (4 * LIMIT)}


def test_a_disk_that_fills_up_during_a_checkpoint_seals_nothing_and_harms_nothing(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    with store.begin("train-stable", "w") as workspace:
        earlier = workspace.put("step-000010", folder_of(tmp_path / "a"))
    output, _ = python(LIMITED, "put", store.url, str(folder_of(tmp_path / "big", BIG))).communicate()
    assert output.startswith("resource: no room left to write (File too large)")
    assert "free some space" in output
    with store.begin("train-stable", "w") as workspace:
        assert workspace.newest() == (earlier, [])
        assert workspace.parts() == [earlier]
        later = workspace.put("step-000020", tmp_path / "big")
        assert workspace.newest() == (later, [])
    assert not list((tmp_path / "store" / ".incoming").iterdir())


def test_a_scratch_disk_that_fills_up_leaves_no_half_file_under_its_name(store: Store, tmp_path: Path) -> None:
    artifact = commit(store, folder_of(tmp_path / "big", BIG))
    output, _ = python(LIMITED, "materialise", store.url, str(tmp_path / "scratch")).communicate()
    assert output.startswith("resource: no room left to write")
    assert "checkpoint/shard.bin" not in contents(tmp_path / "scratch")
    assert contents(store.materialise(artifact, tmp_path / "scratch")) == BIG
