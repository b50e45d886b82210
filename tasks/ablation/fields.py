"""Fields of a recipe by their dotted paths: reading, changing and comparing the recipe as JSON (`model_dump(mode="json")`)."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, Self

from contracts.config import assign, leaves, nearest
from contracts.errors import ConfigError
from tasks.compass import RecipeLike

_MISSING = object()


class CourtRecipe(RecipeLike, Protocol):
    """A recipe as the checks of a court use it: its sections, and itself with some overrides."""

    def override(self, assignments: Sequence[str]) -> Self:
        """A validated copy."""
        ...

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """The recipe as JSON."""
        ...


def apply(recipe: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `recipe` with each path of `changes` given its value, in order; paths as `Config.override` reads them.

    Raises:
        ConfigError: a path that leads nowhere, with the nearest name.
    """
    document = copy.deepcopy(dict(recipe))
    for path, value in changes.items():
        assign(document, path, value, override(path, value))
    return document


def override(path: str, value: Any) -> str:
    """`path=json`, in the form that `Config.override` takes."""
    return f"{path}={json.dumps(value)}"


def found(recipe: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Concrete path -> value of everything that `path` stands for: names become indices; empty where it leads nowhere."""
    at: list[tuple[str, Any]] = [("", recipe)]
    for step in path.split("."):
        at = [(f"{before}.{key}" if before else key, child) for before, data in at for key, child in _children(data, step)]
    return dict(at)


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Concrete paths of the leaves that differ, in the order of `after`, then what is gone."""
    old, new = dict(leaves(dict(before))), dict(leaves(dict(after)))
    differing = [path for path, value in new.items() if old.get(path, _MISSING) != value]
    return differing + [path for path in old if path not in new]


def below(path: str, section: str) -> bool:
    """Whether a concrete `path` is `section` or lies in it."""
    return path == section or path.startswith(f"{section}.")


def position(before: str | None, recipe: Mapping[str, Any]) -> int:
    """Index of the phase called `before`; unset: the first.

    Raises:
        ConfigError: no such phase, with the nearest name.
    """
    names = [phase["name"] for phase in recipe["training"]["phases"]]
    if before is None or before in names:
        return names.index(before) if before else 0
    raise ConfigError(f"no phase '{before}' to stand before{nearest(before, names)}", do="correct `before`", where="ablations.courts")


def _children(data: Any, step: str) -> Iterator[tuple[str, Any]]:
    if isinstance(data, Mapping):
        if step == "*":
            yield from data.items()
        elif step in data:
            yield step, data[step]
    elif isinstance(data, list):
        for index, element in enumerate(data):
            name = element.get("name") if isinstance(element, Mapping) else None
            if step in ("*", str(index), name):
                yield str(index), element
