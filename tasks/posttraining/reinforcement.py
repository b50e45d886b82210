"""Reinforcement with verifiable rewards: GRPO, DAPO or Dr. GRPO with TRL.

SmolLM3 was reinforced after its release, from its preference checkpoint, in no_think mode; no setting but the overlong windows was
published (Smol Training Playbook, RLVR). The learning rate has a narrow window: at tiny scale 5e-5 gains and 3e-4 collapses.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from contracts.errors import ConfigError
from tasks.posttraining.config import ReinforcementConfig
from tasks.posttraining.grpo_arguments import engine, grpo
from tasks.posttraining.model_folder import load_model, load_renderer
from tasks.posttraining.plug import Given, Prepared
from tasks.posttraining.prompts import Prompt, Prompts, prompts_of
from tasks.posttraining.requests import ReinforcementRequest
from tasks.posttraining.rewards.guard import Guarded
from tasks.posttraining.rewards.judge import Judge
from tasks.posttraining.rewards.overlong import require_harmless, unchecked
from tasks.posttraining.rewards.registry import columns_of, rewards_of, truth_of

RECENT = 20
"""Last steps whose mean is a figure of the finished model."""


def prepare(given: Given) -> Prepared:
    """A GRPO trainer over the step's prompts, with guarded rewards and a watchdog on it.

    Raises:
        ConfigError: unknown rewards, none that verifies, a save interval that cuts a rollout, an overlong penalty that would punish the
            longest correct answer, a batch that ranks cannot share.
        InputError: prompts that cannot be used (see `prompts_of`), no model, a tokenizer without the template's tokens.
        ResourceError: what a reward or the placement needs is not on this machine.
    """
    request = given.request
    assert isinstance(request, ReinforcementRequest)
    step, where = request.step, request.stage
    truth, needed = truth_of(step), columns_of(step)
    renderer = load_renderer(given.inputs["model"], request.template)
    model = load_model(given.inputs["model"], given.ground.device)
    context = int(model.config.max_position_embeddings)
    prompts = prompts_of(step, renderer, given.inputs["chat"], needed, context)
    if step.overlong is not None:
        require_harmless(step.overlong, prompts.longest_correct, step.max_answer_tokens, where)
    rewards, weights = rewards_of(step, _end_ids(model, renderer.tokenizer))
    arguments = grpo(step, given.ground, given.folder, weights, context, len(prompts.heldout))
    notes = _unchecked(step, prompts)
    from trl import GRPOConfig

    from tasks.posttraining.grpo_trainer import Reinforced
    from tasks.posttraining.watchdog import Watchdog

    trainer = Reinforced(
        model=model,
        reward_funcs=rewards,
        args=GRPOConfig(**arguments),
        train_dataset=_dataset(prompts.train),
        eval_dataset=_dataset(prompts.heldout) if prompts.heldout else None,
        processing_class=renderer.tokenizer,
        callbacks=[Watchdog(step.alarms, truth, len(prompts.heldout), notes)],
        truth=truth,
    )
    if trainer.is_world_process_zero():
        for note in notes:
            print(f"{where}: {note}", file=sys.stderr, flush=True)
    counts = {"prompts": len(prompts.train), "heldout_prompts": len(prompts.heldout), "answers": step.steps * step.global_batch_size}
    evidence = {**_evidence(step, prompts, truth), "generation": engine(step, given.ground), **_of_rewards(rewards)}
    return Prepared(trainer, renderer.tokenizer, counts, evidence, notes, lambda: _figures(trainer.state.log_history, truth))


def _figures(history: list[dict[str, Any]], truth: str) -> Mapping[str, float]:
    """Figures of the finished model: means over the last steps, and the last measurement on held-out prompts."""
    steps = [line for line in history if line.get("reward") is not None][-RECENT:]
    names = ["reward", f"rewards/{truth}/mean", "completions/mean_length", "completions/clipped_ratio", "dead_groups"]
    names += [f"seconds/{part}" for part in ("generate", "score", "train")]
    found = {name: [float(line[name]) for line in steps if line.get(name) is not None] for name in names}
    held = [float(line[f"eval_rewards/{truth}/mean"]) for line in history if line.get(f"eval_rewards/{truth}/mean") is not None]
    return {
        **{f"final/{name.removesuffix('/mean')}": sum(values) / len(values) for name, values in found.items() if values},
        **({"final/heldout_before": held[0], "final/heldout_after": held[-1]} if held else {}),
    }


def _evidence(step: ReinforcementConfig, prompts: Prompts, truth: str) -> dict[str, Any]:
    return {
        "truth": truth,
        "mode": step.mode,
        "longest_prompt": prompts.longest_prompt,
        "longest_correct": prompts.longest_correct,
        "longest_correct_unchecked": unchecked(prompts.replies, prompts.read),
    }


def _unchecked(step: ReinforcementConfig, prompts: Prompts) -> list[str]:
    """What a person is told where the penalty could not be held against every correct answer before training."""
    why = unchecked(prompts.replies, prompts.read)
    if step.overlong is None or not why:
        return []
    begins = step.overlong.maximum - step.overlong.window
    told = f"the overlong penalty begins after {begins} tokens, and whether correct answers are longer is not checked beforehand"
    return [f"{told} (their length is {why}); overlong/punished_correct says so while it trains"]


def _of_rewards(rewards: Sequence[Guarded]) -> dict[str, Any]:
    """What went wrong with each in this attempt, and which judge gave marks; both are written down when training is over."""
    judges = {one.__name__: one.score.pin for one in rewards if isinstance(one.score, Judge)}
    return {"faults": {one.__name__: one.faults for one in rewards}, **({"judges": judges} if judges else {})}


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer, as TRL counts them: the model's own and the tokenizer's."""
    own = model.generation_config.eos_token_id
    return frozenset([tokenizer.eos_token_id, *(own if isinstance(own, list) else [] if own is None else [own])])


def _dataset(prompts: list[Prompt]) -> Any:
    from datasets import Dataset

    try:
        return Dataset.from_list([one.row for one in prompts])
    except (ValueError, TypeError) as error:  # pyarrow's errors derive from these
        said = f"the columns of the prompts are of different kinds: {str(error).splitlines()[0][:160]}"
        raise ConfigError(said, where="prompts", do="write `tests` as a list of [input, output] texts in every row") from None
