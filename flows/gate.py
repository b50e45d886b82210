"""Gates: pure checks of the crafts, asked after a stage and before anything downstream.

Evidence stands in the manifest, verdicts beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.errors import GateError, ResourceError
from flows import approval, release
from flows.desk import Desk
from flows.heldout import note_read, problems_of
from flows.plan import Node
from flows.recipe import Recipe
from infra.doctor.machine import available_memory
from infra.store import Artifact

if TYPE_CHECKING:
    from tasks.ablation.cost import CourtPlan, StepCourtPlan


@dataclass(frozen=True)
class Finding:
    """What one gate says: `problems` empty means it passes."""

    gate: str
    problems: list[str]
    do: str
    waivable: bool = True


def judge(node: Node, artifact: Artifact, desk: Desk) -> Iterator[str]:
    """Ask every gate of this kind of stage, write each verdict beside the artifact, and yield one line a gate.

    Raises:
        GateError: a gate refuses and is not waived in the recipe.
    """
    if node.kind.name == "measure":
        note_read(node, artifact, desk)
    for check in CHECKS.get(node.kind.name, ()):
        finding = check(node, artifact, desk)
        if finding is None:  # nobody asked for it: no record says that it passed
            continue
        waiver = desk.plan.recipe.waiver(finding.gate) if finding.waivable else None
        verdict = "passed" if not finding.problems else "waived" if waiver else "refused"
        record = {"gate": finding.gate, "verdict": verdict, "problems": finding.problems, "waiver": waiver}
        name = f"gate-{finding.gate}"
        if desk.store.records(artifact).get(name) != record:
            desk.store.put_record(artifact, name, record)
        if verdict == "refused":
            do = f"{finding.do}; or waive '{finding.gate}' with a reason" if finding.waivable else finding.do
            raise GateError(f"{finding.gate}: {'; '.join(finding.problems)}", where=node.name, do=do)
        yield f"gate {node.name}/{finding.gate}: {verdict}" + (f" ({waiver})" if waiver else "")


def before_the_run(desk: Desk, pool: str) -> Iterator[str]:
    """The compass gate and the machine, asked before any compute is spent; yields one line a finding.

    Args:
        pool: the pool this process belongs to; the memory of this machine counts where training runs on it too.

    Raises:
        GateError: training is not justified, not affordable, or a layout cannot work; a merge would be judged by what nothing measures.
        ResourceError: this machine lacks the memory, the devices or the converter that the recipe asks for.
    """
    from tasks.ablation.cost import require as require_court
    from tasks.compass import fits_memory, plan_training, require

    recipe = desk.plan.recipe
    plan = plan_training(recipe)
    reason = recipe.waiver("compass")
    if reason is None:
        require(plan)
    elif plan.blocked:
        yield f"gate compass: waived ({reason})"
    trains_on = desk.site.pool_of("train")
    if recipe.purpose.budget.gpu == "cpu":
        if trains_on == pool:
            fits_memory(plan, available_memory())
    elif desk.site.pools[trains_on].kind != "gpu":
        raise ResourceError(
            f"'{recipe.name}' is laid out for {recipe.purpose.budget.gpu} devices, but stage 'train' goes to pool '{trains_on}' of CPUs",
            do="send train to a GPU pool in the site's stage_pools, or plan it with --dry-run",
        )
    if recipe.ablations.courts and recipe.ablations.qualification is None and recipe.waiver("qualification") is None:
        metrics = ", ".join(sorted({court.metric for court in recipe.ablations.courts}))
        raise GateError(
            f"qualification: nothing says that {metrics} carries signal at this size",
            do="give `ablations.qualification` (four seeds), or waive 'qualification' with a reason",
        )
    require_measured(recipe)
    unchecked = require_checked(recipe)
    if unchecked is not None:
        yield f"gate contamination: waived ({unchecked})"
    if desk.site.pool_of(release.KIND.name) == pool:
        release.require_formats(recipe)
    for finding in plan.findings:
        yield f"compass {finding.level}: {finding.topic}: {finding.what}"
    for case in court_plans(desk):
        require_court(case)
        yield from (f"court {case.name}: {finding.topic}: {finding.what}" for finding in case.findings)


def require_measured(recipe: Recipe) -> None:
    """A merge is held to what training bought, and judged by what its line measures: said before anything is spent on it."""
    if recipe.merging is None or recipe.posttraining is None:
        return
    from tasks.merging import recall_problems, unmeasured

    evaluation = recipe.posttraining.evaluation
    missing = unmeasured(recipe.merging, evaluation)
    if missing:
        raise GateError(
            f"merge: nothing measures {', '.join(missing)}, which every model of the panel must be measured on",
            where="merging.required_tasks",
            do=f"have posttraining.evaluation measure it, or name what it measures ({', '.join(evaluation.cells()) or 'nothing'})",
        )
    lost = recall_problems(recipe.merging, evaluation, [phase.sequence_length for phase in recipe.training.phases])
    if lost and recipe.waiver("recall") is None:
        raise GateError(
            f"recall: {'; '.join(lost)}",
            where="merging.required_tasks",
            do="name a task of posttraining.evaluation.tasks that asks for recall over more (ruler, recall_192); or waive 'recall'",
        )


def require_checked(recipe: Recipe) -> str | None:
    """What is trained on is compared with what is held out; without it for a stated reason alone, which is returned.

    Raises:
        GateError: a comparison is turned off, and nothing says why.
    """
    sections = {"data": recipe.data, "evaluation": recipe.evaluation, "posttraining": recipe.posttraining}
    off = [f"{name}.contamination_ngram" for name, section in sections.items() if section is not None and not section.contamination_ngram]
    reason = recipe.waiver("contamination")
    if off and reason is None:
        raise GateError(
            f"contamination: nothing is compared with what is held out, by {' and '.join(off)}",
            do="give the number of words that count as shared (13), or waive 'contamination' with a reason",
        )
    return reason if off else None


def court_plans(desk: Desk) -> list[CourtPlan | StepCourtPlan]:
    """Runs, device hours and money of every court of the recipe as it was written, what earlier courts take counted in.

    Raises:
        ConfigError: a court that changes two things, an unknown field, or nothing at all.
    """
    from tasks.ablation.cost import court_plan, step_court_plan

    plans: list[CourtPlan | StepCourtPlan] = []
    for court in desk.plan.written.ablations.courts:
        spent = sum(plan.device_hours or 0.0 for plan in plans)
        plans.append(court_plan(court, desk.plan.written, spent=spent))
    return plans + [step_court_plan(case, desk.plan.written) for case in desk.plan.written.ablations.steps]


def documents(node: Node, artifact: Artifact, desk: Desk) -> Finding:
    """Every source must leave training text, and held-out text that training does not share."""
    from tasks.data import data_problems

    return Finding("documents", data_problems(artifact.manifest.evidence), "loosen this source's filters or give it more text")


def fertility(node: Node, artifact: Artifact, desk: Desk) -> Finding:
    """The tokenizer must fit every source (Smol Training Playbook, tokenizer)."""
    from tasks.data import tokenizer_problems

    problems = tokenizer_problems(artifact.manifest.evidence, desk.plan.recipe.tokenizer)
    return Finding("tokenizer-fertility", problems, "train it on more of that source")


def epochs(node: Node, artifact: Artifact, desk: Desk) -> Finding:
    """No source may repeat beyond the recipe's bound, now that its tokens are counted (Smol Training Playbook, data curation)."""
    from tasks.compass import plan_training

    sizes = {name: int(row["tokens"]) for name, row in artifact.manifest.evidence.get("sources", {}).items()}
    findings = plan_training(desk.plan.recipe, sizes).blocked
    return Finding("epochs", [f.what for f in findings if f.topic == "epochs"], "lower its share, shorten the phase, or add text")


