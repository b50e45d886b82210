"""Commands about ablations: court (what was decided), backlog (what waits), adopt (the next baseline)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from contracts.errors import ConfigError
from deployments.output import as_json, table
from flows.baseline import Ruling, adopt, find_court, of_its_steps, result_of, rulings, version
from flows.desk import Desk
from flows.docket import known_states
from flows.recipe import BUILT_IN, Recipe, load, parse, read
from flows.results import court_page
from flows.verdicts import proposal, rows, sentences
from infra.store import Artifact, Store
from tasks.ablation.backlog import load as load_backlog


def show_court(name: str, recipe: str, overrides: Sequence[str], page: bool, json: bool) -> None:
    """Print the verdicts of a court of this recipe, or only where its page lies.

    Raises:
        ConfigError: none has decided.
    """
    desk = Desk.of(recipe, overrides)
    artifact = find_court(desk, name)
    result = result_of(desk, artifact)
    if page:
        place = str(court_page(desk, result, artifact))
        if json:
            as_json({"page": place})
        else:
            print(place)
        return
    proposed = proposal(result, artifact.fingerprint, desk.plan.recipe, recipe)
    if json:
        as_json({"fingerprint": artifact.fingerprint, "court": result.model_dump(mode="json"), "proposal": proposed})
        return
    print(f"{artifact.stage} {artifact.fingerprint[:12]}, {artifact.manifest.created}\nHolds for {result.size}\n")
    found = rows(result)
    shown = ["change", "state", "verdict", result.metric]
    table([[row[column] for column in shown] for row in found], shown)
    print("\n".join(["", *sentences(result), "", *proposed, "", f"Every metric and run: smolflow court --recipe {recipe} --page"]))


def show_backlog(recipe: str, overrides: Sequence[str], json: bool) -> None:
    """Print every modification of the backlog with its state over this baseline and the court that decided it."""
    desk = Desk.of(recipe, overrides)
    given, backlog, found = load(desk.reference, desk.overrides, desk.store), load_backlog(desk.site.backlog), rulings(desk)
    states, deciding = known_states(backlog, given, found), _deciding(found)
    lines = []
    for one in backlog.modifications:
        ruling, sentence = deciding.get(one.digest, (None, ""))
        court = f"{ruling.artifact.stage} {ruling.artifact.fingerprint[:12]}" if ruling else ""
        lines.append({"name": one.name, "state": states[one.name], "benefit": one.benefit, "court": court, "verdict": sentence,
                      "hypothesis": one.hypothesis, "depends_on": one.depends_on})  # fmt: skip
    if json:
        as_json({"baseline": version(given), "backlog": str(desk.site.backlog), "modifications": lines})
        return
    table(
        [(line["name"], line["state"], line["benefit"], line["court"], line["verdict"] or line["hypothesis"]) for line in lines],
        ("modification", "state", "benefit", "decided by", "verdict, or hypothesis"),
        title=f"{desk.site.backlog}, over baseline v{version(given)} of {given.name}",
    )
    print(f"\nA sweep is started in the Prefect UI, {desk.site.prefect.url}: deployment `backlog`, Run, Custom run.")
    print(f"Recipe there: {_in_the_form(desk, recipe)}")


def adopt_court(beginning: str, recipe: str, by: str, output: Path | None) -> None:
    """Write a new recipe file: this one with what the court accepted, and its lineage.

    Raises:
        ConfigError: no such court, one over another baseline, one that accepted nothing, no name, or a file that exists.
    """
    if not by.strip():
        raise ConfigError("an adoption has a name under it", do="give --by NAME")
    desk = Desk.of(recipe)
    artifact = _court(desk.store, beginning)
    if artifact.fingerprint not in [*(one.artifact.fingerprint for one in rulings(desk)), *of_its_steps(desk)]:
        raise ConfigError(
            f"{artifact.stage} {artifact.fingerprint[:12]} judged another baseline than {recipe}",
            do=f"`smolflow court --recipe {recipe}` names the courts over this one; where versions follow each other, adopt them in order",
        )
    result = result_of(desk, artifact)
    before = load(recipe, store=desk.store)
    place = output or _beside(recipe, version(before) + 1)
    if place.suffix not in {".yaml", ".yml"}:
        raise ConfigError(f"'{place}' is not a .yaml file", do=f"--output {place.with_suffix('.yaml')}")
    if place.exists():
        raise ConfigError(f"{place} exists already", do="choose another name with --output, or remove it first")
    new = adopt(_as_written(recipe, place, desk), result, artifact.fingerprint, by.strip())
    text = yaml.safe_dump(new.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True, width=110)
    if parse(text, str(place)) != new:
        raise ConfigError(f"{place} would not be read as it was meant", do="report this, with the recipe")
    place.write_text(text)
    print(f"{place} written: baseline v{version(new)}, adopted by {by.strip()}")
    print("\n".join(f"  {line}" for line in result.diff))
    print(f"Next: smolflow run --recipe {place} --dry-run\n      {recipe} is as it was; comments of the file are not carried over")


def _court(store: Store, beginning: str) -> Artifact:
    found = [one for one in store.artifacts() if one.stage.startswith("court-") and one.fingerprint.startswith(beginning)]
    if len(found) != 1:
        do = "`smolflow court` and `smolflow backlog` name them; give more of the fingerprint where several begin alike"
        raise ConfigError(f"{len(found)} courts begin with '{beginning}'", do=do)
    return found[0]


def _beside(recipe: str, number: int) -> Path:
    """NAME-vN.yaml: beside a person's own file, in the working folder for any other recipe."""
    path = Path(recipe) if recipe.endswith((".yaml", ".yml")) else Path(f"{recipe.rpartition('/')[2]}.yaml")
    return path.with_name(f"{re.sub(r'-v[0-9]+$', '', path.stem)}-v{number}.yaml")


def _as_written(recipe: str, place: Path, desk: Desk) -> Recipe:
    """The recipe with its relative paths as they stand, where the new file lies in the same folder; else with absolute ones."""
    if recipe.endswith((".yaml", ".yml")) and Path(recipe).resolve().parent == place.resolve().parent:
        return parse(*read(recipe))
    return load(recipe, store=desk.store)


def _deciding(found: Sequence[Ruling]) -> dict[str, tuple[Ruling, str]]:
    """Digest of a modification -> the newest court that judged it, with its sentence."""
    return {row["digest"]: (ruling, row["sentence"]) for ruling in found for row in ruling.decisions}


def _in_the_form(desk: Desk, recipe: str) -> str:
    """A built-in name as it is; a person's own file by the reference under which any worker finds it."""
    if (BUILT_IN / f"{recipe}.yaml").is_file() or recipe.startswith("store:"):
        return recipe
    return desk.store.publish(load(recipe).to_yaml(), kind="recipe")
