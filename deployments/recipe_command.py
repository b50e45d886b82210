"""`smolflow init`: a recipe of one's own, from a built-in one."""

from __future__ import annotations

from pathlib import Path

import yaml

from contracts.errors import ConfigError
from deployments.output import as_json, table
from flows.recipe import Recipe, load, names, parse, read


def list_recipes(json: bool) -> None:
    """Print every built-in recipe with what it is for."""
    rows = []
    for name in names():
        recipe = load(name)
        tokens = sum(phase.tokens for phase in recipe.training.phases)
        rows.append((name, tokens, recipe.purpose.question))
    if json:
        as_json([{"recipe": name, "tokens": tokens, "question": question} for name, tokens, question in rows])
    else:
        table(rows, ("recipe", "tokens", "what for"))


def init_recipe(path: Path, source: str, text: str | None) -> None:
    """Write `path` as a copy of a built-in recipe, comments and all; with `text`, over one's own text (without comments).

    Raises:
        ConfigError: the file exists already, or is not called .yaml.
    """
    if path.suffix not in {".yaml", ".yml"}:
        raise ConfigError(f"'{path}' is not a .yaml file", do=f"smolflow init --from {source} {path.with_suffix('.yaml')}")
    if path.exists():
        raise ConfigError(f"{path} exists already", do="choose another name, or remove it first")
    body, _ = read(source)
    body = body.replace(f"name: {source}\n", f"name: {_plain(path.stem)}\n", 1)
    if text is not None:
        body = _over_own_text(parse(body, source), text)
    parse(body, str(path))
    path.write_text(body)
    print(f"{path} written. Next:\n  edit it, then: smolflow run --recipe {path} --dry-run\n  and:           smolflow run --recipe {path}")


def _over_own_text(recipe: Recipe, text: str) -> str:
    """The recipe with one source of kind `files` in place of its own, in every mixture."""
    location = text if "://" in text else str(Path(text).expanduser().resolve())
    document = recipe.model_dump(mode="json", exclude_defaults=True)
    document["data"]["sources"] = [{"name": "own", "kind": "files", "path": location, "filters": "prose", "heldout": {"share": 0.05}}]
    for phase in document["training"]["phases"]:
        phase["mixture"] = {"own": 1.0}
    document["tokenizer"].pop("mixture", None)
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)


def _plain(stem: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "-" for c in stem.lower()).strip("-.") or "mine"