def qualification(node: Node, artifact: Artifact, desk: Desk) -> Finding:
    """What decides in a court must carry signal at this size (Smol Training Playbook, early-signal tasks)."""
    from tasks.evaluation import qualification_problems

    metrics = sorted({court.metric for court in desk.plan.recipe.ablations.courts})
    problems = [problem for metric in metrics for problem in qualification_problems(artifact.manifest.evidence, metric)]
    return Finding("qualification", problems, "let another metric decide, or give its runs more tokens")


def parity(node: Node, artifact: Artifact, desk: Desk) -> Finding:
    """The exported model must be the trained one; asked anew from the recorded differences, under the bounds of today."""
    from tasks.conversion import parity_problems

    problems = parity_problems(artifact.manifest.evidence, desk.plan.recipe.conversion)
    return Finding("parity", problems, "raise the bound only if you know why the models differ", waivable=False)


def contamination(node: Node, artifact: Artifact, desk: Desk) -> Finding | None:
    """Decontaminate before training, against every benchmark that is read later (Smol Training Playbook, post-training data; C33)."""
    if node.config.contamination_ngram:
        return None
    problem = f"contamination_ngram is {node.config.contamination_ngram}: no text was compared with what is held out"
    return Finding("contamination", [problem], "give the number of words that count as shared (13)")


