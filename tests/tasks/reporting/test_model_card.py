"""The model card and the release: complete, true to the manifests, harmless; and what is refused."""

from __future__ import annotations

import json
import re
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from contracts.errors import ConfigError, InputError, ResourceError, StageError
from tasks.conversion import export_gguf, require_converter
from tasks.data import split_pattern
from tasks.reporting import ReleaseRequest, push_to_hub, release
from tasks.reporting.model_card import card_of, gains_of, limits_of, render_card
from tests.tasks.reporting.material import HOSTILE, RECIPE
from tests.tasks.reporting.post_material import run

RECORDS = {
    "convert": {"gate-parity": {"gate": "parity", "verdict": "passed"}},
    "merge": {"gate-merge": {"gate": "merge", "verdict": "waived", "waiver": "a demo"}},
}


@pytest.fixture(scope="module")
def card_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    manifests, folders = run(tmp_path_factory.mktemp("line"))
    return render_card(card_of(RECIPE, manifests, folders, "merge", RECORDS), manifests)


def section(text: str, title: str) -> str:
    return text.partition(f"\n{title}\n")[2].partition("\n## ")[0]


def test_the_card_tells_a_stranger_where_every_gain_came_from(card_text: str) -> None:
    gains = section(card_text, "### Where every gain came from").splitlines()
    assert any(
        re.match(r"- \*\*sft-main\*\*, greedy: ✓ gain \+0.425 \[\+0.\d+, \+0.\d+\], now 0.425 \[.*beside convert", one) for one in gains
    )
    assert any(one.startswith("- **preference-main**, greedy: ≈ no gain outside its interval") for one in gains)
    assert any(one.startswith("- **preference-main**, sampled: ✓ gain") for one in gains)
    assert any(one.startswith("- **sft-adder**, one by one: add/think greedy ✕ loss") for one in gains)
    table = [row for row in section(card_text, "## Evaluation").splitlines() if row.startswith("| ●")]
    assert [row.split(" | ")[1] for row in table] == ["convert", "sft-main", "preference-main", "sft-adder", "merge"]


def test_the_card_holds_lineage_data_recipe_cost_gates_and_limits(card_text: str) -> None:
    for text in (
        "| parameters | ", "4 x 128", "longest training sequence | 256 tokens", "| ● | merge | ",
        "| prose | train-stable, train-decay | embedded: pandas 3.1",
        "MIT (63), BSD", "| code | train-stable, train-decay | files | ", "not recorded",
        "items of the skill add, made by rule", "made here",
        "schedule.learning\\_rate 0.0015", "optimizer.kind adamw", "| merge: merge | waived (a demo) |", "process hours",
        "2 x EPYC", "torch 2.13.0",
        "### The merge panel", "linear: 0.5 preference-main + 0.5 sft-adder", "| bits per byte, prose (lower is better) | 2.050 | 2.300 |",
        "- add/no\\_think greedy: right in 0.060 [0.035", "4.0% of its answers reach the length limit", "No safety training was done",
        "Part of its training text has no recorded licence",
    ):  # fmt: skip
        assert text in card_text, text
    assert card_text.startswith("---\nlibrary_name: transformers") and card_text.count("\n---\n") == 1 and "\n\n\n" not in card_text


def test_text_from_data_brings_no_markup_into_the_card(card_text: str) -> None:
    assert HOSTILE not in card_text and "<script" not in card_text.replace("\\<script", "")
    rows = [line for line in card_text.splitlines() if "BSD" in line]
    assert rows and all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows), "a bar of a licence is no bar of the table"


def test_a_parent_that_won_unmerged_has_only_its_own_gains_inside(tmp_path: Path) -> None:
    manifests, folders = run(tmp_path)
    manifests["merge"]["evidence"]["made_of"] = ["preference-main"]
    card = card_of(RECIPE, manifests, folders, "merge")
    text = render_card(card, manifests)
    outside = [one for one in section(text, "### Where every gain came from").splitlines() if "not in the released model" in one]
    assert outside and all(one.startswith("- (not in the released model) **sft-adder**") for one in outside), "its own markup stays"


def test_a_line_without_post_training_gets_a_card_that_says_so(tmp_path: Path) -> None:
    manifests, _ = run(tmp_path)
    early = {
        stage: one for stage, one in manifests.items() if stage in ("source", "curate", "tokenize", "train-stable", "convert", "evaluate")
    }
    card = card_of(RECIPE | {"purpose": {"question": "?", "demonstration": True}}, early, {}, "convert")
    text = render_card(card, early)
    assert "No stage measured the skills" in text and "This is a demonstration" in text and "The merge panel" not in text
    assert gains_of(card, set()) == ["No step was measured beside its parent."] and any(
        "far too little text" in one for one in limits_of(card)
    )


def folder(place: Path) -> Path:
    place.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (place / name).write_text("{}")
    return place


def request(manifests: dict, **more: object) -> ReleaseRequest:  # type: ignore[type-arg]
    return ReleaseRequest.parse({"recipe": RECIPE, "manifests": manifests} | more)


def test_a_release_is_the_model_with_its_card(tmp_path: Path) -> None:
    manifests, folders = run(tmp_path / "line")
    (tmp_path / "out").mkdir()
    summary = release(request(manifests), {"model": folder(tmp_path / "model"), **folders}, tmp_path / "out", lambda *_: None)
    assert {one.name for one in (tmp_path / "out").iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "README.md",
        "card.md",
    }
    assert (tmp_path / "out" / "README.md").read_text() == (tmp_path / "out" / "card.md").read_text()
    assert summary.metrics == {"accuracy/greedy": 0.505, "accuracy/sampled": 0.4025} and summary.evidence["shaped"][-1] == "merge"


