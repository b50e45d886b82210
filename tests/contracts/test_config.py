from __future__ import annotations

from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import Field, model_validator

from contracts.config import Config, Gate, Later, Placement, assign, digest, holds_credentials, identity, leaves, marked
from contracts.errors import ConfigError


class Shape(Enum):
    CONSTANT = "constant"
    COSINE = "cosine"


class Layout(Config):
    tensor_parallel_size: int = 1


class Schedule(Config):
    shape: Shape = Shape.CONSTANT
    learning_rate: float = 1e-3


class Phase(Config):
    name: str = "stable"
    tokens: int = Field(default=1000, gt=0)
    mixture: dict[str, float] = Field(default_factory=lambda: {"prose": 1.0})
    schedule: Schedule = Schedule()
    layout: Placement[Layout] = Layout()
    checkpoint_every: Placement[int | None] = None


class Recipe(Config):
    name: str = "tiny"
    phases: list[Phase] = Field(default_factory=lambda: [Phase(), Phase(name="decay")])
    max_epochs: Gate[float] = 4.0
    workers: Placement[int] = Field(default=2, ge=1)
    judge: Later[str | None] = None
    mode: Literal["a", "b"] = "a"
    anything: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _named_once(self) -> Recipe:
        names = [phase.name for phase in self.phases]
        if len(set(names)) != len(names):
            raise ValueError("two phases have the same name")
        return self


def refused(data: Any) -> str:
    with pytest.raises(ConfigError) as refusal:
        Recipe.parse(data, "my.yaml")
    assert "[my.yaml]" in str(refusal.value)
    return refusal.value.what


def test_an_unknown_key_is_refused_with_the_nearest_name() -> None:
    assert refused({"max_epoch": 3}) == "unknown key 'max_epoch' (did you mean 'max_epochs'?)"
    assert "did you mean 'learning_rate'" in refused({"phases": [{"schedule": {"learnig_rate": 1}}]})
    assert "phases.0.schedule.learnig_rate" in refused({"phases": [{"schedule": {"learnig_rate": 1}}]})
    assert "did you mean 'tensor_parallel_size'" in refused({"phases": [{"layout": {"tensor_parallel": 2}}]})


def test_an_unknown_key_that_resembles_nothing_lists_the_known_ones() -> None:
    assert "(known: name, phases, max_epochs, workers, judge, mode, anything)" in refused({"zzz": 1})


def test_every_bad_field_is_named_at_once() -> None:
    what = refused({"phases": [{"tokens": 0}, {"tokens": "many"}], "mode": "c", "nam": 1})
    assert all(name in what for name in ("phases.0.tokens", "phases.1.tokens", "mode", "'nam'"))


def test_a_validators_own_words_come_through() -> None:
    assert refused({"phases": [{"name": "x"}, {"name": "x"}]}).startswith("document: two phases have the same name")


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_what_is_no_mapping_is_refused(data: Any) -> None:
    assert refused(data)


@pytest.mark.parametrize("text", ["a: [1", "- just\n- a list\n", "text", "name: tiny\n---\nname: second\n", "a: &x [*x]"])
def test_yaml_that_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Recipe.from_yaml(text, "my.yaml")


@pytest.mark.parametrize("text", ["name: tiny\nname: other\n", "phases:\n- {name: a, tokens: 5, tokens: 6}\n"])
def test_a_key_that_stands_twice_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="twice"):
        Recipe.from_yaml(text, "my.yaml")


@pytest.mark.parametrize(
    ("url", "holds"),
    [
        ("s3://key:secret@bucket/x", True),
        ("s3://key:se/cr+et@bucket/x", True),
        ("https://user@host/x", True),
        ("simplecache::s3://key:secret@bucket/x", True),
        ("s3://bucket/x@2", False),
        ("http://host:8080/data@v1/x", False),
        ("http://host:8080", False),
        ("folder/me@home.txt", False),
    ],
)
def test_credentials_in_a_url_are_seen_and_not_repeated(url: str, holds: bool) -> None:
    assert holds_credentials(url) is holds
    with pytest.raises(ConfigError) as refused:
        Recipe.parse({"workers": url})
    assert holds != (url in refused.value.what) and "secret" not in refused.value.what


def test_numbers_are_written_as_people_write_them() -> None:
    recipe = Recipe.from_yaml("phases: [{schedule: {learning_rate: 3e-4}, tokens: 1e6}]\n")
    assert recipe.phases[0].schedule.learning_rate == 3e-4
    assert recipe.phases[0].tokens == 1_000_000
    assert Recipe().override(["anything.rate=3e-4"]).anything == {"rate": 3e-4}


def test_yaml_round_trip() -> None:
    recipe = Recipe(
        name="Größe: 1 # no comment", phases=[Phase(name="x", mixture={"code": 0.25, "prose": 0.75}, checkpoint_every=5)], mode="b"
    )
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert Recipe.from_yaml(Recipe().to_yaml()) == Recipe()
    assert Recipe.from_yaml("") == Recipe()


@pytest.mark.parametrize(
    "name", ["1e3", "3.5e-4", "12", "yes", "null", "2020-01-01", "a: b", "1_0e2", ".5e1", "-", "*x", "line\nline", " "]
)
def test_a_text_that_looks_like_something_else_stays_a_text(name: str) -> None:
    recipe = Recipe(name=name, anything={name: name})
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


@pytest.mark.parametrize("number", [1e-5, 3e300, -1e22, 0.1, 1.0, 123456789.5, 2**70, float("inf")])
def test_a_number_stays_a_number(number: float) -> None:
    recipe = Recipe(anything={"number": number})
    again = Recipe.from_yaml(recipe.to_yaml()).anything["number"]
    assert (again, type(again)) == (number, type(number))


