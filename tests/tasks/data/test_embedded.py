from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import ConfigError, InputError
from tasks.data import read_documents
from tasks.data.config import Acquisition, DataConfig
from tasks.data.embedded import COPYLEFT, PERMISSIVE, PYTHON, collection_lists, embedded_documents, installed_version, licence_of, versions
from tests.tasks.data.material import code_data, run_source


def source_of(**more: object) -> Acquisition:
    return Acquisition.parse({"name": "s", "kind": "embedded", "collection": "code", **more})


def test_lists_do_not_overlap_and_every_licence_is_permissive() -> None:
    names = [name for packages in collection_lists().values() for name in packages]
    assert len(set(names)) == len(names) and set(collection_lists()) == {"prose", "code", "math"}
    for name in names:
        licence = "PSF-2.0" if name == PYTHON else licence_of(name)
        assert PERMISSIVE.search(licence) and not COPYLEFT.search(licence), name


def test_missing_package_is_named() -> None:
    with pytest.raises(InputError, match="'no-such-package-here' of the embedded corpus is not installed"):
        installed_version("no-such-package-here")


def test_package_outside_the_list_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'click'"):
        versions(source_of(packages=["clik"]))


def test_documents_carry_package_version_licence() -> None:
    documents = list(embedded_documents(source_of(packages=["click", "attrs"], max_bytes=100_000)))
    assert {document.group for document in documents} == {"package:click", "package:attrs"}
    assert sum(document.size for document in documents) <= 100_000
    first = documents[0]
    assert first.origin.startswith(f"click-{installed_version('click')}/click/") and first.licence == "BSD-3-Clause"
    assert len({document.id for document in documents}) == len(documents)


def test_prose_is_documentation(tmp_path: Path) -> None:
    one = {"name": "prose", "kind": "embedded", "collection": "prose", "packages": ["Flask"]}
    run_source(DataConfig.parse({"sources": [one]}), tmp_path)
    documents = list(read_documents(tmp_path / "source", "prose"))
    assert any(document.id == "prose/Flask/README" for document in documents)
    assert sum("## Flask.route" in d.text or "# flask" in d.text for d in documents) > 0


def test_standard_library_without_its_tests() -> None:
    ids = [document.id for document in embedded_documents(source_of(packages=[PYTHON], max_bytes=400_000))]
    assert ids and not [one for one in ids if "/test" in one or "site-packages" in one]


def test_summary_records_versions(tmp_path: Path) -> None:
    entry = run_source(code_data(), tmp_path).evidence["sources"]["code"]
    assert entry["packages"] == [[name, installed_version(name)] for name in ("attrs", "click", "h2")]
    assert set(entry["other_versions"]) == {n for n in ("attrs", "click", "h2") if installed_version(n) != collection_lists()["code"][n]}
