"""A plan as plain text, for the terminal, the log and the report."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.compass.plan import Cost, Finding, PhasePlan, SourcePlan, TrainingPlan
from tasks.compass.planner import gib

SIGNS = {"block": "BLOCKED", "warn": "warning", "note": "note"}


def render(plan: TrainingPlan) -> str:
    """The whole plan as aligned text."""
    parts = [_headline(plan), _phases(plan.phases), _memory(plan.phases), _sources(plan), _cost(plan.cost), _findings(plan.findings)]
    return "\n\n".join(part for part in parts if part)


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Text table; the first `left` columns are flush left, the others flush right."""
    cells = [list(head), *[list(row) for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [
        "  ".join(c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def amount(value: float) -> str:
    """Tokens or FLOPs in few characters: 11.14T, 47.2B, 840k."""
    for bound, suffix in ((1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= bound:
            return f"{value / bound:.2f}{suffix}"
    return f"{value:.0f}"


def _headline(plan: TrainingPlan) -> str:
    parts = ", ".join(f"{name} {amount(count)}" for name, count in plan.parameters_by_part.items() if count)
    ratio = plan.tokens / plan.parameters
    return (
        f"parameters  {plan.parameters:,} ({parts})\n"
        f"tokens      {plan.tokens:,} ({amount(plan.tokens)}; {ratio:,.1f} per parameter)\n"
        f"compute     {plan.flops:.3g} FLOPs"
    )


def _phases(phases: Sequence[PhasePlan]) -> str:
    head = [
        "phase",
        "steps",
        "ends at step",
        "tokens",
        "tokens/batch",
        "sequence",
        "batch",
        "learning rate",
        "tok/s/device",
        "device-hours",
        "time",
    ]
    rows = [
        [
            p.name,
            f"{p.steps:,}",
            f"{p.last_step:,}",
            amount(p.tokens),
            amount(p.tokens_per_batch),
            f"{p.sequence_length:,}",
            f"{p.global_batch_size:,}",
            p.learning_rate,
            "unknown" if p.tokens_per_second is None else f"{p.tokens_per_second:,.0f}",
            _hours(p.gpu_hours),
            _time(p.days),
        ]
        for p in phases
    ]
    return grid(head, rows)


def _memory(phases: Sequence[PhasePlan]) -> str:
    head = ["phase", "layout", "ranks", "accumulation", "static/rank", "activations/rank", "memory/rank"]
    rows = [
        [p.name, p.layout, f"{p.ranks:,}", str(p.accumulation), gib(p.static_bytes), gib(p.activation_bytes), gib(p.bytes_per_rank)]
        for p in phases
    ]
    return grid(head, rows, left=2)


def _sources(plan: TrainingPlan) -> str:
    names = [phase.name for phase in plan.phases]
    head = ["source", *names, "all", "size", "epochs"]
    rows = [_source(source, names) for source in sorted(plan.sources, key=lambda source: -source.total) if source.total]
    return grid(head, rows)


def _source(source: SourcePlan, phases: Sequence[str]) -> list[str]:
    epochs = "unknown" if source.epochs is None else f"{source.epochs:.2f}"
    size = "unknown" if source.size is None else amount(source.size)
    return [
        source.name,
        *[amount(source.tokens[name]) if name in source.tokens else "-" for name in phases],
        amount(source.total),
        size,
        epochs,
    ]


def _cost(cost: Cost) -> str:
    lines = [
        f"FLOP formula   {cost.formula}",
        f"peak           {cost.peak}",
        f"assumed MFU    {cost.assumed_mfu:.1%} of that peak, by that formula",
    ]
    if cost.gpu_hours is not None:
        lines.append(f"main run       {_hours(cost.gpu_hours)} device-hours, {_time(cost.days)}")
        reserves = {name: hours for name, hours in cost.reserves.items() if hours}
        lines += [f"+ {name:<13}{_hours(hours)} device-hours" for name, hours in reserves.items()]
        if reserves or cost.money is not None:
            lines.append(f"in all         {_hours(cost.total_gpu_hours)} device-hours" + _money(cost))
    return "\n".join(lines)


def _money(cost: Cost) -> str:
    return "" if cost.money is None else f", {cost.money:,.2f} {cost.currency}"


def _findings(findings: Sequence[Finding]) -> str:
    order = {"block": 0, "warn": 1, "note": 2}
    lines = []
    for finding in sorted(findings, key=lambda finding: order[finding.level]):
        lines.append(f"{SIGNS[finding.level]}: {finding.topic}: {finding.what}")
        if finding.do:
            lines.append(f"  What to do: {finding.do}")
    return "\n".join(lines)


def _hours(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if value >= 100 else f"{value:.4g}"


def _time(days: float | None) -> str:
    """Days as a person says them: 24.5 days, 2.6 h, 54 s."""
    if days is None:
        return "unknown"
    for bound, unit in ((1.0, "days"), (1 / 24, "h"), (1 / 1440, "min")):
        if days >= bound:
            return f"{days / bound:.1f} {unit}"
    return f"{days * 86400:.0f} s"
