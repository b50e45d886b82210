"""The integrity gate: what mergekit lets pass without a word, planted; and models that are strangers to each other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import GateError, InputError, StageError
from tasks.conversion import model_in
from tasks.merging.anatomy import Anatomy, dissect, own_problems
from tasks.merging.config import Candidate, MergingConfig
from tasks.merging.integrity import merged_problems, require_parents
from tasks.merging.merge import merge
from tests.tasks.merging.material import Tensors, configured, edited, tokenizer, write_model

LINEAR = Candidate.parse({"name": "m", "inputs": [{"stage": "a", "weight": 0.5}, {"stage": "b", "weight": 0.5}]})
CONFIG = MergingConfig.parse({"candidates": [LINEAR.model_dump()], "output_dtype": "float32"})


def unchecked(document: dict[str, Any], out: Path, donor: Path) -> Anatomy:
    """What mergekit makes of a document when nobody looks, with the donor's settings where it leaves none."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    run_merge(MergeConfiguration.model_validate(document), str(out), MergeOptions(quiet=True, write_model_card=False))
    for name in ("tokenizer.json", "generation_config.json", "chat_template.jinja"):
        shutil.copyfile(donor / name, out / name)
    return dissect(out)


def half(folder: Path) -> dict[str, Any]:
    return {"model": {"model": {"path": str(folder)}}, "parameters": {"weight": 0.5}}


def pair(one: Path, other: Path) -> dict[str, Anatomy]:
    return {"a": dissect(one), "b": dissect(other)}


def test_a_nan_in_a_parent_is_found_before_and_after(family: dict[str, Path], tmp_path: Path) -> None:
    def plant(held: Tensors) -> None:
        held["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")

    bad = edited(family["sft-b"], tmp_path / "nan", plant)
    with pytest.raises(GateError, match=r"b: model.layers.1.mlp.up_proj.weight hold values that are not finite"):
        require_parents(pair(family["sft-a"], bad))
    with pytest.raises(StageError, match="not finite"):  # and if it had come that far: mergekit itself says nothing
        merge(LINEAR, pair(family["sft-a"], bad), CONFIG, tmp_path / "merged")


def test_a_tensor_that_a_parent_lacks_is_found(family: dict[str, Path], tmp_path: Path) -> None:
    bad = edited(family["sft-b"], tmp_path / "less", lambda held: held.pop("model.layers.1.self_attn.q_proj.weight"))
    with pytest.raises(GateError, match=r"b: model.layers.1.self_attn.q_proj.weight: missing; b beside a: another set of tensors"):
        require_parents(pair(family["sft-a"], bad))
    document = {"merge_method": "linear", "dtype": "float32", "models": [half(family["sft-a"]), half(bad)]}
    assert unchecked(document, tmp_path / "merged", family["sft-a"]).shapes  # mergekit passes over it


def test_tied_and_untied_parents_are_found_before_and_after(family: dict[str, Path], tmp_path: Path) -> None:
    untied = write_model(tmp_path / "untied", 5, tied=False)
    with pytest.raises(GateError, match=r"another architecture \(tie_word_embeddings False, not True\).*another set of tensors \(lm_head"):
        require_parents(pair(family["sft-a"], untied))
    with pytest.raises(StageError, match="ties the embeddings, yet there is an output embedding"):
        merge(LINEAR, pair(family["sft-a"], untied), CONFIG, tmp_path / "merged")


def test_layers_that_the_config_does_not_count_are_found(family: dict[str, Path], tmp_path: Path) -> None:
    sources = [{"model": {"model": {"path": str(family[name])}}, "layer_range": [0, 2]} for name in ("sft-a", "sft-b")]
    stacked = {"merge_method": "passthrough", "dtype": "float32", "slices": [{"sources": [one]} for one in sources]}
    merged = unchecked(stacked, tmp_path / "merged", family["sft-a"])
    merged = dissect(configured(merged.folder, tmp_path / "uncounted", num_hidden_layers=2))  # as mergekit 0.1.5 leaves SmolLM3's config
    problems = merged_problems(merged, dissect(family["sft-a"]), "float32")
    assert "config.json says 2 layers, the weights make up 4" in problems and any("left over" in one for one in problems)


