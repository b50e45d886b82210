"""YAML as people write it: 3e-4 is a number, and a key that stands twice is an error instead of a silent last word."""

from __future__ import annotations

import re
from typing import Any

import yaml

from contracts.errors import ConfigError

# YAML 1.1 wants "3.0e-4" and takes "3e-4" for a text; the same rule on both sides keeps a text that looks so in quotes when written.
_NUMBER = re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+\Z")


class _Loader(yaml.SafeLoader):
    """Reads."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys stand once each."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, f"key '{key.value}' stands twice", key.start_mark)
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))


def load_yaml(text: str, where: str = "") -> Any:
    """The one document in `text`.

    Raises:
        ConfigError: not valid YAML, more than one document, or a key that stands twice.
    """
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"not valid YAML: {error}", where=where, do="correct the YAML syntax") from None


def dump_yaml(data: Any) -> str:
    """`data` as YAML, in its own order; `load_yaml` gives an equal value back."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))
