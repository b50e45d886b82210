"""The report page: one self-contained HTML document without scripts, fonts or addresses from outside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.reporting.axes import duration, short
from tasks.reporting.bars import accuracy_plot, bits_plot, removal_plot, time_plot
from tasks.reporting.court import case
from tasks.reporting.dag import dag_picture
from tasks.reporting.lines import loss_plot, rate_plot, throughput_plot
from tasks.reporting.measured import steps_curve
from tasks.reporting.page import HERE, LIGHT, environment, stylesheet, y_of
from tasks.reporting.qualified import standing
from tasks.reporting.skills_plot import skills_plot
from tasks.reporting.view import PhaseCurve, ReportView


@dataclass(frozen=True)
class Tile:
    """One number at the head of the page."""

    value: str
    label: str
    tone: str = ""


def render_report(view: ReportView) -> str:
    """The whole page as HTML text. Everything that came from data is escaped; a content security policy forbids scripts."""
    from markupsafe import Markup

    plots = {name: Markup(svg) for name, svg in _plots(view).items()}  # built here, every label escaped
    cases = [case(court) for court in view.courts]
    page = environment().get_template("report.html.j2")
    return page.render(
        view=view,
        style=Markup(stylesheet()),
        plots=plots,
        tiles=tiles(view),
        contents=_contents(view),
        loading=_loading(view),
        cases=cases,
        standing=standing(view.qualification) if view.qualification else None,
    )


def loss_image(source: Path | Sequence[PhaseCurve]) -> str:
    """The loss plot as a `data:` address for an <img>, e.g. an image artifact: an SVG that carries its own colours.

    Args:
        source: curves of phases (over tokens), or the metrics.jsonl of one phase (over steps).
    """
    if isinstance(source, Path):
        source, unit = [steps_curve(source)], "steps"
    else:
        unit = "tokens seen"
    style = f"<style>svg{{{LIGHT};background:#fff}}{(HERE / 'plots.css').read_text()}</style>"
    svg = loss_plot(source, unit).replace("<title>", style + "<title>", 1)
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def tiles(view: ReportView) -> list[Tile]:
    """The numbers at the head of the page: the model, its training, and what the gates said."""
    found = [Tile(value, label) for label, value in view.headline.items()]
    if view.phases:
        found.append(Tile(short(view.phases[-1].end_tokens), "tokens trained on"))
        found.append(Tile(y_of(view.phases[-1].loss, -1), "final training loss"))
    decisions = [one for court in view.courts for one in court.decisions]
    if decisions:
        found.append(Tile(f"{sum(one.state == 'accepted' for one in decisions)} of {len(decisions)}", "changes accepted by ablation"))
    if view.bits_per_byte:
        wins, total = sum(row.wins for row in view.bits_per_byte), len(view.bits_per_byte)
        found.append(Tile(f"{wins} of {total}", "sources where it beats the bigram", "good" if wins == total else "bad"))
    if view.parity:
        passed = all(check.passed for check in view.parity)
        found.append(Tile("holds" if passed else "refused", "parity with Hugging Face", "good" if passed else "bad"))
    failed = [stage.name for stage in view.stages if stage.state == "failed"]
    if failed:
        found.append(Tile(failed[0], "failed stage", "bad"))
    found.append(Tile(duration(view.seconds), "wall time of all stages"))
    return found


def _plots(view: ReportView) -> dict[str, str]:
    return {
        "dag": dag_picture(view.stages),
        "time": time_plot(view.stages),
        "loss": loss_plot(view.phases),
        "rate": rate_plot(view.phases),
        "throughput": throughput_plot(view.phases),
        "bits": bits_plot(view.bits_per_byte),
        "accuracy": accuracy_plot(view.accuracies),
        "removal": removal_plot(view.sources),
        "skills": skills_plot(view.steps),
    }


def _contents(view: ReportView) -> list[tuple[str, str]]:
    parts = [
        ("The line", "line", view.stages),
        ("Which metrics vote", "qualification", view.qualification),
        ("Ablations", "ablations", view.courts),
        ("Training", "training", view.phases),
        ("Evaluation", "evaluation", view.bits_per_byte or view.accuracies),
        ("From base to merge", "skills", view.steps),
        ("Merge panel", "merge", view.panel),
        ("Vibe check", "vibe", view.vibe),
        ("What it writes", "samples", view.samples),
        ("Parity", "parity", view.parity),
        ("Data", "data", view.sources),
        ("Tokenizer", "tokenizer", view.tokenizer),
        ("Gates", "gates", view.gates),
        ("Plan", "plan", view.plan),
    ]
    return [(title, anchor) for title, anchor, content in parts if content] + [("Lineage", "lineage")]


def _loading(view: ReportView) -> str:
    return "\n".join(
        [
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            f"path = {view.model_path!r}",
            "model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)",
            "ids = tokenizer('The function returns', return_tensors='pt').input_ids",
            "print(tokenizer.decode(model.generate(ids, max_new_tokens=60, do_sample=True)[0]))",
        ]
    )
