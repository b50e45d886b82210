"""The facts of a model card, taken from manifests alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.config import leaves
from models.config import ModelConfig
from models.count import parameters
from tasks.reporting.axes import duration, short
from tasks.reporting.lineage import Manifests, ancestry, config_of, inputs_of, weights_line
from tasks.reporting.skills_view import PanelView, SkillCell, SkillStep

POST = ("sft", "preference", "reinforcement", "distillation")
_NO_SETTING = ("name", "parent", "seed", "sources", "prompts", "placement")


@dataclass(frozen=True)
class Source:
    """One source of text or conversations."""

    name: str
    used_by: str
    origin: str
    amount: str
    licences: str


@dataclass(frozen=True)
class Made:
    """One stage of the line."""

    stage: str
    inputs: str
    fingerprint: str
    time: str
    shaped: bool
    """It shaped the released weights."""


@dataclass(frozen=True)
class Settings:
    """What one training stage was told."""

    stage: str
    parent: str
    text: str


@dataclass(frozen=True)
class Cost:
    """What the whole line took."""

    rows: Sequence[tuple[str, str, str]]
    """Kind of stage, wall time, process hours."""
    seconds: float
    process_hours: float
    money: str
    machines: str


@dataclass(frozen=True)
class Card:
    """Everything a card says."""

    name: str
    question: str
    why: str
    demonstration: bool
    target: Mapping[str, Any]
    released: str
    model: Mapping[str, str]
    modes: str
    lineage: Sequence[Made]
    text: Sequence[Source]
    chat: Sequence[Source]
    settings: Sequence[Settings]
    base: Sequence[tuple[str, str, str]]
    """Metric, model, rival."""
    steps: Sequence[SkillStep]
    tasks: Sequence[SkillCell]
    """What the released model scored on tasks beside the skills."""
    final: SkillStep | None
    """The released model on items that nothing before read."""
    panel: PanelView | None
    gates: Sequence[tuple[str, str]]
    cost: Cost
    versions: Mapping[str, str]


def model_facts(manifests: Manifests, line: Sequence[str]) -> dict[str, str]:
    """Architecture and size, from what the first training phase was told."""
    for stage in line:
        config = config_of(manifests, stage)
        if "model" in config and "hidden_size" in config["model"]:
            model = ModelConfig.parse(config["model"], f"manifest of {stage}")
            heads = f"{model.num_attention_heads} query heads, {model.num_key_value_heads} key/value heads"
            return {
                "parameters": f"{parameters(model):,}",
                "layers": f"{model.num_layers} x {model.hidden_size}, {heads}",
                "vocabulary": f"{model.vocab_size:,}",
                "longest training sequence": f"{max(_lengths(manifests, line), default=model.max_sequence_length):,} tokens",
                "embeddings": "tied" if model.tie_embeddings else "untied",
            }
    return {}


def made(manifests: Manifests, released: str) -> list[Made]:
    """Every stage behind a model, sources first."""
    shaped = set(weights_line(manifests, released))
    return [
        Made(
            stage=stage,
            inputs=", ".join(sorted(set(inputs_of(manifests, stage).values()))) or "-",
            fingerprint=str(manifests[stage].get("fingerprint", ""))[:12],
            time=duration(manifests[stage].get("cost", {}).get("seconds")),
            shaped=stage in shaped,
        )
        for stage in ancestry(manifests, released)
    ]


def text_sources(manifests: Manifests, line: Sequence[str]) -> list[Source]:
    """Text that the phases read, with the licences that came with it."""
    bought = manifests.get("source", {}).get("evidence", {}).get("sources", {})
    curated = manifests.get("curate", {}).get("evidence", {}).get("sources", {})
    tokens = manifests.get("tokenize", {}).get("evidence", {}).get("sources", {})
    phases = {stage: config_of(manifests, stage).get("phase", {}).get("mixture", {}) for stage in line}
    found = []
    for name, row in curated.items():
        there = bought.get(name, {})
        counted = f", {short(tokens[name]['tokens'])} tokens" if name in tokens and "tokens" in tokens[name] else ""
        found.append(
            Source(
                name=name,
                used_by=", ".join(stage for stage, mixture in phases.items() if name in mixture) or "-",
                origin=_origin(there),
                amount=f"{int(row.get('documents', 0)):,} documents, {short(row.get('bytes', 0))}B{counted}",
                licences=licences_of(there),
            )
        )
    return found


def licences_of(source: Mapping[str, Any]) -> str:
    """Licences of a source's documents, the most frequent first; said where none is known."""
    counts: Mapping[str, int] = source.get("licences", {})
    named = sorted(counts, key=lambda name: (-counts[name], name))
    if not named:
        return "not recorded"
    return ", ".join(f"{'not stated by its publisher' if name in ('', 'unknown') else name} ({counts[name]:,})" for name in named)


