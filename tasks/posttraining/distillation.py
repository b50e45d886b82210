"""On-policy distillation: the student answers, and at every token of its answer learns the teacher's next-token distribution.

Dense where reinforcement has one number an answer, and it needs no verifier: of one 8B model on-policy distillation made 74.4 / 65.5 on
AIME 24 / 25 for 1,800 GPU-hours, reinforcement 67.6 / 55.5 for 17,920 (Smol Training Playbook, alternatives to RLVR). Both models must have
the same tokenizer. Fine-tuning on text of the teacher instead is off policy: it shows nothing of the student's own mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.posttraining.distillation_arguments import distillation
from tasks.posttraining.distillation_rows import questions_of
from tasks.posttraining.grpo_arguments import engine
from tasks.posttraining.model_folder import load_model, load_renderer
from tasks.posttraining.plug import Given, Prepared
from tasks.posttraining.requests import DistillationRequest
from tasks.posttraining.teacher import load_teacher

RECENT = 20
"""Last steps whose mean is a figure of the finished model."""
_FIGURES = ("entropy", "completions/mean_length", "completions/clipped_ratio", "on_policy", "seconds/generate", "seconds/train")


def prepare(given: Given) -> Prepared:
    """A distillation trainer over the step's prompts.

    Raises:
        ConfigError: a teacher of another vocabulary, a batch that ranks cannot share, a template without markers.
        InputError: no teacher, prompts that cannot be used (see `questions_of`), no model, a tokenizer without the template's tokens.
        ResourceError: what the placement needs is not on this machine.
    """
    request = given.request
    assert isinstance(request, DistillationRequest)
    step, device = request.step, given.ground.device
    renderer = load_renderer(given.inputs["model"], request.template)
    student = load_model(given.inputs["model"], device)
    teacher = load_teacher(step, given.inputs, student, renderer.tokenizer, device)
    context = min(int(one.config.max_position_embeddings) for one in (student, teacher))
    questions = questions_of(step, renderer, given.inputs["chat"], context)
    arguments = distillation(step, given.ground, given.folder, context)
    from trl import DistillationConfig as TrlArguments

    from tasks.posttraining.distillation_trainer import Distilled

    trainer = Distilled(
        model=student,
        teacher_model=teacher,
        args=TrlArguments(**arguments),
        train_dataset=questions.dataset(),
        processing_class=renderer.tokenizer,
        lmbda=step.lmbda,
    )
    counts = {"prompts": len(questions.rows), "answers": step.steps * step.global_batch_size, "cut": questions.cut}
    counts |= {"teacher_parameters": teacher.num_parameters(), "longest_prompt": questions.longest}
    evidence = {
        "teacher": step.teacher, "divergence": _divergence(step.beta), "sources": questions.sources,
        "generation": engine(step, given.ground),
    }  # fmt: skip
    return Prepared(trainer, renderer.tokenizer, counts, evidence, measure=lambda: _figures(trainer.state.log_history))


def _divergence(beta: float) -> str:
    return {0.0: "forward KL", 1.0: "reverse KL"}.get(beta, f"generalized Jensen-Shannon, beta {beta:g}")


def _figures(history: list[dict[str, Any]]) -> Mapping[str, float]:
    """Divergence from the teacher, per token of an answer, at first and at last; means of the last steps of the rest."""
    steps = [line for line in history if "loss" in line]
    first, last = steps[:RECENT], steps[-RECENT:]
    found = {name: [float(line[name]) for line in last if line.get(name) is not None] for name in _FIGURES}
    mean = {f"final/{name}": sum(values) / len(values) for name, values in found.items() if values}
    if not steps:
        return mean
    return {
        "divergence/first": sum(float(line["loss"]) for line in first) / len(first),
        "divergence/last": sum(float(line["loss"]) for line in last) / len(last),
        **mean,
    }
