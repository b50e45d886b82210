"""The plan: every stage of a recipe with its config, inputs and fingerprint, known before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.config import digest, identity
from contracts.errors import ConfigError
from flows.recipe import Recipe
from infra.job import InputRef

if TYPE_CHECKING:
    from flows.desk import Desk


@dataclass(frozen=True)
class StageKind:
    """What all stages of one kind share.

    `version` is raised whenever code changes results without a change of config. A kind with a `craft` runs as a worker process of that
    craft; one with a `body` runs in the flow's own process. `body` is `module:function`, imported when it runs.
    """

    name: str
    version: int
    does: str
    craft: str = ""
    body: str = ""


@dataclass
class Node:
    """One stage of a plan: kind, config and inputs; identity is derived, and only when asked for."""

    name: str
    kind: StageKind
    config: Any
    inputs: dict[str, Node]
    hashed: Any
    """JSON value of everything of the recipe that changes this stage's result."""
    processes: int = 1
    salt: Callable[[], str] | None = None
    """Digest of what the stage reads from outside the store (the `source` stage), computed on demand."""
    workspace_hashed: Any = None
    """What the workspace key hashes where it differs from the fingerprint: training, whose workspace outlives a change of length."""
    parent: Node | None = None
    request: Callable[[Node, Desk], tuple[Any, dict[str, Path]]] | None = None
    """What the body is given (config, folders by role), where that is not simply `config` and every input whole."""
    pinned: str | None = None
    """A fingerprint given from outside, which is then taken as it is."""
    _recorded: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def fingerprint(self) -> str:
        """Identity of this stage's result: name of the kind, its version, the config that matters, the inputs' fingerprints."""
        if self.pinned:
            return self.pinned
        return digest(self.recorded())

    def recorded(self) -> dict[str, Any]:
        """The hashed document itself, kept in the manifest so that `explain` can name what changed. Made once: a plan is of one moment."""
        if self._recorded is not None:
            return self._recorded
        document: dict[str, Any] = {"stage": self.kind.name, "version": self.kind.version, "config": self.hashed}
        if self.salt is not None:
            document["outside"] = self.salt()
        document["inputs"] = {role: node.fingerprint for role, node in self.inputs.items()}
        self._recorded = document
        return document

    @property
    def workspace_key(self) -> str:
        """Identity of the workspace. Equal to the fingerprint but for training: model + the phase without its length + (parent, step)."""
        if self.workspace_hashed is None or self.pinned:
            return self.fingerprint
        inputs = {role: node.fingerprint for role, node in self.inputs.items() if node is not self.parent}
        parent = self.inputs["parent"].fingerprint if self.parent else None
        return digest(
            {"stage": self.kind.name, "version": self.kind.version, "config": self.workspace_hashed, "inputs": inputs, "parent": parent}
        )

    def references(self) -> dict[str, InputRef]:
        """What a job's spec names as its inputs."""
        return {role: InputRef(stage=node.name, fingerprint=node.fingerprint) for role, node in self.inputs.items()}


class Plan:
    """The nodes of one recipe in the order in which they run."""

    def __init__(self, recipe: Recipe, pinned: Mapping[str, str] | None = None) -> None:
        self.recipe = recipe
        self.nodes: list[Node] = []
        self._pinned = dict(pinned or {})

    def add(self, name: str, kind: StageKind, config: Any, *, hashed: Any = None, **more: Any) -> Node:
        """Append a stage. Keyword arguments that are nodes become inputs, by role; the rest are fields of Node."""
        inputs = {role: value for role, value in more.items() if isinstance(value, Node)}
        fields = {key: value for key, value in more.items() if key not in inputs and value is not None}
        node = Node(
            name=name, kind=kind, config=config, inputs=inputs, hashed=identity(config if hashed is None else hashed),
            parent=inputs.get("parent"), pinned=self._pinned.get(name), **fields,
        )  # fmt: skip
        self.nodes.append(node)
        return node

    def node(self, name: str) -> Node:
        """The stage called `name`.

        Raises:
            ConfigError: the recipe has no such stage.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        raise ConfigError(f"this recipe has no stage '{name}'", do=f"choose one of: {', '.join(n.name for n in self.nodes)}")

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def upstream(self, node: Node) -> list[Node]:
        """Every node that `node` rests on, in running order; what lies behind a given (pinned) one is not asked for."""
        needed: set[int] = set()

        def visit(one: Node) -> None:
            for parent in one.inputs.values():
                if id(parent) not in needed:
                    needed.add(id(parent))
                    if not parent.pinned:
                        visit(parent)

        visit(node)
        return [one for one in self.nodes if id(one) in needed]
