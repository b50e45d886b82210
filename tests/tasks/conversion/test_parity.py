"""The gate passes the good export and refuses every damaged one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from contracts.errors import GateError
from tasks.conversion.config import ConversionConfig, ParityBounds
from tasks.conversion.judgement import parity_problems, required_checks
from tasks.conversion.parity import check
from tests.tasks.conversion.material import Exported, edit_json

WEIGHTS = "model.safetensors"


def tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        held = load_file(folder / WEIGHTS)
        held[name] = change(held[name]).contiguous()
        save_file(held, folder / WEIGHTS, metadata={"format": "pt"})

    return damage


def without(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        held = load_file(folder / WEIGHTS)
        del held[name]
        save_file(held, folder / WEIGHTS, metadata={"format": "pt"})

    return damage


def config(**changes: object) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "config.json", **changes)


def tokenizer_entry(folder: Path) -> None:
    held = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = held["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (folder / "tokenizer.json").write_text(json.dumps(held))


def swap_heads(weight: torch.Tensor) -> torch.Tensor:
    return torch.cat([weight[16:32], weight[:16], weight[32:]])


def one_entry(weight: torch.Tensor) -> torch.Tensor:
    changed = weight.clone()
    changed[0, 0] += 0.5
    return changed


LAYER = "model.layers.2"
DAMAGES: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "one weight": (tensor(f"{LAYER}.mlp.down_proj.weight", one_entry), {"largest logit difference", "KL divergence in nats"}),
    "one norm": (tensor(f"{LAYER}.input_layernorm.weight", torch.ones_like), {"largest logit difference", "KL divergence in nats"}),
    "two query heads swapped": (tensor(f"{LAYER}.self_attn.q_proj.weight", swap_heads), {"largest logit difference"}),
    "not a number": (tensor("model.norm.weight", lambda w: w * math.nan), {"largest logit difference", "KL divergence in nats"}),
    "one embedding row": (tensor("model.embed_tokens.weight", one_entry), {"embedding rows"}),
    "missing tensor": (without(f"{LAYER}.self_attn.k_proj.weight"), {"weights"}),
    "one NoPE layer": (config(no_rope_layers=[1, 1, 1, 1]), {"config.json", "largest logit difference"}),
    "RoPE base": (config(rope_parameters={"rope_type": "default", "rope_theta": 10000.0}), {"config.json", "largest logit difference"}),
    "key that no forward pass shows": (config(max_position_embeddings=4096), {"config.json"}),
    "foreign key": (config(quantization_config=None), {"config.json"}),
    "heads that cannot run": (config(num_key_value_heads=3), {"config.json", "weights"}),
    "end of text": (lambda folder: edit_json(folder / "generation_config.json", eos_token_id=7), {"generation_config.json"}),
    "tokenizer entry": (tokenizer_entry, {"tokenizer bytes"}),
    "tokenizer file": (lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}"), {"tokenizer bytes"}),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), {"tokenizer bytes"}),
    "no config": (lambda folder: (folder / "config.json").write_text("{"), {"config.json", "weights"}),
}


def test_faithful_export_passes_every_check(exported: Exported) -> None:
    parity = check(exported.folder, exported.reference, ConversionConfig().parity, 32)
    assert [c.said() for c in parity.failed] == []
    parity.require()
    values = {c.name: c.value for c in parity.checks}
    assert parity.tokens >= 1000 and values["greedy tokens equal"] == 32 and values["top-1 agreement"] == 1.0
    assert set(values) == required_checks(ConversionConfig())
    assert parity_problems({"parity": parity.model_dump(mode="json")}, ConversionConfig()) == []


def test_a_check_that_the_evidence_lacks_is_a_problem(exported: Exported) -> None:
    recorded = check(exported.folder, exported.reference, ConversionConfig().parity, 4).model_dump(mode="json")
    for absent in recorded["checks"]:
        rest = recorded | {"checks": [one for one in recorded["checks"] if one is not absent]}
        assert parity_problems({"parity": rest}, ConversionConfig()) == [f"{absent['name']}: was not compared"]
    assert len(parity_problems({"parity": recorded}, ConversionConfig(dtype="bfloat16"))) == 4
    assert len(parity_problems({}, ConversionConfig())) == len(required_checks(ConversionConfig()))


def test_what_was_no_number_passes_no_bound(exported: Exported) -> None:
    recorded = check(exported.folder, exported.reference, ConversionConfig().parity, 4).model_dump(mode="json")
    recorded["checks"] = [one | ({"value": None} if one["name"] == "KL divergence in nats" else {}) for one in recorded["checks"]]
    assert [said.split(":")[0] for said in parity_problems({"parity": recorded}, ConversionConfig())] == ["KL divergence in nats"]


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_export_is_refused_by_name(exported: Exported, tmp_path: Path, kind: str) -> None:
    damage, expected = DAMAGES[kind]
    folder = exported.copy(tmp_path / "model")
    damage(folder)
    parity = check(folder, exported.reference, ConversionConfig().parity, 8)
    failed = {c.name for c in parity.failed}
    assert expected <= failed
    with pytest.raises(GateError, match="not the trained one") as refused:
        parity.require("convert")
    assert "cannot be waived" in refused.value.do
    assert all(name in refused.value.what for name in expected)


def test_bounds_decide(exported: Exported, tmp_path: Path) -> None:
    folder = exported.copy(tmp_path / "model")
    tensor(f"{LAYER}.mlp.down_proj.weight", lambda w: w * 1.001)(folder)
    strict = check(folder, exported.reference, ConversionConfig().parity, 8)
    loose = ParityBounds(max_logit_difference=1.0, max_kl=0.1, min_top1_agreement=0.9, max_perplexity_difference=0.1)
    assert strict.failed and not check(folder, exported.reference, loose, 0).failed
