"""One attempt after another at a TRL stage: stopped, killed, damaged, and always the weights of a run that nobody touched."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import ConfigError, IntegrityError
from infra.job import JobSpec
from tasks.posttraining.checkpoints import Ledger, choose, problems, require_complete
from tasks.posttraining.precision import Precision
from tests.tasks.posttraining.lab import Lab, distillation_step, preference_step, request_of, sft_step, weights

COMPLETE = {
    "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "ledger.json", "metrics.jsonl",
}  # fmt: skip


def told(folder: Path) -> list[tuple[int, float, float]]:
    """(step, loss, tokens so far) of every line."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(step, values["loss"], values["num_tokens"]) for step, _, values in lines if "loss" in values]


def whole(lab: Lab, step: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The result of a run that nobody touched."""
    spec = lab.spec(request_of(step), key="whole")
    assert lab.here(spec, monkeypatch, "whole")["exit"] == 0
    return lab.part(spec)


def assert_same(lab: Lab, spec: JobSpec, expected: Path) -> None:
    made = lab.part(spec)
    assert weights(made) == weights(expected), "bit for bit"
    assert told(made) == told(expected), "each step once, tokens counted through"


def stopped_at(lab: Lab, spec: JobSpec, step: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run in this process and be sent SIGTERM as soon as `step` is told of."""
    path = lab.root / "job" / "metrics.jsonl"

    def watch() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (path.exists() and path.read_bytes().count(b"\n") >= step):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGTERM)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    result = lab.here(spec, monkeypatch)
    watcher.join()
    return result


@pytest.mark.parametrize("kind", ["sft", "preference"])
def test_sigterm_saves_and_the_next_attempt_goes_on(lab: Lab, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    placement = {"checkpoint_every": 1000}
    step: Any = sft_step(epochs=5, placement=placement | {"micro_batch_size": 8}) if kind == "sft" else None
    step = step or preference_step(epochs=5, placement=placement | {"micro_batch_size": 4})
    expected = whole(lab, step, monkeypatch)
    spec = lab.spec(request_of(step))
    result = stopped_at(lab, spec, 5, monkeypatch)
    assert (result["exit"], result["code"]) == (75, "stopped"), result["reason"]
    (saved,) = lab.part_names(spec)
    assert 5 <= int(saved.removeprefix("step-")) < 30 and str(int(saved.removeprefix("step-"))) in result["reason"]
    again = lab.here(spec, monkeypatch)
    assert again["exit"] == 0, again["reason"]
    assert_same(lab, spec, expected)
    assert again["summary"]["evidence"]["ledger"]["attempts"] == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["sft", "preference", "distillation"])
