"""The frozen, strict config base: unknown keys are refused with the nearest name, and identity is what is left without placement and gates.

Fields are part of a stage's identity unless typed `Placement[...]` (where and how fast it runs) or `Gate[...]` (a threshold that
re-checks, never re-trains), so forgetting the mark re-runs too much and never too little. `Later[...]` came after artifacts had been made
without it, and is part of the identity where it is not at its default.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from contracts.errors import ConfigError
from contracts.yaml_text import dump_yaml, load_yaml

_T = TypeVar("_T")


class _Mark:
    """Takes a field out of the identity, or its default; `name` says why."""

    def __init__(self, name: str) -> None:
        self.name = name


PLACEMENT, GATE, LATER = _Mark("placement"), _Mark("gate"), _Mark("later")
Placement = Annotated[_T, PLACEMENT]
Gate = Annotated[_T, GATE]
Later = Annotated[_T, LATER]


class Config(BaseModel):
    """Base of every typed document. Frozen; unknown keys are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True, ser_json_inf_nan="constants"
    )

    @classmethod
    def parse(cls, data: Any, where: str = "") -> Self:
        """Validate `data`; raise ConfigError naming every bad field, with the nearest known name for an unknown one."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            lines = [_explain(cls, dict(e)) for e in error.errors(include_url=False)]
            raise ConfigError("; ".join(lines), where=where or cls.__name__, do="correct the field(s) named above") from None

    @classmethod
    def from_yaml(cls, text: str, where: str = "") -> Self:
        """Parse one YAML document."""
        data = load_yaml(text, where)
        return cls.parse({} if data is None else data, where)

    def to_yaml(self) -> str:
        """The document as YAML; `from_yaml` gives an equal object back."""
        return dump_yaml(self.model_dump(mode="json"))

    def override(self, assignments: Sequence[str]) -> Self:
        """A copy with `a.b=c` assignments applied, in order; values are YAML, paths as `assign` reads them."""
        data = self.model_dump(mode="json")
        for assignment in assignments:
            path, found, value = assignment.partition("=")
            if not found or not path.strip():
                raise ConfigError(f"'{assignment}' is not of the form key.path=value", do="write for example training.seed=7")
            assign(data, path.strip(), load_yaml(value, f"override '{assignment}'"), assignment)
        return type(self).parse(data, "override")


def assign(data: Any, path: str, value: Any, assignment: str = "") -> None:
    """Put `value` at a dotted `path` of a JSON-like document, in place.

    A list element is addressed by its index or its `name`; `*` stands for every element of a list or every key of a mapping. A last key
    that a mapping lacks is added: validation refuses an unknown one, with the nearest name.

    Raises:
        ConfigError: a step of the path leads nowhere, naming the `assignment`.
    """
    said = assignment or path
    *steps, last = path.split(".")
    targets = [data]
    for step in steps:
        targets = [target[key] for target in targets for key in _keys(target, step, said)]
    for target in targets:
        for key in [last] if isinstance(target, dict) and last != "*" else _keys(target, last, said):
            target[key] = copy.deepcopy(value)  # two elements never share one mapping


def identity(value: Any) -> Any:
    """JSON-ready value of everything that changes a result: all fields but those marked Placement or Gate, and Later ones at defaults."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {name: identity(getattr(value, name)) for name, info in fields.items() if _counts(info, getattr(value, name))}
    if isinstance(value, dict):
        return {str(k): identity(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [identity(v) for v in value]
    return value.value if hasattr(value, "value") and hasattr(value, "name") else value


def _counts(info: FieldInfo, value: Any) -> bool:
    return marked(info) is None or (marked(info) == LATER.name and value != info.default)


def marked(info: FieldInfo) -> str | None:
    """'placement', 'gate', 'later' or None."""
    for mark in _marks(info):
        return mark.name
    return None


def _marks(info: FieldInfo) -> list[_Mark]:
    found = [m for m in info.metadata if isinstance(m, _Mark)]
    for argument in get_args(info.annotation):
        found += [m for m in getattr(argument, "__metadata__", ()) if isinstance(m, _Mark)]
    return found


def digest(value: Any) -> str:
    """First 32 hex digits of the sha256 of `value` as canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()[:32]


_CREDENTIALS = re.compile(r"://(?:[^/@]*|[^/@:]+:(?!\d+(?:/|$))[^@]*)@")
"""`user@`, `key:secret@` after `://`; a secret may hold slashes, and the address may be chained (simplecache::s3://...)."""


def holds_credentials(url: str) -> bool:
    """Whether a URL has a user, or a key and a secret, written into it."""
    return _CREDENTIALS.search(url) is not None


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of every leaf of a JSON-like value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None or not value:
        yield path, value
        return
    for key, child in items:
        yield from leaves(child, f"{path}.{key}" if path else str(key))


def nearest(name: str, known: Sequence[str]) -> str:
    """' (did you mean ...?)' or the list of known names."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else f" (known: {', '.join(known)})"


def _explain(root: type[BaseModel], error: dict[str, Any]) -> str:
    path = [str(part) for part in error["loc"]]
    dotted = ".".join(path) or "document"
    if error["type"] == "extra_forbidden":
        return f"unknown key '{dotted}'{nearest(path[-1], _names_at(root, path[:-1]))}"
    given = _CREDENTIALS.sub("://...@", repr(error.get("input")))
    return f"{dotted}: {error['msg'].removeprefix('Value error, ')} (got {given:.80})"


def _names_at(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        info = model.model_fields.get(part)
        if info is None:
            continue  # an index or key inside a list or mapping: the element's model is already in hand
        inner = _model_in(info.annotation)
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for m in map(_model_in, get_args(annotation)) if m is not None), None)


def _keys(data: Any, part: str, assignment: str) -> list[Any]:
    every = list(data) if isinstance(data, dict) else list(range(len(data))) if isinstance(data, list) else []
    if part == "*" and every:
        return every
    return [_key(data, part, assignment)]


def _key(data: Any, part: str, assignment: str) -> Any:
    if isinstance(data, dict) and part in data:
        return part
    if isinstance(data, list):
        if part.isdigit() and int(part) < len(data):
            return int(part)
        for index, element in enumerate(data):
            if isinstance(element, dict) and element.get("name") == part:
                return index
    known = list(data) if isinstance(data, dict) else [str(e.get("name", i)) for i, e in enumerate(data)] if isinstance(data, list) else []
    raise ConfigError(f"no '{part}' in override '{assignment}'{nearest(part, [str(k) for k in known])}", do="correct the path left of '='")
