"""Reinforcement: what it refuses, what it logs, and that a killed training ends with the same weights."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable, Sequence
from glob import iglob
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import ConfigError, InputError, ResourceError
from tasks.posttraining import Renderer
from tasks.posttraining.config import ReinforcementConfig
from tasks.posttraining.grpo_arguments import engine, generation, grpo
from tasks.posttraining.plug import Given, Prepared
from tasks.posttraining.prompts import Prompts, prompts_of
from tasks.posttraining.requests import ReinforcementRequest
from tasks.posttraining.rewards import registry
from tasks.posttraining.rewards.sampled import Sampled, Score
from tasks.posttraining.trl_arguments import Ground
from tests.tasks.posttraining.lab import TEMPLATE, Lab, sums, weights
from tests.tasks.posttraining.material import ask, say, system, write_lines

NEEDS = {"answer": "exact_answer"}
CPU = Ground("cpu")


def step(**changes: Any) -> ReinforcementConfig:
    """Eight steps of two prompts with four answers each.

    A random model never answers right: what it can learn from is the overlong penalty, since some of its answers end early.
    """
    base: dict[str, Any] = {
        "prompts": [{"name": "sums", "uri": "generated:add"}], "loss": "grpo", "group_size": 4, "global_batch_size": 8, "steps": 8,
        "max_answer_tokens": 40, "learning_rate": 1e-3, "warmup_steps": 0, "overlong": {"maximum": 40, "window": 39},
        "alarms": {"stop_below": 0.0}, "placement": {"micro_batch_size": 8, "checkpoint_every": 2},
    }  # fmt: skip
    return ReinforcementConfig.parse(base | changes, "step")


def questions(count: int) -> list[dict[str, Any]]:
    """Sums asked for, with their answers and without a reply."""
    return [{"messages": [row["messages"][1]], "answer": row["messages"][-1]["content"].split()[-1].rstrip(".")} for row in sums(count)]


def read(renderer: Renderer, folder: Path, rows: Sequence[Any], context: int = 256, needed: Any = NEEDS, **changes: Any) -> Prompts:
    """The prompts of these rows."""
    (folder / "reinforcement-main").mkdir(exist_ok=True)
    write_lines(folder / "reinforcement-main" / "sums.jsonl", rows)
    return prompts_of(step(**changes), renderer, folder, needed, context)


def request(one: ReinforcementConfig) -> ReinforcementRequest:
    """The step as the stage is given it."""
    return ReinforcementRequest(template=TEMPLATE, step=one)


def prepared(lab: Lab, one: ReinforcementConfig) -> Prepared:
    """The stage made ready in this process."""
    from tasks.posttraining.reinforcement import prepare

    return prepare(Given(request(one), {"model": lab.model, **lab.inputs}, lab.root / "work", CPU))


@pytest.fixture
def ready(lab: Lab) -> Lab:
    """A lab with twelve prompts: an epoch is six steps."""
    lab.chat("reinforcement-main", sums=questions(12))
    return lab


def plant(monkeypatch: pytest.MonkeyPatch, score: Score) -> None:
    """A reward of our own, known as `planted`."""
    monkeypatch.setitem(registry.REWARDS, "planted", registry.Reward(lambda step: score, verifies=True))


# --- prompts


def test_the_mode_stands_in_the_system_message(renderer: Renderer, tmp_path: Path) -> None:
    """Beside what the row says there; GRPO has no template arguments by row."""
    rows = [{"messages": [system("Be brief. /think"), ask("1+1?")], "answer": "2"}, *questions(3)]
    found = read(renderer, tmp_path, rows, mode="no_think")
    assert found.train[0].row["prompt"][0] == {"role": "system", "content": "Be brief.\n/no_think"}
    assert found.train[1].row["prompt"][0] == {"role": "system", "content": "/no_think"}
    assert all("Reasoning Mode: /no_think" in renderer.text(one.sample, prompt=True) for one in found.train)


def test_a_correct_reply_gives_the_answer_and_its_length(renderer: Renderer, tmp_path: Path) -> None:
    """Where the data brings one: its tokens, the end of turn included, hold against the overlong penalty."""
    found = read(renderer, tmp_path, sums(4, mode="think"), mode="think")
    assert [one.columns["answer"] for one in found.train] == [row["messages"][-1]["content"].split()[-1][:-1] for row in sums(4)]
    assert found.longest_correct == max(
        len(renderer.encode(row["messages"][-1]["content"] + "<|im_end|>")) for row in sums(4, mode="think")
    )


def test_some_questions_are_kept_back_and_never_trained_on(renderer: Renderer, tmp_path: Path) -> None:
    """A question that is asked twice lies on one side; the choice does not depend on the order."""
    rows = [{"messages": [ask(f"{n}+1?")], "answer": str(n + 1)} for n in range(200)]
    found = read(renderer, tmp_path, rows + rows)
    kept = {one.columns["answer"] for one in found.heldout}
    assert (len(found.heldout), len(found.train)) == (20, 360)
    assert not kept & {one.columns["answer"] for one in found.train}
    assert kept == {one.columns["answer"] for one in read(renderer, tmp_path, rows[::-1]).heldout}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "is empty"),
        ([{"prompt": "x"}], "no column 'messages'"),
        ([*questions(3), {"messages": [ask("47+85?")]}], "1 of 4 prompts bring no 'answer'"),
        ([{"messages": [ask("47+85? /think")], "answer": "132"}], "switches to /think"),
        ([{"messages": [ask("?")], "answer": "1", "tools": [{"name": "add"}]}], "tools"),
        ([{"messages": [ask("?")], "answer": "1", "chat_template_kwargs": {"custom_instructions": "x"}}], "custom_instructions"),
        ([{"messages": [system("only")], "answer": "1"}], "does not end with a question"),
        ([{"messages": [say("hello")], "answer": "1"}], "at least one message"),
        (questions(1), "1 prompts for steps of 2"),
        ([*questions(3), {"messages": [ask("very long " * 300)], "answer": "1"}], "1 prompts leave no room for 40 tokens"),
    ],
)
def test_prompts_that_cannot_be_used_are_refused(renderer: Renderer, tmp_path: Path, rows: list[Any], said: str) -> None:
    """Before anything is trained, with the place."""
    with pytest.raises(InputError, match=said):
        read(renderer, tmp_path, rows)


# --- arguments


def arguments(one: ReinforcementConfig, ground: Ground = CPU) -> dict[str, Any]:
    """Arguments of `trl.GRPOConfig`."""
    return grpo(one, ground, Path("work"), [1.0, 1.0], context=4096, heldout=64)


def test_losses_are_told_as_their_papers_have_them() -> None:
    """DAPO leaves cut answers out and clips higher above; Dr. GRPO divides by nothing."""
    dapo, dr_grpo = arguments(step(loss="dapo")), arguments(step(loss="dr_grpo"))
    assert (dapo["loss_type"], dapo["mask_truncated_completions"], dapo["scale_rewards"]) == ("dapo", True, "group")
    assert (dapo["epsilon"], dapo["epsilon_high"]) == (0.2, 0.28)
    assert (dr_grpo["loss_type"], dr_grpo["mask_truncated_completions"], dr_grpo["scale_rewards"]) == ("dr_grpo", False, "none")


def test_a_save_interval_that_cuts_a_rollout_is_refused() -> None:
    """Answers are not saved: a resume between two updates on them would go elsewhere."""
    arguments(step(iterations=2, placement={"micro_batch_size": 8, "checkpoint_every": 4}))
    with pytest.raises(ConfigError, match=r"checkpoint_every 3 is no multiple of 2.*\n.*take 2"):
        arguments(step(iterations=2, placement={"micro_batch_size": 8, "checkpoint_every": 3}))


def test_the_same_step_on_gpus() -> None:
    """bfloat16, the model spread, micro batches added up over the ranks; held-out prompts in few rounds."""
    many = step(global_batch_size=512, group_size=8, placement={"micro_batch_size": 4, "sharding": "zero3", "gradient_checkpointing": True})
    told = arguments(many, Ground("cuda", 16, deepspeed=True))
    assert (told["bf16"], told["use_cpu"], told["activation_checkpointing"]) == (True, False, True)
    assert told["gradient_accumulation_steps"] == 8
    assert told["deepspeed"]["zero_optimization"]["stage"] == 3
    assert (told["num_generations_eval"], told["per_device_eval_batch_size"]) == (1, 4)
    assert arguments(many, Ground("cuda", 16))["fsdp_config"]["reshard_after_forward"] is True


def test_vllm_writes_the_answers_where_there_is_one() -> None:
    """Beside the trainer, or as a server; never on a CPU."""
    gpu = Ground("cuda", 8)
    assert engine(step(), Ground("cpu"), vllm=True) == "plain"
    assert engine(step(), gpu, vllm=False) == "plain"
    told = generation(step(placement={"generation_memory": 0.4}), gpu, 4096, vllm=True)
    assert told == {
        "use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.4, "vllm_max_model_length": 4096,
        "vllm_enable_sleep_mode": True,
    }  # fmt: skip
    served = step(placement={"generation": "server", "generation_url": "http://gpu-9:8000"})
    assert generation(served, gpu, 4096, vllm=True)["vllm_server_base_url"] == "http://gpu-9:8000"
    with pytest.raises(ConfigError, match="without its URL"):
        generation(step(placement={"generation": "server"}), gpu, 4096, vllm=True)
    for ground, vllm, said in ((Ground("cpu"), True, "needs a CUDA device"), (gpu, False, "not installed")):
        with pytest.raises(ResourceError, match=said):
            generation(step(placement={"generation": "vllm"}), ground, 4096, vllm=vllm)


def test_trl_knows_every_argument() -> None:
    """TRL drops arguments between releases."""
    from trl import GRPOConfig

    for loss in ("grpo", "dapo", "dr_grpo"):
        assert GRPOConfig(**arguments(step(loss=loss))).loss_type == loss


def test_an_overlong_penalty_that_punishes_a_correct_reply_is_refused(lab: Lab) -> None:
    """Known from the replies that the prompts bring."""
    lab.chat("reinforcement-main", sums=sums(12, mode="think"))
    with pytest.raises(ConfigError, match="a correct answer to these prompts has"):
        prepared(lab, step(mode="think"))


def test_a_penalty_that_cannot_be_held_against_correct_replies_is_said_to_be_unchecked(
    ready: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Answers alone do not say how long a whole reply is."""
    made = prepared(ready, step())
    (note,) = made.notes
    assert "begins after 1 tokens" in note and "not known: none of 12 prompts brings a correct reply" in note
    assert f"reinforcement-main: {note}" in capsys.readouterr().err
    assert made.evidence["longest_correct"] is None and made.evidence["longest_correct_unchecked"] in note
    ready.chat("reinforcement-main", sums=[*questions(9), *sums(3)])
    some = prepared(ready, step(overlong={"maximum": 40, "window": 10}))
    assert "known of 3 of 12 prompts alone" in some.notes[0] and some.evidence["longest_correct"] > 0
    ready.chat("reinforcement-main", sums=sums(12))
    assert prepared(ready, step(overlong={"maximum": 40, "window": 10})).notes == []
    ready.chat("reinforcement-main", sums=questions(12))
    assert prepared(ready, step(overlong=None)).notes == []


