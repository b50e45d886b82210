"""Recipes: round trip, overrides, refusals with the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import ConfigError
from flows.recipe import Recipe, load, names


@pytest.mark.parametrize("name", ["smoke", "tiny", "one-gpu", "smollm3-3b", "smollm3-ablations"])
def test_built_in_recipe_round_trips_through_yaml(name: str) -> None:
    recipe = load(name)
    assert recipe.name == name
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


def test_built_in_names() -> None:
    assert {"smoke", "tiny", "one-gpu", "smollm3-3b"} <= set(names())


@pytest.mark.parametrize(
    ("override", "names_it"),
    [
        ("training.sed=7", "did you mean 'seed'"),
        ("model.hiden_size=64", "did you mean 'hidden_size'"),
        ("training.phases.stabel.tokens=1000", "did you mean 'stable'"),
        ("training.phases.stable.mixture={prosa: 1.0}", "did you mean 'prose'"),
        ("model.vocab_size=4096", "differs from tokenizer.vocab_size"),
        ("training.phases.stable.sequence_length=4096", "max_sequence_length"),
        ("name=Not a name", "lower-case"),
        ("training.seed", "not of the form"),
    ],
)
def test_wrong_override_is_refused(override: str, names_it: str) -> None:
    with pytest.raises(ConfigError, match=names_it):
        load("tiny", [override])


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'tiny'"):
        load("tinny")


def test_invalid_yaml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("name: [unclosed")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(str(path))


def test_relative_source_path_is_taken_from_the_recipes_folder(tmp_path: Path) -> None:
    recipe = load("tiny")
    document = recipe.override(
        ["data.sources.0.kind=files", "data.sources.0.collection=null", "data.sources.0.packages=null", "data.sources.0.path=texts"]
    )
    path = tmp_path / "mine.yaml"
    path.write_text(document.to_yaml())
    assert load(str(path)).data.sources[0].path == str(tmp_path / "texts")


def test_relative_paths_of_conversations_and_template_are_too_and_all_else_stays(tmp_path: Path) -> None:
    uris = {"sft.main.sources.0": "chats/a.jsonl", "preference.main.sources.0": "s3://pairs", "reinforcement.main.prompts.0": "hf:a/b@c"}
    changes = [f"posttraining.{place}.uri={uri}" for place, uri in uris.items()]
    path = tmp_path / "mine.yaml"
    path.write_text(load("smoke-post", [*changes, "posttraining.template={kind: file, path: own.jinja}"]).to_yaml())
    post = load(str(path)).posttraining
    assert post is not None and post.template.path == str(tmp_path / "own.jinja")
    assert [one.uri for one in post.sft[0].sources] == [str(tmp_path / "chats/a.jsonl"), "generated:add"]
    assert (post.preference[0].sources[0].uri, post.reinforcement[0].prompts[0].uri) == ("s3://pairs", "hf:a/b@c")