def chat_data(node: Node, artifact: Artifact, desk: Desk) -> Finding:
    """Chat data is held to its rules, and shares nothing with what is held out (Smol Training Playbook, chat templates; C33-C36)."""
    from tasks.posttraining import chat_data_problems

    return Finding("chat-data", chat_data_problems(artifact.manifest.evidence), "correct the source, or loosen `posttraining.lint`")


def pairs(node: Node, artifact: Artifact, desk: Desk) -> Finding:
    """A model that is never right, or never wrong, makes no pairs."""
    from tasks.posttraining import pairs_problems

    problems = pairs_problems(artifact.manifest.evidence)
    return Finding("pairs", problems, "give more prompts or samples, or another parent", waivable=False)


def regression(node: Node, artifact: Artifact, desk: Desk) -> Finding:
    """Generated held-out answers, before and after a step; the trainer's own metrics have no say (Smol Training Playbook, preference)."""
    from tasks.posttraining import read_skills, regression_problems

    post, stage = desk.plan.recipe.posttraining, node.name.partition("-")[2]
    before = node.inputs.get("before")
    if post is None or before is None or stage not in post.steps:
        return Finding("regression", [], "")
    found = (desk.store.require(before.name, before.fingerprint), artifact)
    old, new = (read_skills(desk.store.materialise(one, desk.site.scratch / "gates", ["skills.json"])) for one in found)
    step = post.steps[stage]
    problems = regression_problems(old, new, step.max_regression, step.max_cell_regression, step.max_bits_regression)
    return Finding(
        "regression", problems, f"change {stage}, or raise its bound (max_regression, max_cell_regression...) if the loss is meant"
    )


def form(node: Node, artifact: Artifact, desk: Desk) -> Finding | None:
    """What is released answers in the form that its template teaches, where the recipe asks for a share of it."""
    from tasks.posttraining import form_problems, read_skills

    post = desk.plan.recipe.posttraining
    if post is None or artifact.manifest.evidence.get("side") != "test" or not post.evaluation.min_format:
        return None
    scores = read_skills(desk.store.materialise(artifact, desk.site.scratch / "gates", ["skills.json"]))
    return Finding(
        "form", form_problems(scores, post.evaluation.min_format), "teach the form (SFT), or lower posttraining.evaluation.min_format"
    )


def vibe(node: Node, artifact: Artifact, desk: Desk) -> Finding | None:
    """A person has read what the model says, where the recipe asks for it (Smol Training Playbook, SFT: vibe-testing)."""
    if not approval.asks(node, desk.plan.recipe):
        return None
    do = "run vibe again: it asks again; where the answers are wrong, change data or steps first"
    return Finding("vibe", approval.problems(artifact, desk), do, waivable=False)


def merged(node: Node, artifact: Artifact, desk: Desk) -> Finding:
    """The chosen model must not be weaker than the best parent where it is weakest, nor lose much of the rest (Smol Training Playbook)."""
    from tasks.merging import merge_problems

    config = desk.plan.recipe.merging
    assert config is not None
    return Finding("merge", merge_problems(artifact.manifest.evidence, config), "let the parents compete (`merging.parents`)")


def heldout(node: Node, artifact: Artifact, desk: Desk) -> Finding:
    """The released model alone was asked the test items, and once (Smol Training Playbook, post-training evaluation)."""
    return Finding("heldout-reads", problems_of(node, desk), "run measure-release; what else read the items belongs on the card")


CHECKS: dict[str, tuple[Callable[[Node, Artifact, Desk], Finding | None], ...]] = {
    "curate": (documents, contamination),
    "tokenizer": (fertility,),
    "tokenize": (epochs,),
    "evaluate": (contamination,),
    "qualify": (qualification,),
    "convert": (parity,),
    "chat": (chat_data, contamination),
    "pairs": (pairs,),
    "measure": (regression, form),
    "vibe": (vibe,),
    "merge": (merged,),
    "release": (heldout,),
}
