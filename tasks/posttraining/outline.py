"""The steps of a recipe in a few words each, as they will run: what a preset brought in is spelt out."""

from __future__ import annotations

from tasks.posttraining.config import PostTrainingConfig, Step


def step_lines(config: PostTrainingConfig) -> list[str]:
    """One line per step, parents first: its parent and the settings that are argued about."""
    return [f"{stage:<22} from {config.steps[stage].parent}: {', '.join(_settings(config.steps[stage]))}" for stage in config.in_order()]


def _settings(step: Step) -> list[str]:
    fields = dict(step)
    schedule = fields.get("schedule")
    said = [
        f"{name} {fields[name]}"
        for name in ("teacher", "loss", "beta", "sft_weight", "packing")
        if fields.get(name) not in (None, 0.0, "none")
    ]
    said += [f"learning rate {schedule.learning_rate if schedule else fields['learning_rate']:g}"]
    said += [f"warm-up {schedule.warmup_ratio:.0%}, to {schedule.final_ratio:.0%}"] if schedule else []
    said += [f"{fields[name]:g} {name if fields[name] != 1 else name[:-1]}" for name in ("epochs", "steps") if name in fields]
    said += [f"batch {fields['global_batch_size']}"]
    said += [f"{fields[name]:,} tokens" for name in ("max_length", "max_answer_tokens") if name in fields]
    return [*said, f"gradients clipped at {fields['clip_grad']:g}"]