# --- training


def test_the_order_of_prompts_depends_on_seed_and_epoch_alone() -> None:
    """A process that begins with the third epoch sees what one sees that went through two."""
    from tasks.posttraining.rollouts import EpochSampler

    def sampler(seed: int = 0) -> EpochSampler:
        return EpochSampler(range(20), mini_repeat_count=2, batch_size=4, seed=seed)

    through, epochs = sampler(), []
    for epoch in range(3):
        through.set_epoch(epoch)
        epochs.append(list(through))
    fresh = sampler()
    fresh.set_epoch(2)
    assert list(fresh) == epochs[2]
    assert epochs[0] != epochs[1]
    assert list(islice(sampler(seed=1), 8)) != epochs[0][:8]


def test_a_training_leaves_a_model_and_says_what_it_did(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Components apart, time split, held-out prompts measured, and other weights than the parent's."""
    lab.chat("reinforcement-main", sums=[{"messages": [ask(f"{n}+1?")], "answer": str(n + 1)} for n in range(160)])
    spec = lab.spec(request(step(steps=4, rewards={"exact_answer": 1.0, "format": 0.2}, alarms={"window": 2, "stop_below": 0})))
    result = lab.here(spec, monkeypatch)
    assert result["exit"] == 0, result
    summary = result["summary"]
    assert summary["counts"]["steps"] == 4
    assert summary["counts"]["heldout_prompts"] == 16
    assert summary["metrics"]["final/heldout_after"] == 0.0
    assert summary["evidence"]["truth"] == "exact_answer"
    steps = [line for line in _metrics(lab.part(spec)) if "reward" in line]
    assert len(steps) == 4
    names = {"rewards/exact_answer/mean", "rewards/format/mean", "rewards/overlong/mean", "dead_groups", "reflective", "faults/format"}
    assert names <= set(steps[-1])
    assert all(steps[-1][f"seconds/{part}"] >= 0 for part in ("generate", "score", "train"))
    assert steps[-1]["dead_groups"] == 1.0
    assert steps[-1]["frac_reward_zero_std"] < 1.0  # the sum hides it: the penalty differs within a group
    assert weights(lab.part(spec)) != weights(lab.model)


@pytest.mark.parametrize("loss", ["dapo", "dr_grpo"])
def test_the_other_losses_train(ready: Lab, monkeypatch: pytest.MonkeyPatch, loss: str) -> None:
    """With a reward that every answer can earn."""
    plant(monkeypatch, lambda answers: [one.tokens % 5 / 4 for one in answers])
    trainer = prepared(ready, step(loss=loss, steps=2, rewards={"planted": 1.0}, overlong=None)).trainer
    trainer.train()
    assert [line["reward"] for line in trainer.state.log_history if "reward" in line]


def test_rewards_that_misbehave_do_not_end_the_training(ready: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """One fault a step: an exception, a hang, a wrong count, infinity, no value; all in the history."""
    turns = iter(("raise", "hang", "count", "infinite", "none"))

    def faulty(answers: Sequence[Sampled]) -> Iterable[float | None]:
        turn = next(turns) if len(answers) > 1 else "raise"
        if turn == "raise":
            raise RuntimeError("verifier crashed")
        if turn == "hang":
            time.sleep(30)
        return {"count": [1.0], "infinite": [float("inf")] * 8}.get(turn, [None] * len(answers))

    plant(monkeypatch, faulty)
    trainer = prepared(ready, step(steps=5, rewards={"planted": 1.0}, reward_seconds=0.5)).trainer
    trainer.train()
    history = [line for line in trainer.state.log_history if "reward" in line]
    kinds = ("raised", "late", "miscounted", "not_finite", "missing")
    assert [line[f"faults/planted/{kind}"] for line, kind in zip(history, kinds, strict=True)] == [8.0] * 5
    assert [line["faults/planted"] for line in history] == [1.0] * 5


def test_a_falling_reward_ends_the_training_for_a_person_to_decide(ready: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 76, with the figures and what to do."""
    calls = iter(range(100))
    plant(monkeypatch, lambda answers: [1.0 if next(calls) < 24 else 0.0 for _ in answers])
    one = step(steps=8, rewards={"planted": 1.0}, overlong=None, alarms={"window": 2, "stop_below": 0.5})
    result = ready.here(ready.spec(request(one)), monkeypatch)
    assert result["exit"] == 76
    assert "the reward fell from 1.000" in result["reason"]


# --- resume


def test_a_training_that_broke_goes_on_to_the_same_weights(ready: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the second epoch, where TRL's own sampler would begin the first one again."""
    from tasks.posttraining.grpo_trainer import Reinforced

    whole, broken = ready.spec(request(step())), ready.spec(request(step()), key="broken")
    assert ready.here(whole, monkeypatch)["exit"] == 0
    with monkeypatch.context() as patched:
        patched.setattr(Reinforced, "training_step", _failing_at(7, Reinforced.training_step))
        assert ready.here(broken, patched, "broken")["exit"] == 1
    assert ready.part_names(broken)[-1] == "step-00000006"
    assert ready.here(broken, monkeypatch, "broken")["exit"] == 0
    assert weights(ready.part(broken)) == weights(ready.part(whole)) != weights(ready.model)
    assert _tokens(ready.part(broken)) == _tokens(ready.part(whole))


def test_a_signal_saves_after_the_last_update_on_its_answers(ready: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two updates on the same answers nothing exact can be saved."""
    from tasks.posttraining.grpo_trainer import Reinforced

    one = step(iterations=2, placement={"micro_batch_size": 8, "checkpoint_every": 8})
    spec = ready.spec(request(one))
    with monkeypatch.context() as patched:
        patched.setattr(Reinforced, "training_step", _signalled_at(3, Reinforced.training_step))
        assert ready.here(spec, patched)["exit"] == 75
    assert ready.part_names(spec) == ["step-00000004"]
    assert ready.here(spec, monkeypatch)["exit"] == 0


@pytest.mark.slow
@pytest.mark.timeout(700)
@pytest.mark.parametrize(("iterations", "every"), [(1, 2), (2, 4)])
def test_a_killed_training_goes_on_to_the_same_weights(
    ready: Lab, monkeypatch: pytest.MonkeyPatch, one_thread: None, iterations: int, every: int
) -> None:
    """SIGKILL in the second epoch, and with two updates per batch of answers."""
    one = step(steps=18, iterations=iterations, placement={"micro_batch_size": 8, "checkpoint_every": every})
    whole, killed = ready.spec(request(one)), ready.spec(request(one), key="killed")
    running = ready.start(killed, "killed")
    try:
        assert running.until(lambda: any(part >= 8 for part in _sealed(ready, "killed")), 240), running.log()[-3000:]
    finally:
        running.kill()
    assert not (running.folder / "result.json").exists() and running.step() < 18, "killed too late"
    assert ready.here(whole, monkeypatch)["exit"] == 0
    assert "result" not in ready.part_names(killed)
    assert ready.here(killed, monkeypatch, "killed")["exit"] == 0
    assert weights(ready.part(killed)) == weights(ready.part(whole)) != weights(ready.model)


def _sealed(lab: Lab, key: str) -> list[int]:
    """Steps of the checkpoints in the store, read beside a process that deletes older ones (`Path.rglob` would raise)."""
    return [int(Path(name).parent.name[-8:]) for name in iglob(f"{lab.root}/store/**/{key}/parts/step-*/part.json", recursive=True)]


def _failing_at(number: int, whole: Any) -> Any:
    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step + 1 == number:
            raise RuntimeError("planted")
        return whole(self, *args, **kwargs)

    return training_step


def _signalled_at(number: int, whole: Any) -> Any:
    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step + 1 == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(self, *args, **kwargs)

    return training_step


def _metrics(folder: Path) -> list[dict[str, Any]]:
    """What was logged, line by line."""
    return [json.loads(line)[2] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _tokens(folder: Path) -> float:
    return float([line for line in _metrics(folder) if "reward" in line][-1]["num_tokens"])
