"""The linter over a whole chat data set: one pass, every sample, memory for digests alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from contracts.errors import InputError
from tasks.posttraining.config import ChatLint
from tasks.posttraining.conversation import Sample
from tasks.posttraining.lint_report import Example, Finding, Group, LintReport
from tasks.posttraining.rendered_rules import RENDERED_RULES, Seen
from tasks.posttraining.rendering import Renderer, Rendering
from tasks.posttraining.rules import RULES, STRUCTURE, Severity

_SHOWN_SOUND = 4
_ROUND_TRIP_EXPLAINED = {"broken_reply", "mode_contradiction"}
"""Rules whose samples cannot be read back as they were, for the reason that the rule gives better."""
_WORDS: dict[str, tuple[Severity, str, str]] = {
    rule.name: (rule.severity, (rule.check.__doc__ or "").strip().replace("`", ""), rule.do)
    for rule in (STRUCTURE, *RULES, *RENDERED_RULES)
} | {
    "duplicate": ("warning", "A sample that is there twice: it counts double without anybody deciding so.", "remove one of them"),
    "template_refuses": ("error", "The template refuses the conversation.", "correct the sample, or take another template"),
}
"""Rule -> severity, what it says, what to do."""


class Shown(NamedTuple):
    """A sample kept for a page, with what is wrong with it."""

    sample: Sample
    rendering: Rendering
    problems: dict[str, str]
    """Rule -> what it says."""


class Linter:
    """Takes samples one by one; `report` says what was found so far."""

    def __init__(self, config: ChatLint, renderer: Renderer | None = None) -> None:
        """Without a renderer the rules over rendered text are left out, and sizes are bytes."""
        self._config, self._renderer = config, renderer
        self._examples: dict[str, list[Example]] = defaultdict(list)
        self._counts: Counter[str] = Counter()
        self._groups: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        self._seen: dict[bytes, str] = {}
        self._prompts: dict[bytes, set[str]] = defaultdict(set)
        self._samples = self._truncated = self._wanted = self._kept = 0
        self.shown: list[Shown] = []
        """The first sample of every rule that fired on a rendered one, and the first few sound ones."""

    def add(self, sample: Sample) -> dict[str, str]:
        """Check one sample; rule -> what it says, for each rule that fired on it."""
        self._samples += 1
        problems = {STRUCTURE.name: sample.malformed} if sample.malformed else {}
        if problems:
            self._note(sample, problems)
            return problems
        problems = {rule.name: said for rule in RULES if (said := rule.check(sample))}
        first = self._seen.setdefault(sample.digest, sample.where)
        if first != sample.where:
            problems["duplicate"] = f"the same as {first}"
        rendering = self._render(sample, problems)
        self._note(sample, problems)
        self._count(sample, rendering, problems)
        return problems

    def report(self, data: str = "") -> LintReport:
        """What was found."""
        sizes = list(self._groups.values())
        size = sum(row[1] for row in sizes)
        groups = [
            Group(
                source=source,
                mode=mode,
                samples=samples,
                size=tokens,
                trained=trained if self._renderer else None,
                share=tokens / max(1, size),
            )
            for (source, mode), (samples, tokens, trained) in self._groups.items()
        ]
        report = LintReport(
            data=data, unit="tokens" if self._renderer else "bytes", samples=self._samples, size=size,
            trained=sum(row[2] for row in sizes) if self._renderer else None,
            length=self._config.length if self._renderer else None,
            truncated=self._truncated if self._renderer and self._config.length else None,
            system_wanted=self._wanted, system_kept=self._kept if self._renderer else None,
            prompts=len(self._prompts), paired=sum({"think", "no_think"} <= modes for modes in self._prompts.values()),
            findings=[], groups=sorted(groups, key=lambda one: (-one.size, one.source, one.mode)),
        )  # fmt: skip
        findings = [*self._sample_findings(), *set_findings(report, self._config)]
        return report.model_copy(update={"findings": sorted(findings, key=lambda one: (one.severity != "error", -one.count))})

    def _render(self, sample: Sample, problems: dict[str, str]) -> Rendering | None:
        """Render it and add what the rules over rendered text say; None where there is no renderer, or the template refuses."""
        if self._renderer is None:
            return None
        try:
            rendering = self._renderer.render(sample)
            seen = Seen(sample, rendering, self._renderer, self._config.length)
            rules = [rule for rule in RENDERED_RULES if not (rule.name == "round_trip" and _ROUND_TRIP_EXPLAINED & set(problems))]
            problems |= {rule.name: said for rule in rules if (said := rule.check(seen))}
        except InputError as error:
            problems["template_refuses"] = error.what
            return None
        return rendering

    def _note(self, sample: Sample, problems: dict[str, str]) -> None:
        for rule, said in problems.items():
            self._counts[rule] += 1
            if len(self._examples[rule]) < self._config.examples:
                self._examples[rule].append(Example(where=sample.where, what=said))

    def _count(self, sample: Sample, rendering: Rendering | None, problems: dict[str, str]) -> None:
        wanted = bool(sample.system_texts)
        self._wanted += wanted
        if sample.prompt_digest:
            self._prompts[sample.prompt_digest].add(sample.mode)
        row = self._groups[sample.source, sample.mode]
        row[0] += 1
        if rendering is None:
            row[1] += 0 if self._renderer else sum(len(turn.text.encode("utf-8", "replace")) for turn in sample.turns)
            return
        self._kept += wanted and "system_lost" not in problems
        row[1] += len(rendering.ids)
        row[2] += rendering.trained
        self._truncated += self._config.length is not None and len(rendering.ids) > self._config.length
        told = {rule for shown in self.shown for rule in shown.problems}
        if set(problems) - told or (not problems and sum(not shown.problems for shown in self.shown) < _SHOWN_SOUND):
            self.shown.append(Shown(sample, rendering, problems))

    def _sample_findings(self) -> Iterable[Finding]:
        for name, count in self._counts.items():
            severity, what, do = _WORDS[name]
            share = count / max(1, self._samples)
            yield Finding(rule=name, severity=severity, what=what, do=do, count=count, share=share, examples=self._examples[name])


def set_findings(report: LintReport, config: ChatLint) -> list[Finding]:
    """Rules over the whole set: nothing in it, truncation, balance and pairing of modes (Smol Training Playbook, post-training data)."""
    found: list[Finding] = []

    def say(rule: str, severity: Severity, what: str, do: str, count: int) -> None:
        found.append(Finding(rule=rule, severity=severity, what=what, do=do, count=count, share=count / max(1, report.samples)))

    if not report.samples:
        say("no_samples", "error", "There is no sample in the data.", "give another file", 0)
    if report.truncated:
        cut, allowed = report.truncated / report.samples, config.max_truncated
        severity: Severity = "error" if cut > allowed else "warning"
        what = f"Longer than {report.length:,} tokens: {cut:.1%} of the samples are cut (at most {allowed:.1%} may be)."
        say(
            "truncated", severity, what, "raise the length, or leave long samples out: a cut answer teaches never to stop", report.truncated
        )
    shares = {mode: report.mode_share(mode) for mode in ("think", "no_think")}
    if all(shares.values()):
        lesser = min(shares, key=lambda mode: shares[mode])
        if shares[lesser] < config.min_mode_share:
            least = f"at least {config.min_mode_share:.0%}"
            what = f"/{lesser} has {shares[lesser]:.1%} of the {report.unit}; a hybrid model wants both modes ({least})."
            count = sum(group.samples for group in report.groups if group.mode == lesser)
            say("mode_balance", "warning", what, "weigh sources by tokens, not by samples", count)
        if report.paired < config.min_paired * report.prompts:
            what = f"{report.paired:,} of {report.prompts:,} questions are answered in both modes; the mode is then learned from the topic."
            say("mode_pairing", "warning", what, "add answers in the other mode to the same questions", report.prompts - report.paired)
    return found


def lint(samples: Iterable[Sample], config: ChatLint, renderer: Renderer | None = None, data: str = "") -> LintReport:
    """Check every sample.

    Raises:
        InputError: a file that cannot be read.
    """
    linter = Linter(config, renderer)
    for sample in samples:
        linter.add(sample)
    return linter.report(data)
