"""The plan: every stage of a recipe with its config, inputs and fingerprint, known before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.config import Config, digest, identity
from contracts.errors import ConfigError, StageError
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
    effort: float = 1.0
    """How long it takes beside other kinds where all are small; only the order in which stages begin side by side rests on it."""


class Undecided(StageError):
    """What a stage will be depends on a court that has not decided yet."""

    code = "undecided"


@dataclass(frozen=True)
class Arm:
    """One run of one arm of a sweep: the recipe with some overrides, as far as its evaluation."""

    label: str
    """`ARM.SEED`, with the tokens behind where several lengths are evaluated."""
    overrides: tuple[str, ...]
    """What makes the sweep's recipe this run's."""
    plan: Plan
    """Its plan. What it shares with the sweep's recipe are the very same nodes."""
    trained_by: str = "train-arm"
    """Stage that trains it."""
    measured_by: str = "evaluate"
    """Stage that measures it."""

    @property
    def train(self) -> Node:
        """Its training."""
        return self.plan.node(self.trained_by)

    @property
    def evaluate(self) -> Node:
        """Its evaluation, the last stage that is brought into being."""
        return self.plan.node(self.measured_by)


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
    arms: tuple[Arm, ...] = ()
    """Runs to bring into being, side by side, before the body: it reads what they leave."""
    parallel: int = 0
    """Arms side by side in one process; 0: one per processor."""
    courts: tuple[Node, ...] = ()
    """Courts whose verdicts are in its config."""
    awaits: Node | None = None
    """The court that must decide before its config is known."""
    _recorded: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def fingerprint(self) -> str:
        """Identity of this stage's result: name of the kind, its version, the config that matters, the inputs' fingerprints.

        Raises:
            Undecided: a court must decide first.
        """
        if self.pinned:
            return self.pinned
        if self.awaits is not None:
            raise Undecided(
                f"what '{self.name}' will be is known once '{self.awaits.name}' has decided", do=f"run {self.awaits.name} first"
            )
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
    """The nodes of one recipe in the order in which they run.

    Args:
        recipe: the recipe, kept as `written`; in `recipe` it is as far as the courts have decided.
        pinned: fingerprints of stages that are taken as they are.
        like: a plan whose nodes are taken over where they are the same, so that what plans share is described and looked up once.
    """

    def __init__(self, recipe: Recipe, pinned: Mapping[str, str] | None = None, like: Plan | None = None) -> None:
        self.written = self.recipe = recipe
        self.nodes: list[Node] = []
        self.accepted: list[str] = []
        self._pinned = dict(pinned or {})
        self._known: dict[Any, Node] = like._known if like is not None else {}
        self._courts: tuple[Node, ...] = like._courts if like is not None else ()
        self._awaits: Node | None = like._awaits if like is not None else None

    def add(self, name: str, kind: StageKind, config: Any, *, hashed: Any = None, **more: Any) -> Node:
        """Append a stage. Keyword arguments that are nodes become inputs, by role; the rest are fields of Node."""
        inputs = {role: value for role, value in more.items() if isinstance(value, Node)}
        fields = {key: value for key, value in more.items() if key not in inputs and value is not None}
        of_identity = identity(config if hashed is None else hashed)
        plain = config.model_dump(mode="json") if isinstance(config, Config) else config
        same = (name, digest([of_identity, plain, fields.get("workspace_hashed")]), *((role, id(one)) for role, one in inputs.items()))
        node = self._known.get(same)
        if node is None:
            node = Node(
                name=name, kind=kind, config=config, inputs=inputs, hashed=of_identity, parent=inputs.get("parent"),
                pinned=self._pinned.get(name), courts=self._courts, awaits=self._awaits, **fields,
            )  # fmt: skip
            self._known[same] = node
        if all(one is not node for one in self.nodes):
            self.nodes = [one for one in self.nodes if one.name != name] + [node]
        return node

    def branch(self, overrides: Sequence[str]) -> Plan:
        """The recipe with some overrides, as far as this plan has come; what is added to it is not added here."""
        other = Plan(self.recipe.override(overrides), like=self)
        other.nodes, other._known, other._courts = list(self.nodes), dict(self._known), ()
        return other

    def is_pinned(self, name: str) -> bool:
        """Whether the stage `name` is given from outside."""
        return name in self._pinned

    def decide(self, court: Node, accepted: Sequence[str] | None) -> None:
        """Go on with the recipe as `court` left it; with None it has not decided, and what follows waits for it."""
        self._courts = (*self._courts, court)
        if accepted is None:
            self._awaits = self._awaits or court
            return
        self.accepted += accepted
        self.recipe = self.recipe.override(accepted) if accepted else self.recipe

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

    def needed_first(self, node: Node) -> list[Node]:
        """Stages of this plan that must be there before `node` can work: its inputs; of a sweep what its runs share with this plan."""
        if not node.arms:
            return list(node.inputs.values())
        shared = {id(one) for arm in node.arms for one in arm.plan.upstream(arm.evaluate)}
        return [one for one in self.nodes if id(one) in shared]

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
