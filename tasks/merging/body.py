"""The body of the stage `merge`: candidates are made and measured; the best of them and of the unmerged parents is left as a folder."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from contracts.errors import ConfigError, IntegrityError
from infra.job import Progress, Summary
from tasks.conversion import model_in
from tasks.merging.anatomy import Anatomy, dissect
from tasks.merging.config import Candidate
from tasks.merging.integrity import require_parents
from tasks.merging.merge import merge
from tasks.merging.methods import said
from tasks.merging.panel import Contestant, Panel, rank
from tasks.merging.recall import unmeasured
from tasks.merging.requests import MergeRequest
from tasks.posttraining import MeasureRequest, SkillScores, measure_skills, read_skills

PANEL, SKILLS = "panel.json", "skills.json"
CURATE = "curate"
MEASURED = "measure."
"""Prefix of the role of a parent's measurement."""
MODEL_FILES = ("config.json", "generation_config.json", "chat_template.jinja", "tokenizer*", "special_tokens_map.json", "added_tokens.json")
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")


def merge_and_choose(request: MergeRequest, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    """Leave the winner's model folder, panel.json (every contestant with its cells and intervals) and the winner's skills.json.

    One candidate lies on disk at a time: what is merged is measured and removed, and the winner is merged again, to the same bytes.

    Args:
        inputs: `STAGE`, `measure.STAGE` and `curate` as `MergeRequest` says.

    Raises:
        ConfigError: an input is missing, or something required that no evaluation of this line measures.
        GateError: models that cannot be merged, named before anything is computed.
        StageError: a merge failed or is damaged.
    """
    config = request.merging
    _require(request, inputs)
    parents = {stage: dissect(model_in(inputs[stage])) for stage in config.stages}
    require_parents(parents)
    scratch = out.parent / "candidates"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        contest = _Contest(request, parents, inputs, scratch, progress)
        for candidate in config.merges():
            contest.enter_merge(candidate)
        for stage in config.parents:
            contest.enter_parent(stage)
        panel = rank(contest.contestants, config)
        made_of = contest.leave(panel, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    (out / PANEL).write_text(json.dumps(panel.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")
    contest.scores[panel.winner].write(out)
    progress(1, 1, f"{panel.winner}: {panel.why}")
    best = panel.best
    items = sum(one.items for one in best.cells.values())
    return Summary(
        counts={"candidates": len(config.merges()), "contestants": len(panel.standings), "items": items},
        metrics={"weakest": best.cells[best.weakest].value} | {f"accuracy.{name}": one.value for name, one in best.cells.items()},
        evidence={"panel": panel.model_dump(mode="json"), "made_of": made_of},
    )


class _Contest:
    """Models of a panel as they are entered, one after the other."""

    def __init__(
        self, request: MergeRequest, parents: Mapping[str, Anatomy], inputs: Mapping[str, Path], scratch: Path, progress: Progress
    ):
        self._request, self._parents, self._inputs, self._scratch, self._progress = request, parents, inputs, scratch, progress
        self._total = len(request.merging.parents) + len(request.merging.merges()) + 1.0
        self.contestants: list[Contestant] = []
        self.scores: dict[str, SkillScores] = {}
        self._weights: dict[str, str] = {}

    def enter_parent(self, stage: str) -> None:
        """A parent as it is, with the measurement it has; one that asked other questions than the merges were asked is taken anew."""
        asked = {one.questions for one in self.scores.values()}
        folder = self._inputs.get(f"{MEASURED}{stage}")
        known = read_skills(folder) if folder else None
        self._enter(stage, known if known and known.questions in asked else self._measured(stage, self._parents[stage].folder))

    def enter_merge(self, candidate: Candidate) -> None:
        """A candidate: merged, looked at, measured, and taken off the disk."""
        folder = self._scratch / candidate.name
        began = time.perf_counter()
        self._note(f"merging {candidate.name}")
        merge(candidate, self._parents, self._request.merging, folder)
        seconds = time.perf_counter() - began
        self._weights[candidate.name] = _fingerprint(folder)
        self._enter(candidate.name, self._measured(candidate.name, folder), candidate, seconds)
        shutil.rmtree(folder)

    def leave(self, panel: Panel, out: Path) -> list[str]:
        """Put the winner's model folder into `out`; returns the stages it is made of.

        Raises:
            IntegrityError: a second merge gave other bytes than the one that was measured.
        """
        winner = next((one for one in self._request.merging.merges() if one.name == panel.winner), None)
        if winner is None:
            _copy(self._parents[panel.winner].folder, out)
            return [panel.winner]
        folder = self._scratch / "winner"
        merge(winner, self._parents, self._request.merging, folder)
        if _fingerprint(folder) != self._weights[winner.name]:
            raise IntegrityError(
                f"merging '{winner.name}' again gave other weights than those that were measured", where="merge", do="run the stage again"
            )
        _copy(folder, out)
        return winner.stages

    def _enter(self, name: str, scores: SkillScores, candidate: Candidate | None = None, seconds: float = 0.0) -> None:
        self.scores[name] = scores
        how = said(candidate) if candidate else ""
        cells = {**scores.of(self._request.merging.answers), **scores.of_tasks()}
        self.contestants.append(Contestant(name=name, merged=candidate is not None, how=how, cells=cells, seconds=seconds))

    def _measured(self, name: str, folder: Path) -> SkillScores:
        request = MeasureRequest(
            template=self._request.template, evaluation=self._request.evaluation, seed=self._request.seed, heldout_bytes=0
        )
        place = self._scratch / f"{name}.measured"
        place.mkdir(parents=True)

        def tick(done: float, total: float, note: str = "") -> None:
            self._note(f"{name}: {note}")

        text = {CURATE: self._inputs[CURATE]} if CURATE in self._inputs else {}
        measure_skills(request.model_dump(mode="json"), {"model": folder, **text}, place, tick)
        return read_skills(place)

    def _note(self, note: str) -> None:
        self._progress(len(self.contestants), self._total, note)


def _require(request: MergeRequest, inputs: Mapping[str, Path]) -> None:
    missing = [stage for stage in request.merging.stages if stage not in inputs]
    if missing:
        raise ConfigError(f"no model of {', '.join(missing)} was given", where="merge", do="run these stages first")
    gaps = unmeasured(request.merging, request.evaluation)
    if gaps:
        raise ConfigError(
            f"nothing measures {', '.join(gaps)}, which every model of the panel must be measured on",
            where="merging.required_tasks",
            do=f"name what posttraining.evaluation measures ({', '.join(request.evaluation.cells()) or 'nothing'})",
        )


def _copy(folder: Path, out: Path) -> None:
    for pattern in (*MODEL_FILES, *WEIGHTS):
        for file in folder.glob(pattern):
            shutil.copyfile(file, out / file.name)


def _fingerprint(folder: Path) -> str:
    import hashlib

    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as opened:
            for block in iter(lambda: opened.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()