def test_what_cannot_be_released_is_refused_before_anything_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    manifests, _ = run(tmp_path / "line")
    (tmp_path / "out").mkdir()
    model = {"model": folder(tmp_path / "model")}
    with pytest.raises(ResourceError, match=r"convert_hf_to_gguf.py is not here"):
        release(request(manifests, formats=["safetensors", "gguf"]), model, tmp_path / "out", lambda *_: None)
    with pytest.raises(InputError, match="no manifest of 'sft-other'"):
        release(request(manifests, released="sft-other"), model, tmp_path / "out", lambda *_: None)
    with pytest.raises(InputError, match="no model to release"):
        release(request(manifests), {"model": tmp_path / "line"}, tmp_path / "out", lambda *_: None)
    assert not list((tmp_path / "out").iterdir())


CONVERTER = """
import pathlib, sys
model, out, kind = sys.argv[1], sys.argv[3], sys.argv[5]
if not (pathlib.Path(model) / "config.json").is_file():
    sys.exit("Model architecture not supported")
pathlib.Path(out).write_text(kind)
"""
"""Takes the arguments of llama.cpp's converter; the real one is no package."""


def test_gguf_is_written_by_the_converter_that_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    with pytest.raises(ResourceError, match="set LLAMA_CPP to its folder"):
        require_converter()
    (tmp_path / "convert_hf_to_gguf.py").write_text(CONVERTER)
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    assert require_converter() == tmp_path / "convert_hf_to_gguf.py"
    assert export_gguf(folder(tmp_path / "model"), tmp_path / "tiny.gguf", "f16").read_text() == "f16"
    for layers, fits in (([1, 0, 1, 0], False), ([1, 1, 1, 1], False), ([1, 1, 1, 0, 1], True)):
        (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": "smollm3", "no_rope_layers": layers}))
        with nullcontext() if fits else pytest.raises(ConfigError, match="does not say which layers lack rotary positions"):
            export_gguf(tmp_path / "model", tmp_path / "tiny.gguf")
    with pytest.raises(StageError, match="Model architecture not supported"):
        export_gguf(tmp_path / "nothing", tmp_path / "other.gguf")
    (tmp_path / "convert_hf_to_gguf.py").write_text("import time; time.sleep(60)")
    with pytest.raises(StageError, match="was not done after"):
        export_gguf(tmp_path / "model", tmp_path / "other.gguf", seconds=0.2)


ASKING = """
import pathlib, sys
class Base:
    def get_vocab_base_pre(self, tokenizer):
        if tokenizer == "a known one":
            return "smollm"
        raise NotImplementedError("BPE pre-tokenizer was not recognized")
class Model(Base):
    pass
def main():
    known, unknown = (Model().get_vocab_base_pre(one) for one in ("a known one", "a trained one"))
    pathlib.Path(sys.argv[3]).write_text(f"{known} {unknown}")
if __name__ == "__main__":
    main()
"""
"""Knows a tokenizer or raises, as llama.cpp's converter does."""


def test_a_trained_tokenizer_is_known_to_the_converter_by_its_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    converter, model = tmp_path / "convert_hf_to_gguf.py", folder(tmp_path / "model")
    converter.write_text(ASKING)
    for digits, name in (("single", "qwen2"), ("groups_of_three", "dbrx")):
        cut = [{"type": "Split", "pattern": {"Regex": split_pattern(digits)}}, {"type": "ByteLevel"}]
        (model / "tokenizer.json").write_text(json.dumps({"pre_tokenizer": {"type": "Sequence", "pretokenizers": cut}}))
        assert export_gguf(model, tmp_path / f"{digits}.gguf").read_text() == f"smollm {name}"
    for other in (
        {"type": "ByteLevel"},
        {"type": "Sequence", "pretokenizers": [*cut, {"type": "Punctuation"}]},
        None,
    ):  # cut otherwise: the converter must know it
        (model / "tokenizer.json").write_text(json.dumps({"pre_tokenizer": other}))
        with pytest.raises(StageError, match="pre-tokenizer was not recognized"):
            export_gguf(model, tmp_path / "other.gguf")
    (model / "tokenizer.json").write_text(json.dumps({"pre_tokenizer": {"type": "Sequence", "pretokenizers": cut}}))
    converter.write_text("def main(): pass")
    with pytest.raises(StageError, match="has get_vocab_base_pre"):
        export_gguf(model, tmp_path / "other.gguf")


def test_nothing_is_pushed_without_a_name_a_card_and_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    place = folder(tmp_path / "model")
    with pytest.raises(ConfigError, match="names no repository"):
        push_to_hub(place, "tiny")
    with pytest.raises(InputError, match=r"no README.md"):
        push_to_hub(place, "me/tiny")
    (place / "README.md").write_text("# tiny")
    with pytest.raises(ConfigError, match="HF_TOKEN"):
        push_to_hub(place, "me/tiny")
    monkeypatch.setenv("HF_TOKEN", "hf_not_a_token")
    with pytest.raises(ResourceError, match="the hub did not take me/tiny"):
        push_to_hub(place, "me/tiny", endpoint="http://127.0.0.1:9")
