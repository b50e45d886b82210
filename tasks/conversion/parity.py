"""The parity gate: is the exported Hugging Face folder the model that was trained?

Pure checks of a folder against a `Reference`. The reference reads the Megatron checkpoint itself, so that a wrong mapping cannot agree
with itself (Smol Training Playbook, conversion parity).
"""

from __future__ import annotations

from pathlib import Path

from tasks.conversion import behaviour, files
from tasks.conversion.config import DistributionBounds, ParityBounds
from tasks.conversion.findings import Check, Parity
from tasks.conversion.judgement import ROUNDING
from tasks.conversion.reference import Reference


def check(folder: Path, reference: Reference, bounds: ParityBounds, greedy_tokens: int) -> Parity:
    """Compare an exported folder with the trained model.

    Never raises for a bad folder: what cannot be read is a failed check. `Parity.require` is the gate.

    Args:
        greedy_tokens: how many tokens of greedy generation must be equal.
    """
    checks = [
        files.tokenizer_bytes(folder, reference.tokenizer),
        files.json_keys(folder, "config.json", reference.config),
        files.json_keys(folder, "generation_config.json", reference.generation),
    ]
    try:
        model = behaviour.load(folder)
    except Exception as error:  # whatever transformers raises on a damaged folder is the finding
        return Parity(checks=[*checks, Check(name="weights", passed=False, detail=f"cannot be loaded: {error!s:.300}")], tokens=0)
    checks.append(behaviour.embedding(model, reference, bounds))
    found, tokens = behaviour.distributions(model, reference, bounds)
    checks += [*found, behaviour.greedy(model, reference, greedy_tokens), behaviour.generation(folder, model, reference)]
    return Parity(checks=checks, tokens=tokens)


def rounding(folder: Path, reference: Reference, bounds: DistributionBounds) -> list[Check]:
    """What the exported precision costs against the weights as they were trained (`reference` before `rounded`)."""
    return behaviour.distributions(behaviour.load(folder), reference, bounds, ROUNDING)[0]
