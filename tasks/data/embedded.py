"""The embedded corpus: documentation and code of a named list of installed packages, with their versions."""

from __future__ import annotations

import hashlib
import importlib.metadata as metadata
import platform
import re
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

from contracts.config import nearest
from contracts.errors import ConfigError, InputError
from tasks.data.config import Acquisition
from tasks.data.docstrings import MIN_PAGE, docstring_pages
from tasks.data.documents import Document

PYTHON = "python"
PERMISSIVE = re.compile(r"MIT|BSD|Apache|PSF|Python Software|ISC|Zlib|CC0|Unlicense|HPND|0BSD", re.IGNORECASE)
COPYLEFT = re.compile(r"\bA?L?GPL|MPL", re.IGNORECASE)
_SKIPPED_FOLDERS = re.compile(
    r"(^|/)(tests?|testing|_testing|conftest|_?vendor(ed)?|__pycache__|site-packages|dist-packages|idlelib|lib2to3|turtledemo|ensurepip|config-[^/]*)(/|$)"
)
_SKIPPED_FILES = re.compile(r"(^|/)(_sysconfigdata[^/]*|conftest)\.py$")
_MAX_FILE = 400_000
_PATIENCE = 8


class Package(NamedTuple):
    """One installed package: what it is called, its version and licence, the folder its files are relative to, its text files."""

    name: str
    version: str
    licence: str
    root: Path
    files: list[str]
    readme: str


@cache
def collection_lists() -> dict[str, dict[str, str]]:
    """collection -> {package: tested version} (`embedded.yaml`)."""
    loaded: dict[str, dict[str, str]] = yaml.safe_load((Path(__file__).parent / "embedded.yaml").read_text(encoding="utf-8"))
    return {name: {package: str(version) for package, version in packages.items()} for name, packages in loaded.items()}


def versions(source: Acquisition) -> list[tuple[str, str]]:
    """(package, installed version) of an embedded source, in order; this is what the embedded corpus is identified by.

    Raises:
        InputError: a package of the list is not installed; names it.
        ConfigError: the source asks for a package that its collection does not list.
    """
    return [(name, installed_version(name)) for name in _wanted(source)]


def other_versions(source: Acquisition) -> dict[str, list[str]]:
    """{package: [tested, installed]} where they differ."""
    tested = collection_lists()[str(source.collection)]
    return {name: [tested[name], found] for name, found in versions(source) if found != tested[name]}


def embedded_documents(source: Acquisition) -> Iterator[Document]:
    """Documents of an embedded source. `max_bytes` is shared evenly among the packages; what one leaves over goes to the next ones."""
    names = _wanted(source)
    left = source.max_bytes
    for index, name in enumerate(names):
        documents = _documents(source, _package(name))
        if left is None:
            yield from documents
            continue
        for document in _within(documents, left // (len(names) - index)):
            left -= document.size
            yield document


def _within(documents: Iterator[Document], budget: int) -> Iterator[Document]:
    """Documents that fit into `budget` bytes; gives up after a run of documents that do not."""
    too_large = 0
    for document in documents:
        if document.size <= budget:
            budget -= document.size
            too_large = 0
            yield document
        else:
            too_large += 1
            if too_large > _PATIENCE:
                return


def _wanted(source: Acquisition) -> list[str]:
    listed = list(collection_lists()[str(source.collection)])
    for name in source.packages or []:
        if name not in listed:
            raise ConfigError(
                f"package '{name}' is not in the embedded collection '{source.collection}'{nearest(name, listed)}",
                where=f"source '{source.name}'", do="name packages of the collection, or use kind 'files' for other text",
            )  # fmt: skip
    return source.packages or listed


@cache
def installed_version(name: str) -> str:
    """Version of an installed package; of the running interpreter for `python`.

    Raises:
        InputError: it is not installed; says how to go on.
    """
    if name == PYTHON:
        return platform.python_version()
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        raise InputError(
            f"package '{name}' of the embedded corpus is not installed", where="embedded corpus",
            do=f"install it (pip install '{name}'), or list in the source's `packages` only those that are installed",
        ) from None  # fmt: skip


def _package(name: str) -> Package:
    version = installed_version(name)
    if name == PYTHON:
        root = Path(sysconfig.get_paths()["stdlib"])
        files = [path.relative_to(root).as_posix() for path in root.rglob("*.py")]
        return Package(name, version, "PSF-2.0", root, _ordered(files), "")
    distribution = metadata.distribution(name)
    licence = licence_of(name)
    if COPYLEFT.search(licence) or not PERMISSIVE.search(licence):
        raise InputError(
            f"package '{name}' {version} has the licence '{licence}', which the embedded corpus does not take", where="embedded corpus",
            do="leave the package out with the source's `packages`",
        )  # fmt: skip
    files = [str(file) for file in distribution.files or [] if file.suffix in {".py", ".md", ".rst"}]
    readme = (distribution.read_text("METADATA") or "").partition("\n\n")[2]
    return Package(name, version, licence, Path(str(distribution.locate_file(""))), _ordered(files), readme)


def licence_of(name: str) -> str:
    """Licence that a package's metadata states: the expression, else the classifier, else the first line of the field."""
    found = metadata.distribution(name).metadata
    expression, classifiers, field = (found.get_all(key) or [] for key in ("License-Expression", "Classifier", "License"))
    named = [entry.split("::")[-1].strip() for entry in classifiers if entry.startswith("License")]
    return next(iter([*expression, *named, *field]), "unknown").split("\n")[0]


def _ordered(files: list[str]) -> list[str]:
    """Files of interest in an order that mixes the parts of a package, the same on every machine."""
    kept = [name for name in files if not name.startswith("..") and not _SKIPPED_FOLDERS.search(name) and not _SKIPPED_FILES.search(name)]
    return sorted(kept, key=lambda name: hashlib.blake2b(name.encode(), digest_size=8).digest())


def _documents(source: Acquisition, package: Package) -> Iterator[Document]:
    code = source.collection == "code"
    if not code and len(package.readme.strip()) >= MIN_PAGE:
        yield _document(source, package, "README", package.readme.strip())
    for name in package.files:
        if name.endswith(".py"):
            yield from _python_documents(source, package, name, code)
        elif not code and len(text := _text(package.root / name) or "") >= MIN_PAGE:
            yield _document(source, package, name, text)


def _python_documents(source: Acquisition, package: Package, name: str, code: bool) -> Iterator[Document]:
    text = _text(package.root / name)
    if text is None:
        return
    if code:
        yield _document(source, package, name, text)
        return
    module = name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    for index, page in enumerate(docstring_pages(text, module)):
        yield _document(source, package, f"{name}#{index}", page)


def _text(path: Path) -> str | None:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return text if 200 <= len(text) <= _MAX_FILE else None


def _document(source: Acquisition, package: Package, name: str, text: str) -> Document:
    origin = f"{package.name}-{package.version}/{name}"
    return Document(f"{source.name}/{package.name}/{name}", text, source.name, package.licence, origin, f"package:{package.name}")
