"""Documentation pages out of Python source: a module's docstring, then those of its classes and functions under headings."""

from __future__ import annotations

import ast
import gc
import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager

MIN_PAGE = 300
_PAGE = 12_000
_MIN_DOCSTRING = 120
_VERSION_NOTES = re.compile(r"^\.\. (?:versionadded|versionchanged|deprecated)::.*$", re.MULTILINE)


def docstring_pages(source: str, module: str) -> list[str]:
    """Pages of up to about 12,000 characters of one module's docstrings; none when the source does not parse or says little."""
    with _collector_at_rest():
        try:
            sections = list(_sections(ast.parse(source), module))
        except (SyntaxError, ValueError, RecursionError):
            return []
    pages: list[str] = []
    current: list[str] = []
    for section in sections:
        current.append(section)
        if sum(map(len, current)) > _PAGE:
            pages.append("\n\n".join(current))
            current = []
    pages.append("\n\n".join(current))
    return [page for page in pages if len(page) >= MIN_PAGE]


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """A tree has no cycles, and to look for some in it is a third of the time that it takes to parse 1,800 files."""
    at_work = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if at_work:
            gc.enable()


def _sections(tree: ast.Module, module: str) -> Iterator[str]:
    docstring = ast.get_docstring(tree, clean=False)
    if docstring and len(docstring) > 40:
        yield f"# {module}\n\n{_clean(docstring)}"
    yield from _members(tree.body, "")


def _members(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{prefix}{node.name}"
            docstring = ast.get_docstring(node, clean=False)
            if docstring and len(docstring) > _MIN_DOCSTRING:
                yield f"## {name}{_signature(node)}\n\n{_clean(docstring)}"
            yield from _members(node.body, f"{name}.")
        elif isinstance(node, ast.If | ast.Try):
            yield from _members(node.body, prefix)


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    if isinstance(node, ast.ClassDef):
        return ""
    return "(" + ", ".join(argument.arg for argument in node.args.args if argument.arg not in {"self", "cls"}) + ")"


def _clean(docstring: str) -> str:
    return _VERSION_NOTES.sub("", inspect.cleandoc(docstring)).strip()