def test_sigkill_anywhere_and_the_same_weights(
    lab: Lab, teacher: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None, kind: str
) -> None:
    if kind == "distillation":
        lab.taught(teacher)
    step: Any = distillation_step(steps=40, max_answer_tokens=6) if kind == "distillation" else None
    step = step or (sft_step(epochs=16) if kind == "sft" else preference_step(epochs=16))
    expected = whole(lab, step, monkeypatch)
    steps = told(expected)[-1][0]
    spec = lab.spec(request_of(step))
    reached = 0
    for further in (6, 16):  # in the middle of steps, with the parts before them in the store or on their way
        job, reached = lab.start(spec), reached + further
        try:
            assert job.until(lambda job=job, reached=reached: job.step() >= reached, 240), job.log()[-3000:]
        finally:
            job.kill()
        assert not (job.folder / "result.json").exists() and job.step() < steps, "killed too late"
        reached = job.step()  # what a killed attempt told is there until the next one begins
    assert lab.part_names(spec), "nothing to go on from"
    result = lab.start(spec).wait(240)
    assert result["exit"] == 0, result["reason"]
    assert_same(lab, spec, expected)
    assert result["summary"]["evidence"]["ledger"]["attempts"] > 1


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_ranks_learn_what_one_does(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, both = (sft_step(placement={"micro_batch_size": size, "checkpoint_every": 4}) for size in (8, 4))
    expected = told(whole(lab, alone, monkeypatch))
    spec = lab.spec(request_of(both), processes=2)
    job = lab.start(spec)
    result = job.wait(240)
    assert result["exit"] == 0, result["reason"] + job.log()[-3000:]
    made = told(lab.part(spec))
    assert [(step, tokens) for step, _, tokens in made] == [(step, tokens) for step, _, tokens in expected]
    assert [loss for _, loss, _ in made] == pytest.approx([loss for _, loss, _ in expected], rel=1e-3)


def cut_after(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> tuple[JobSpec, Path]:
    """A stage whose parts are those of its first steps, as if it had been killed after them; and what it ends with."""
    spec = lab.spec(request_of(sft_step()))
    assert lab.here(spec, monkeypatch)["exit"] == 0
    expected = lab.part(spec).rename(lab.root / "expected")
    with lab.store.begin(spec.stage, spec.workspace_key) as workspace:
        for part in workspace.parts():
            if part.name == "result":
                workspace.drop(part)
    return spec, expected


def stored(lab: Lab, spec: JobSpec, part: str, name: str) -> Path:
    folder = lab.root / "store" / "workspaces" / spec.stage / spec.workspace_key / "parts" / part
    (path,) = folder.rglob(name)
    return path


def test_the_newest_checkpoints_are_kept_and_gone_on_from(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, expected = cut_after(lab, monkeypatch)
    assert lab.part_names(spec) == ["step-00000004", "step-00000008"]
    assert lab.here(spec, monkeypatch)["exit"] == 0
    assert_same(lab, spec, expected)


def test_a_damaged_checkpoint_is_skipped_and_said(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, expected = cut_after(lab, monkeypatch)
    path = stored(lab, spec, "step-00000008", "optimizer.pt")
    path.write_bytes(path.read_bytes()[:-7])
    result = lab.here(spec, monkeypatch)
    assert result["exit"] == 0
    assert any("step-00000008" in said and "step-00000004" in said for said in result["summary"]["interventions"])
    assert_same(lab, spec, expected)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"])
def test_a_checkpoint_that_lacks_a_state_is_refused(lab: Lab, tmp_path: Path, name: str) -> None:
    for path in COMPLETE - {name}:
        (tmp_path / path).write_text("x")
    with pytest.raises(IntegrityError, match=name):
        require_complete(tmp_path, "plain", 1)
    (tmp_path / name).write_text("x")
    require_complete(tmp_path, "plain", 1)


def test_a_sealed_part_that_lacks_a_state_is_never_gone_on_from(lab: Lab, tmp_path: Path) -> None:
    with lab.store.begin("sft-main", "w") as workspace:
        for step, names in ((4, COMPLETE), (8, COMPLETE - {"optimizer.pt"})):
            folder = tmp_path / str(step)
            folder.mkdir()
            for name in names:
                (folder / name).write_text("x")
            workspace.put(f"step-{step:08d}", folder, {"backend": "plain", "ranks": 1})
        part, skipped = choose(workspace)
    assert part is not None and part.name == "step-00000004"
    assert "refused: no optimizer (optimizer.pt)" in skipped[0]


def test_ranks_and_backends_have_their_own_files() -> None:
    assert problems(COMPLETE, "plain", 1) == []
    assert "rng_state_1.pth" in problems(COMPLETE | {"rng_state_0.pth"}, "plain", 2)[0]
    common = {"trainer_state.json", "rng_state.pth", "ledger.json", "metrics.jsonl"}
    assert problems(common | {"latest", "global_step8/zero_pp_rank_0_mp_rank_00_optim_states.pt"}, "deepspeed", 1) == []
    assert problems(common | {"scheduler.pt", "optimizer.bin", "pytorch_model_fsdp.bin"}, "fsdp", 1) == []
    assert problems(common | {"scheduler.pt", "pytorch_model_fsdp.bin"}, "fsdp", 1) == ["no optimizer (optimizer.bin or optimizer_0/)"]


def test_a_finished_stage_is_not_trained_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = lab.spec(request_of(sft_step(epochs=1)))
    first = lab.here(spec, monkeypatch)
    stored(lab, spec, "result", "metrics.jsonl")
    assert lab.here(spec, monkeypatch)["summary"] == first["summary"]


def test_what_is_wrong_is_said_in_the_result(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = lab.spec(request_of(sft_step())).model_copy(update={"config": {"step": {"sourcs": []}}})
    result = lab.here(bad, monkeypatch)
    assert (result["exit"], result["code"]) == (76, "config") and "did you mean 'sources'" in result["reason"]
    uneven = lab.spec(request_of(sft_step(placement={"micro_batch_size": 3})), key="uneven")
    assert "is no multiple of 3 sequences" in lab.here(uneven, monkeypatch)["reason"]


def test_a_stage_that_is_none_is_refused(lab: Lab) -> None:
    from tasks.posttraining.worker import main

    with pytest.raises(ConfigError, match="no stage of post-training is called 'bake'"):
        main(lab.spec(request_of(sft_step())).model_copy(update={"stage": "bake-main"}))


def test_a_diverged_model_is_no_result(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    wild = sft_step(schedule={"learning_rate": 1e30, "warmup_ratio": 0.0}, epochs=1)
    result = lab.here(lab.spec(request_of(wild)), monkeypatch)
    assert result["exit"] == 76 and "diverged" in result["reason"]
    assert "result" not in lab.part_names(lab.spec(request_of(wild)))


def test_low_precision_weights_are_refused_as_masters(lab: Lab) -> None:
    trainer = lab.prepared(request_of(sft_step())).trainer
    Precision.of(trainer, "plain").require_masters()
    trainer.model.bfloat16()
    with pytest.raises(ConfigError, match="no float32 master weights: the weights are bfloat16"):
        Precision.of(trainer, "plain").require_masters()
    Precision.of(trainer, "deepspeed").require_masters()


def test_a_change_of_precision_is_said_and_one_of_backend_refused() -> None:
    cpu = Precision(backend="plain", weights="float32", compute="float32", optimizer="float32")
    gpu = cpu.model_copy(update={"compute": "bfloat16"})
    assert gpu.changed_since(cpu) == "computes in bfloat16 after float32; master weights are float32 in both"
    assert cpu.changed_since(cpu) == ""
    with pytest.raises(ConfigError, match="written under plain, this attempt runs under fsdp"):
        gpu.model_copy(update={"backend": "fsdp"}).changed_since(cpu)
    assert gpu.model_copy(update={"optimizer": "bfloat16"}).problems == ["the moments of the optimizer are bfloat16"]


def test_a_ledger_outlives_its_file_format() -> None:
    ledger = Ledger(
        step=3, tokens=70, seconds={"training": 1.5}, precision=Precision(backend="plain", weights="float32", compute="float32")
    )
    assert Ledger.model_validate_json(ledger.model_dump_json()) == ledger