def test_other_architectures_and_vocabularies_are_refused_before_any_compute(family: dict[str, Path], tmp_path: Path) -> None:
    wider = write_model(tmp_path / "wider", 6, intermediate_size=96)
    with pytest.raises(GateError, match=r"another architecture \(intermediate_size 96, not 64\).*another shape of"):
        require_parents(pair(family["sft-a"], wider))
    words = tokenizer()
    words.add_tokens(["<tool>"])
    other = shutil.copytree(family["sft-b"], tmp_path / "other")
    words.save_pretrained(other)
    with pytest.raises(GateError, match="another vocabulary"):
        require_parents(pair(family["sft-a"], other))


def test_what_tools_rewrite_in_a_tokenizer_file_makes_no_stranger(family: dict[str, Path], tmp_path: Path) -> None:
    padded = shutil.copytree(family["sft-b"], tmp_path / "padded")
    words = tokenizer()
    words.backend_tokenizer.enable_padding(length=8)
    words.backend_tokenizer.save(str(padded / "tokenizer.json"))
    require_parents(pair(family["sft-a"], padded))
    require_parents(pair(family["sft-a"], configured(family["sft-b"], tmp_path / "ends", eos_token_id=0, dtype="bfloat16")))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("chat_template.jinja", "{{ messages }}", "another chat template"),
        ("chat_template.jinja", None, "another chat template, or none"),
        ("tokenizer.json", None, "there is no tokenizer.json"),
        ("generation_config.json", "{}", "names no token that ends an answer"),
        ("generation_config.json", '{"eos_token_id": 0}', "generation_config.json is another one"),
    ],
)
def test_a_merge_with_other_settings_than_its_donor_is_damaged(
    name: str, text: str | None, said: str, family: dict[str, Path], tmp_path: Path
) -> None:
    donor, merged = family["sft-a"], shutil.copytree(family["sft-a"], tmp_path / "merged")
    assert merged_problems(dissect(merged), dissect(donor), "float32") == []
    (merged / name).unlink() if text is None else (merged / name).write_text(text)
    assert any(said in one for one in merged_problems(dissect(merged), dissect(donor), "float32"))


def test_a_merge_in_another_precision_is_damaged(family: dict[str, Path]) -> None:
    donor = dissect(family["sft-a"])
    problems = merged_problems(donor, donor, "bfloat16")
    assert (
        "its tensors are F32, bfloat16 was asked for" in problems
        and "config.json says precision 'float32', bfloat16 was asked for" in problems
    )


def test_a_folder_that_is_no_model_is_refused_with_its_name(family: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config.json is missing .*nowhere"):
        dissect(tmp_path / "nowhere")
    cut = shutil.copytree(family["sft-a"], tmp_path / "cut")
    data = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="the weights cannot be read"):
        dissect(cut)


def test_an_untied_model_needs_its_output_embedding_and_conversion_keeps_models_one_folder_deeper(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "artifact" / "model", 7, tied=False)
    assert model_in(tmp_path / "artifact") == whole == model_in(whole) and own_problems(dissect(whole)) == []
    half_of_it = edited(whole, tmp_path / "half", lambda held: held.pop("lm_head.weight"))
    assert own_problems(dissect(half_of_it)) == ["config.json unties the embeddings, and no output embedding (lm_head.weight) is there"]
    assert json.loads((half_of_it / "config.json").read_text())["tie_word_embeddings"] is False


def test_a_config_that_leaves_defaults_unsaid_is_no_other_architecture(family: dict[str, Path], tmp_path: Path) -> None:
    terse = configured(family["sft-b"], tmp_path / "terse", attention_bias=None, mlp_bias=None, hidden_act=None, rms_norm_eps=None)
    assert "attention_bias" not in json.loads((terse / "config.json").read_text())
    require_parents(pair(family["sft-a"], terse))
    with pytest.raises(InputError, match="none that transformers knows"):
        dissect(configured(family["sft-b"], tmp_path / "unknown", model_type="riddle"))