def chat_sources(manifests: Manifests, stages: Sequence[str]) -> list[Source]:
    """Conversations, pairs and prompts of every post-training step."""
    found = []
    for stage in stages:
        step = config_of(manifests, stage).get("step", {})
        for one in [*step.get("sources", []), *step.get("prompts", [])]:
            uri = str(one["uri"])
            made_here = uri.startswith("generated:")
            amount = f"{int(one['examples']):,} examples" if one.get("examples") else "as published"
            found.append(
                Source(
                    name=str(one["name"]),
                    used_by=stage,
                    origin=f"items of the skill {uri.partition(':')[2]}, made by rule" if made_here else uri,
                    amount=f"{amount}, {one.get('mode', '')}".rstrip(", "),
                    licences="made here" if made_here else "as its publisher states",
                )
            )
    return found


def settings(manifests: Manifests, line: Sequence[str]) -> list[Settings]:
    """What each stage that shaped the weights was told, field by field."""
    found = []
    for stage in line:
        config = config_of(manifests, stage)
        told = config.get("phase") or config.get("step")
        if told is None:
            continue
        parts = {"optimizer": config["optimizer"]} if "optimizer" in config else {}
        text = ", ".join(f"{path} {_plain(value)}" for path, value in leaves(dict(told) | parts) if _tells(path, value))
        found.append(Settings(stage, str(told.get("parent", "")) if "step" in config else "", text))
    return found


def base_rows(manifests: Manifests) -> list[tuple[str, str, str]]:
    """What the base model scored before post-training, beside the token bigram where there is one."""
    metrics: Mapping[str, float] = manifests.get("evaluate", {}).get("metrics", {})
    rows = []
    for name, value in metrics.items():
        head, _, rest = name.partition("/")
        if head == "bits_per_byte" and rest:
            rival = metrics.get(f"bits_per_byte_bigram/{rest}")
            rows.append((f"bits per byte, {rest} (lower is better)", f"{value:.3f}", f"{rival:.3f}" if rival is not None else "-"))
        elif head == "accuracy":
            rows.append((f"accuracy, {rest.replace('_', ' ')}", f"{value:.3f}", "-"))
    return rows


def cost(manifests: Manifests, budget: Mapping[str, Any]) -> Cost:
    """Wall time and process hours of every stage there is a manifest of, those that led nowhere too."""
    rows: dict[str, list[float]] = {}
    for stage, manifest in manifests.items():
        spent = manifest.get("cost", {})
        seconds, processes = float(spent.get("seconds") or 0.0), int(spent.get("processes") or 1)
        row = rows.setdefault(stage.partition("-")[0], [0.0, 0.0])
        row[0] += seconds
        row[1] += seconds * processes / 3600
    hours = sum(row[1] for row in rows.values())
    price = budget.get("price_per_gpu_hour")
    machines = {_machine(one.get("machine", {})) for one in manifests.values()} - {""}
    return Cost(
        rows=[(kind, duration(row[0]), f"{row[1]:.3g}") for kind, row in sorted(rows.items(), key=lambda item: -item[1][0])],
        seconds=sum(row[0] for row in rows.values()),
        process_hours=hours,
        money=f"{hours * float(price):,.2f} {budget.get('currency', 'EUR')}" if price else "",
        machines="; ".join(sorted(machines)),
    )


def gates(records: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[tuple[str, str]]:
    """What every gate said; a waiver stands there with its reason."""
    found = []
    for stage, by_name in records.items():
        for record in by_name.values():
            if "gate" in record:
                waiver = f" ({record['waiver']})" if record.get("waiver") else ""
                found.append((f"{stage}: {record['gate']}", str(record.get("verdict", "")) + waiver))
    return found


def _lengths(manifests: Manifests, line: Sequence[str]) -> list[int]:
    told = [config_of(manifests, stage) for stage in line]
    return [int(one["phase"]["sequence_length"]) for one in told if "sequence_length" in one.get("phase", {})]


def _origin(source: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in source.get("packages", []))
    place = source.get("uri") or source.get("path") or source.get("repository") or ""
    return ": ".join(str(part) for part in (source.get("kind", "-"), packages or place) if part)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _tells(path: str, value: Any) -> bool:
    return path.partition(".")[0] not in _NO_SETTING and value not in (None, "", [], {})


def _machine(machine: Mapping[str, Any]) -> str:
    devices = ", ".join(str(one) for one in machine.get("accelerators", []))
    cores = f"{machine.get('cpus')} x {machine['cpu']}" if machine.get("cpu") else ""
    return " with ".join(part for part in (cores, devices) if part)
