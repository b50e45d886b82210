from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import InputError
from tasks.data import read_documents
from tasks.data.config import DataConfig
from tasks.data.contamination import HeldoutIndex
from tests.tasks.data.material import code_data, files_under, prose, run_curate, run_source

Row = dict[str, Any]


def write(path: Path, rows: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def web(pages: int, start: int = 0) -> list[Row]:
    """Good pages, five to a domain."""
    return [{"text": prose(start + n), "url": f"https://site{n // 5}.org/{n}"} for n in range(pages)]


def data_of(path: Path, **more: Any) -> DataConfig:
    return DataConfig.parse({"sources": [{"name": "web", "kind": "files", "path": str(path), "filters": "prose", **more}]})


def texts(root: Path, part: str, source: str | None = None) -> list[str]:
    return [document.text for document in read_documents(root / "curate" / part, source)]


def test_filters_language_and_duplicates_are_counted_with_samples(tmp_path: Path) -> None:
    german = "Der Ausschuss hat beschlossen, dass die neuen Regeln für alle gelten und nicht mit dem alten Recht zu verwechseln sind. "
    planted = [
        {"text": "too short"},
        {"text": german * 5},
        {"text": prose(3)},
        {"text": prose(3).replace(" ", "  ")},
        {"text": "menu\n" * 80},
    ]
    path = write(tmp_path / "web.jsonl", web(40, start=100) + planted)
    row = run_curate(data_of(path), tmp_path).evidence["sources"]["web"]
    assert row["documents_in"] == 45
    assert row["removed"]["min_words"] == 1 and row["removed"]["language"] == 1 and row["removed"]["duplicate"] == 1
    assert sum(row["removed"].values()) == 4
    assert row["samples"]["language"] == [(german * 5)[:400].rstrip()] or row["samples"]["language"][0].startswith("Der Ausschuss")
    assert row["kept"] == [text[:300] for text in texts(tmp_path, "train")[:2]], "two beginnings of what was kept"
    assert not [text for text in texts(tmp_path, "train") if "Ausschuss" in text or text == "too short"]


def test_whole_domains_are_held_out(tmp_path: Path) -> None:
    path = write(tmp_path / "web.jsonl", web(100))
    row = run_curate(data_of(path, heldout={"share": 0.1}), tmp_path).evidence["sources"]["web"]
    held = {d.id.split("~")[0] for d in read_documents(tmp_path / "curate" / "heldout")}
    trained = {d.id for d in read_documents(tmp_path / "curate" / "train")}
    domain = {f"web/web.jsonl:{n + 1}": n // 5 for n in range(100)}
    assert row["grouped_by"] == "domain" and len(row["heldout_groups"]) == 2
    assert held and not {domain[one] for one in held} & {domain[one] for one in trained}
    assert len(trained) + len(held) == 100


def test_named_packages_are_held_out_of_every_source(tmp_path: Path) -> None:
    both = code_data().sources[0].model_dump(mode="json")
    again = both | {"name": "again", "packages": ["h2", "click"], "heldout": {"share": 0.0}, "max_bytes": 300_000}
    run_curate(DataConfig.parse({"sources": [both, again]}), tmp_path)
    trained = {d.id.split("/")[1] for d in read_documents(tmp_path / "curate" / "train")}
    assert trained == {"attrs", "click"}
    assert {d.id.split("/")[1] for d in read_documents(tmp_path / "curate" / "heldout", "code")} == {"h2"}


def test_unknown_group_to_hold_out_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "web.jsonl", web(10))
    with pytest.raises(InputError, match=r"did you mean 'site1\.org'"):
        run_curate(data_of(path, heldout={"packages": ["site1.orgg"]}), tmp_path)


def test_single_file_is_held_out_by_documents(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("\n\n".join(prose(n) for n in range(200)))
    one = data_of(tmp_path / "book.txt", split_characters=5000, heldout={"share": 0.05})
    row = run_curate(one, tmp_path).evidence["sources"]["web"]
    assert row["grouped_by"] == "document" and row["heldout_documents"] > 0 and row["documents"] > 10


def test_contaminated_items_are_dropped_and_counted(tmp_path: Path) -> None:
    pages = web(50)
    stolen = " ".join(pages[0]["text"].split()[5:30])
    pages.append({"text": prose(999) + "\n\n" + stolen.upper(), "url": "https://thief.org/1"})
    path = write(tmp_path / "web.jsonl", pages)
    config = data_of(path, heldout={"packages": ["site0.org"], "item_characters": 100_000})
    row = run_curate(config, tmp_path / "checked").evidence["sources"]["web"]
    assert (row["contaminated"], row["heldout_documents"]) == (1, 4)
    unchecked = run_curate(config.override(["contamination_ngram=0"]), tmp_path / "unchecked").evidence["sources"]["web"]
    assert (unchecked["contaminated"], unchecked["heldout_documents"]) == (0, 5)


def test_thirteen_shared_words_contaminate_and_twelve_do_not() -> None:
    words = [f"word{n}" for n in range(40)]
    index = HeldoutIndex([" ".join(words), "short item"], 13)
    assert not index.see("x " + " ".join(words[3:15]) + " y") and index.contaminated() == [False, True]
    assert index.see("x " + ", ".join(words[3:16]).upper() + " y") and index.contaminated() == [True, True]


def test_what_stands_in_more_than_its_share_of_the_items_is_nobodys() -> None:
    frame = " ".join(f"frame{n}" for n in range(14))
    items = [f"{frame} " + " ".join(f"own{item}x{n}" for n in range(14)) for item in range(50)] + [frame]
    index = HeldoutIndex(items, 13, max_share=0.02)
    assert not index.see(f"x {frame} y") and index.see(items[7].removeprefix(frame))
    assert index.checked() == [True] * 50 + [False] and HeldoutIndex(items, 13).see(frame)


def test_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "web.jsonl", web(60))
    config = data_of(path, heldout={"share": 0.1}, keep=0.8)
    first, second = (run_curate(config, tmp_path / name) for name in ("a", "b"))
    assert first == second and files_under(tmp_path / "a") == files_under(tmp_path / "b")
    run_curate(config.override(["seed=1"]), tmp_path / "c")
    assert files_under(tmp_path / "c" / "curate") != files_under(tmp_path / "a" / "curate")


def test_source_that_loses_everything_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "web.jsonl", [{"text": "menu\n" * 50}])
    with pytest.raises(InputError, match="no document of source 'web' passed the filters"):
        run_curate(data_of(path), tmp_path)
    with pytest.raises(InputError, match="everything of source 'web' would be held out"):
        run_curate(data_of(write(tmp_path / "one.jsonl", web(1))), tmp_path / "one")


def test_unknown_language_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "web.jsonl", web(2))
    with pytest.raises(InputError, match="language 'xx'"):
        run_curate(data_of(path, language="xx"), tmp_path)


def test_damaged_source_artifact_is_named(tmp_path: Path) -> None:
    config = data_of(write(tmp_path / "web.jsonl", web(10)))
    run_source(config, tmp_path / "good")
    (file,) = (tmp_path / "good" / "source").iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"web-00000\.parquet"):
        list(read_documents(tmp_path / "good" / "source"))
