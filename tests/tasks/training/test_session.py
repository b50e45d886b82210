"""A phase from its spec to its part, on one rank: results, resuming, following phases, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contracts.errors import IntegrityError
from infra.job import InputRef
from tasks.training import load_model
from tasks.training.batches import heldout_windows
from tasks.training.stream import Shards
from tests.tasks.training.material import Bench, curve, phase

STEPS_OF_8 = {"tokens": 8 * 256}


def tampered(bench: Bench, key: str, part: str, name: str, change: Any) -> Path:
    """Change one file of a stored part behind the store's back."""
    folder = bench.root / "store" / "workspaces" / "train-stable" / key / "parts" / part
    (path,) = folder.rglob(name)
    change(path)
    return path


def test_a_phase_leaves_a_part_that_tells_everything(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = bench.spec(phase())
    result = bench.here(spec, monkeypatch)
    assert (result["exit"], result["part"]) == (0, "step-00000012")
    assert result["summary"]["counts"] == {"steps": 12, "tokens": 12 * 256, "parameters": 90432}
    assert result["summary"]["interventions"] == []
    assert bench.part_names(spec) == ["step-00000008", "step-00000012"], "the newest two are kept"
    part = bench.part(spec, "step-00000012")
    state = json.loads((part / "state.json").read_text())
    assert state["phase_tokens"] == {"a": 58 * 32, "b": 38 * 32}, "60 and 40 % of 96 sequences"
    assert state["step"] == 12 and state["seconds"].keys() >= {"productive", "checkpointing", "restarting", "evaluating", "waiting"}
    told = curve(part)
    assert list(told) == list(range(1, 13))
    assert all({"loss", "grad_norm", "learning_rate"} <= values.keys() for values in told.values())
    assert {"heldout_loss/a", "heldout_loss/b"} <= told[6].keys() and "heldout_loss/a" not in told[5]
    assert result["summary"]["metrics"]["heldout_loss/b"] == told[12]["heldout_loss/b"]
    assert json.loads((part / "model.json").read_text())["hidden_size"] == 64
    assert not [path for path in part.rglob("*") if path.is_file() and str(bench.root).encode() in path.read_bytes()], "a local path"
    progress = [json.loads(line) for line in (bench.root / "job" / "progress.jsonl").read_text().splitlines()]
    assert progress[-1]["done"] == progress[-1]["total"] == 12


def test_a_finished_phase_is_not_trained_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = bench.spec(phase())
    first = bench.here(spec, monkeypatch)
    again = bench.here(spec, monkeypatch, "elsewhere")
    assert again == first
    assert not (bench.root / "elsewhere" / "metrics.jsonl").exists()


def test_a_lengthened_phase_goes_on_bit_for_bit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bench.spec(phase(), key="whole")
    bench.here(whole, monkeypatch)
    short, longer = (bench.spec(phase(**change), key="grown") for change in (STEPS_OF_8, {}))
    bench.here(short, monkeypatch, "one")
    result = bench.here(longer, monkeypatch, "two")
    assert result["summary"]["interventions"] == [], "growing is no incident"
    grown = curve(bench.part(longer, "step-00000012"))
    expected = curve(bench.part(whole, "step-00000012"))
    assert [{k: v[k] for k in ("loss", "grad_norm")} for v in grown.values()] == [
        {k: v[k] for k in ("loss", "grad_norm")} for v in expected.values()
    ]
    assert [len(leg["layout"]) > 0 and (leg["first_step"], leg["last_step"]) for leg in result["summary"]["layouts"]] == [(1, 8), (9, 12)]


def test_bfloat16_goes_on_bit_for_bit_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    half = {"precision": {"dtype": "bfloat16"}}
    whole, short, longer = (
        bench.spec(phase(**half, **change), key=key) for key, change in (("whole", {}), ("grown", STEPS_OF_8), ("grown", {}))
    )
    for spec, folder in ((whole, "whole"), (short, "one"), (longer, "two")):
        assert bench.here(spec, monkeypatch, folder)["exit"] == 0
    grown, expected = (curve(bench.part(spec, "step-00000012")) for spec in (longer, whole))
    assert [grown[step]["loss"] for step in range(1, 13)] == [expected[step]["loss"] for step in range(1, 13)]
    assert grown[12]["loss"] < grown[1]["loss"] - 0.2
    assert next(load_model(bench.part(longer, "step-00000012")).chunk.parameters()).dtype == torch.float32


def test_a_shortened_phase_does_not_take_a_later_checkpoint(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.here(bench.spec(phase()), monkeypatch)
    at_eight = bench.here(bench.spec(phase(**STEPS_OF_8)), monkeypatch)
    assert (at_eight["part"], at_eight["summary"]["counts"]["steps"]) == ("step-00000008", 8)
    at_six = bench.here(bench.spec(phase(tokens=6 * 256)), monkeypatch)
    assert at_six["part"] == "step-00000006"
    assert list(curve(bench.part(bench.spec(phase()), "step-00000006"))) == list(range(1, 7))


def followed(bench: Bench, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[Path, Path]:
    """Parts of a phase and of one that follows it."""
    first = bench.spec(phase(mixture={"a": 0.5, "c": 0.5}, schedule={"learning_rate": 1e-2}), key="first")
    bench.here(first, monkeypatch, "first")
    before = bench.part(first, "step-00000012")
    parent = bench.commit("train-stable", "parent", before)
    second = bench.spec(phase("decay", **changes), key="second", parent=parent)
    result = bench.here(second, monkeypatch, "second")
    assert result["exit"] == 0, result["reason"]
    return before, bench.part(second, result["part"])


def test_a_following_phase_takes_over_everything(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    decay = {"shape": "linear", "learning_rate": 3e-3}
    before, after = followed(bench, monkeypatch, schedule=decay, mixture={"a": 0.25, "b": 0.75})
    old, new = (json.loads((part / "state.json").read_text()) for part in (before, after))
    assert new["step"] == 12 and new["phase_tokens"] == {"a": 24 * 32, "b": 72 * 32}
    assert new["places"]["a"]["window"] == old["places"]["a"]["window"] + 24, "source a goes on where it stopped"
    assert new["places"]["c"] == old["places"]["c"], "a source that rests keeps its place for a later phase"
    assert new["total_tokens"] == {"a": 72 * 32, "b": 72 * 32, "c": 48 * 32}
    told, earlier = curve(after), curve(before)
    assert told[1]["learning_rate"] == 3e-3 and told[12]["learning_rate"] == pytest.approx(3e-3 / 12)
    assert told[1]["loss"] < earlier[1]["loss"] - 0.1, "it begins with trained weights"


def test_a_following_phase_may_have_another_length_and_base(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = followed(bench, monkeypatch, sequence_length=64, global_batch_size=4, mixture={"a": 1.0}, rope_theta=5e5)
    old, new = (json.loads((part / "state.json").read_text())["places"]["a"] for part in (before, after))
    assert old["sequence_length"] == 32 and new["sequence_length"] == 64
    assert new["window"] == -(-old["window"] * 32 // 64) + 48 - new["epoch"] * ((new["tokens"] - 1) // 64)
    assert load_model(after).model.rope_theta == 5e5


def test_optimizer_state_is_taken_over_unless_reset(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    _, kept = followed(bench, monkeypatch)
    parent = InputRef(stage="train-stable", fingerprint="parent")
    reset = bench.spec(phase("decay", reset_optimizer=True), key="reset", parent=parent)
    bench.here(reset, monkeypatch, "reset")
    one, other = curve(kept), curve(bench.part(reset, "step-00000012"))
    assert one[1]["loss"] == other[1]["loss"], "the weights are the same"
    assert one[2]["loss"] != other[2]["loss"], "the first update is not"


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_both_optimizers_learn(bench: Bench, monkeypatch: pytest.MonkeyPatch, optimizer: str) -> None:
    spec = bench.spec(phase(), optimizer=optimizer)
    bench.here(spec, monkeypatch)
    told = curve(bench.part(spec, "step-00000012"))
    assert told[12]["loss"] < told[1]["loss"] - 0.2
    assert told[12]["heldout_loss/a"] < told[6]["heldout_loss/a"]


def test_a_corrupted_shard_falls_back_to_the_checkpoint_before(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bench.spec(phase(), key="whole")
    bench.here(whole, monkeypatch)
    short = bench.spec(phase(**STEPS_OF_8), key="hurt")
    bench.here(short, monkeypatch, "one")

    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(data)

    tampered(bench, "hurt", "step-00000008", "__0_0.distcp", flip)
    longer = bench.spec(phase(), key="hurt")
    result = bench.here(longer, monkeypatch, "two")
    assert result["exit"] == 0
    assert any("step-00000008" in said and "went on from step 4" in said for said in result["summary"]["interventions"])
    assert curve(bench.part(longer, "step-00000012")) == curve(bench.part(whole, "step-00000012"))


def test_a_missing_shard_of_the_only_checkpoint_begins_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    once = {"tokens": 4 * 256}
    bench.here(bench.spec(phase(**once)), monkeypatch, "one")
    tampered(bench, "w", "step-00000004", "common.pt", Path.unlink)
    result = bench.here(bench.spec(phase(**once)), monkeypatch, "two")
    assert result["exit"] == 0 and result["part"] == "step-00000004"
    assert any("step-00000004" in said and "began again" in said for said in result["summary"]["interventions"])


def test_a_loss_that_is_no_number_needs_a_person(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    wild = {"schedule": {"learning_rate": 1e30}, "checkpoint_every": 1}
    spec = bench.spec(phase(**wild))
    result = bench.here(spec, monkeypatch)
    assert (result["exit"], result["code"]) == (76, "diverged")
    assert "learning_rate" in result["reason"] and "step" in result["reason"]
    (incident,) = [name for name in bench.part_names(spec) if name.startswith("incident-")]
    told = json.loads((bench.part(spec, incident) / "incident.json").read_text())
    assert told["evidence"]["learning_rate"] == 1e30
    again = bench.here(spec, monkeypatch)
    assert again["exit"] == 76, "starting it again ends the same way"


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"mixture": {"a": 0.5, "d": 0.5}}, "input", "asks for 'd'"),
        ({"layout": {"micro_batch_size": 3}}, "config", "no multiple of micro_batch_size"),
        ({"layout": {"tensor_parallel_size": 3, "micro_batch_size": 2}}, "config", "num_attention_heads 4 cannot be split"),
        ({"layout": {"data_parallel_size": 2, "micro_batch_size": 2}}, "config", "needs 2 processes"),
        ({"precision": {"dtype": "bfloat16", "fp8": "hybrid"}}, "config", "fp8 needs a GPU"),
    ],
)
def test_bad_jobs_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], code: str, said: str) -> None:
    result = bench.here(bench.spec(phase(**change)), monkeypatch)
    assert result["code"] == code and said in result["reason"]
    assert result["exit"] in (1, 76)
    assert bench.part_names(bench.spec(phase())) == []


def test_muon_refuses_what_would_split_its_matrices(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = bench.spec(phase(layout={"tensor_parallel_size": 2, "micro_batch_size": 2}), optimizer="muon")
    assert "it needs tensor_parallel_size 1" in bench.here(spec, monkeypatch)["reason"]


def test_another_vocabulary_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "vocabulary of 256, the model has 384" in bench.here(bench.spec(phase(), vocab_size=384), monkeypatch)["reason"]


def test_a_truncated_bin_stops_the_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.tasks.training.material import write_shards

    folder = bench.root / "cut"
    folder.mkdir()
    write_shards(folder, {"a": 20, "b": 20})
    (folder / "b.bin").write_bytes((folder / "b.bin").read_bytes()[:-2])
    spec = bench.spec(phase())
    cut = spec.model_copy(update={"inputs": {"tokenize": bench.commit("tokenize", "cut", folder)}})
    result = bench.here(cut, monkeypatch)
    assert result["code"] == "input" and "cut short" in result["reason"] and "b.bin" in result["reason"]


def test_a_missing_input_names_the_stage_to_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = bench.spec(phase("decay"), parent=InputRef(stage="train-stable", fingerprint="nowhere"))
    result = bench.here(spec, monkeypatch)
    assert result["code"] == "artifact-missing" and "train-stable" in result["reason"]


def test_the_loaded_model_is_the_trained_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    one = phase()
    spec = bench.spec(one, document_masking=False)
    bench.here(spec, monkeypatch)
    part = bench.part(spec, "step-00000012")
    trained = load_model(part)
    assert (trained.step, trained.phase.name, trained.model.hidden_size) == (12, "stable", 64)
    windows = heldout_windows(Shards.open(bench.root / "shards"), "a", 32, 4)
    assert windows is not None
    tokens, labels = torch.from_numpy(windows[:, :-1].copy()), torch.from_numpy(windows[:, 1:].copy())
    with torch.inference_mode():
        logits = trained.chunk(tokens, torch.arange(32).repeat(len(tokens), 1), None).float()
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert float(loss) == pytest.approx(curve(part)[12]["heldout_loss/a"], abs=1e-5)
    assert np.isfinite(float(loss))


def test_a_folder_that_is_no_artifact_is_refused(tmp_path: Path) -> None:
    from contracts.errors import InputError

    with pytest.raises(InputError, match="no training artifact"):
        load_model(tmp_path)


def test_a_committed_checkpoint_is_never_dropped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    short, longer = bench.spec(phase(tokens=4 * 256)), bench.spec(phase())
    bench.here(short, monkeypatch)
    with bench.store.begin("train-stable", "w") as workspace:
        workspace.commit("short", [part for part in workspace.parts() if part.name == "step-00000004"])
    bench.here(longer, monkeypatch)
    assert bench.part_names(longer) == ["step-00000004", "step-00000008", "step-00000012"]
    bench.store.require("train-stable", "short")


def test_a_forged_checkpoint_is_not_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.tasks.training.test_safe_load import Hostile, plant_common

    bench.here(bench.spec(phase(**STEPS_OF_8)), monkeypatch)
    part = bench.part(bench.spec(phase()), "step-00000008")
    marker = bench.root / "was-run"
    plant_common(part / "checkpoint", Hostile(str(marker)))
    with pytest.raises(IntegrityError, match="was not run"):
        load_model(part)
    assert not marker.exists()