def test_configs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe().name = "other"  # type: ignore[misc]


def test_overrides_address_elements_by_index_and_by_name() -> None:
    recipe = Recipe().override(["phases.0.tokens=5", "phases.decay.schedule.shape=cosine", "name=mine", "phases.decay.mixture.code=0.5"])
    assert [phase.tokens for phase in recipe.phases] == [5, 1000]
    assert recipe.phases[1].schedule.shape is Shape.COSINE
    assert recipe.phases[1].mixture == {"prose": 1.0, "code": 0.5}
    assert recipe.name == "mine"


def test_an_override_may_replace_a_whole_section() -> None:
    recipe = Recipe().override(["phases=[{name: only, mixture: {code: 1}}]", "anything={a: [1, 2]}"])
    assert recipe.phases == [Phase(name="only", mixture={"code": 1.0})]
    assert recipe.anything == {"a": [1, 2]}


def test_an_override_may_set_what_was_unset() -> None:
    assert Recipe().override(["phases.0.checkpoint_every=7"]).phases[0].checkpoint_every == 7
    assert Recipe().override(["phases.0.checkpoint_every=null"]) == Recipe()


def test_a_value_may_hold_equals_signs_and_dots() -> None:
    assert Recipe().override(["name=a.b=c"]).name == "a.b=c"


def test_a_star_stands_for_every_element_of_a_list_and_every_key_of_a_mapping() -> None:
    recipe = Recipe().override(["phases.*.schedule.learning_rate=0.003", "phases.0.mixture.code=1", "phases.*.mixture.*=0.5"])
    assert [phase.schedule.learning_rate for phase in recipe.phases] == [0.003, 0.003]
    assert [phase.mixture for phase in recipe.phases] == [{"prose": 0.5, "code": 0.5}, {"prose": 0.5}]


def test_a_star_gives_each_element_a_value_of_its_own() -> None:
    recipe = Recipe().override(["phases.*.mixture={code: 1}", "phases.0.mixture.code=0.5"])
    assert [phase.mixture for phase in recipe.phases] == [{"code": 0.5}, {"code": 1.0}]
    document = {"phases": [{"name": "a"}, {"name": "b"}]}
    assign(document, "phases.*.mixture", {"code": 1})
    assign(document, "phases.b.mixture.code", 0)
    assert [phase["mixture"] for phase in document["phases"]] == [{"code": 1}, {"code": 0}]


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("anything.*=5", "no '*'"),
        ("phases.*.tokns=5", "(did you mean 'tokens'?)"),
        ("phases.*.schedul.shape=cosine", "(did you mean 'schedule'?)"),
        ("phases.*.tokens=0", "phases.1.tokens"),
        ("name.*=5", "no '*'"),
        ("phases.decai.tokens=5", "(did you mean 'decay'?)"),
        ("phases.2.tokens=5", "no '2'"),
        ("phases.0.tokns=5", "(did you mean 'tokens'?)"),
        ("phase.0.tokens=5", "(did you mean 'phases'?)"),
        ("name.first=5", "no 'first'"),
        ("max_epochs.0=5", "no '0'"),
        ("name", "not of the form"),
        ("=5", "not of the form"),
        ("workers=0", "workers"),
        ("anything=[1", "not valid YAML"),
        ("phases.0.checkpoint_every.x=1", "no 'x'"),
    ],
)
def test_an_override_that_fits_nothing_is_refused(assignment: str, said: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        Recipe().override([assignment])
    assert said in refusal.value.what


def test_identity_leaves_out_placement_and_gates_at_every_depth() -> None:
    recipe = Recipe()
    assert identity(recipe) == {
        "name": "tiny",
        "phases": [
            {"name": name, "tokens": 1000, "mixture": {"prose": 1.0}, "schedule": {"shape": "constant", "learning_rate": 1e-3}}
            for name in ("stable", "decay")
        ],
        "mode": "a",
        "anything": {},
    }
    moved = recipe.override(["workers=8", "max_epochs=2", "phases.0.layout.tensor_parallel_size=2", "phases.0.checkpoint_every=9"])
    assert moved != recipe
    assert digest(identity(moved)) == digest(identity(recipe))


@pytest.mark.parametrize(
    "assignment", ["phases.0.tokens=5", "phases.1.mixture.code=1", "name=x", "phases.0.schedule.shape=cosine", "anything.a=1", "judge=x"]
)
def test_identity_changes_with_every_other_field(assignment: str) -> None:
    assert digest(identity(Recipe().override([assignment]))) != digest(identity(Recipe()))


def test_an_explicit_default_equals_an_unset_field() -> None:
    assert digest(identity(Recipe.parse({"mode": "a", "phases": [{}, {"name": "decay", "tokens": 1000}]}))) == digest(identity(Recipe()))


def test_a_field_that_came_later_leaves_the_identity_of_old_documents_alone() -> None:
    assert "judge" not in identity(Recipe(judge=None)) and identity(Recipe(judge="x"))["judge"] == "x"


def test_marks_are_told_by_name() -> None:
    fields = Recipe.model_fields
    assert [marked(fields[name]) for name in ("workers", "max_epochs", "judge", "name")] == ["placement", "gate", "later", None]
    assert [marked(Phase.model_fields[name]) for name in ("layout", "checkpoint_every", "tokens")] == ["placement", "placement", None]


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": [1, 2]}) != digest({"a": [2, 1]})
    assert len(digest({})) == 32


def test_leaves_are_paths_to_values() -> None:
    tree = {"a": {"b": 1, "c": []}, "d": [{"e": None}, 2], "f": {}}
    assert dict(leaves(tree)) == {"a.b": 1, "a.c": [], "d.0.e": None, "d.1": 2, "f": {}}
