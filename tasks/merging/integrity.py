"""The integrity gate of merging: parents before anything is computed, and every merge before anything is measured.

mergekit 0.1.5 merges without a word where it should not: a NaN in a parent goes into the result, an untied parent's output embedding is
written beside a config that ties it, a tensor that one parent lacks is passed over, and layers are written that the config does not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contracts.errors import GateError
from tasks.merging.anatomy import GENERATION, TOKENIZER_FILES, Anatomy, own_problems

_FREE = {
    "dtype", "torch_dtype", "transformers_version", "_name_or_path", "use_cache", "initializer_range", "max_position_embeddings",
    "bos_token_id", "eos_token_id", "pad_token_id",
}  # fmt: skip
"""Keys of config.json in which models that are merged may differ: none of them changes what the weights compute."""
_PRECISIONS = {"float32": "F32", "bfloat16": "BF16"}


def require_parents(parents: Mapping[str, Anatomy]) -> None:
    """Refuse models that cannot be merged with each other.

    Args:
        parents: stage -> its model.

    Raises:
        GateError: names each stage and what is wrong with it, alone or beside the first.
    """
    first = next(iter(parents))
    problems = [f"{stage}: {what}" for stage, one in parents.items() for what in own_problems(one)]
    problems += [f"{stage} beside {first}: {what}" for stage, one in parents.items() for what in strangers(parents[first], one)]
    if problems:
        raise GateError(
            f"these models cannot be merged: {'; '.join(problems)}",
            where="merge",
            do="merge models of one line alone: the same architecture and tokenizer; run a stage whose model is damaged again",
        )


def strangers(one: Anatomy, other: Anatomy) -> list[str]:
    """Why two models cannot be averaged: another architecture, vocabulary, tie flag or set of tensors."""
    problems = []
    here, there = ({key: value for key, value in side.architecture.items() if key not in _FREE} for side in (one, other))
    keys = [key for key in sorted({*here, *there}) if here.get(key) != there.get(key)]
    differing = [f"{key} {there.get(key)!r}, not {here.get(key)!r}" for key in keys]
    if differing:
        problems.append(f"another architecture ({', '.join(differing[:4])})")
    if one.vocabulary != other.vocabulary:
        problems.append("another vocabulary: the same token would mean different things")
    if set(one.shapes) != set(other.shapes):
        differing = sorted(set(one.shapes) ^ set(other.shapes))
        problems.append(f"another set of tensors ({', '.join(differing[:4])})")
    elif any(one.shapes[name] != other.shapes[name] for name in one.shapes):
        name = next(name for name in one.shapes if one.shapes[name] != other.shapes[name])
        problems.append(f"another shape of {name} ({list(other.shapes[name])}, not {list(one.shapes[name])})")
    return problems


def merged_problems(merged: Anatomy, donor: Anatomy, output_dtype: str) -> list[str]:
    """What is wrong with a merge.

    Args:
        merged: the result.
        donor: the input whose tokenizer, template and settings it must have, byte by byte.
        output_dtype: precision it was asked for.
    """
    problems = own_problems(merged) + strangers(donor, merged)
    if merged.dtypes != {_PRECISIONS[output_dtype]}:
        problems.append(f"its tensors are {', '.join(sorted(merged.dtypes))}, {output_dtype} was asked for")
    if merged.config.get("dtype") != output_dtype:
        problems.append(f"config.json says precision {merged.config.get('dtype')!r}, {output_dtype} was asked for")
    for name in TOKENIZER_FILES:
        files = [one.folder / name for one in (donor, merged)]
        present = [file.is_file() for file in files]
        if present[0] != present[1] or (all(present) and files[0].read_bytes() != files[1].read_bytes()):
            problems.append(f"{name} has other bytes than the input it is taken from")
    if donor.template != merged.template:
        problems.append("it has another chat template, or none")
    if donor.generation != merged.generation:
        problems.append(f"{GENERATION} is another one, or missing")
    return problems


def donor_of(models: Sequence[Anatomy]) -> Anatomy:
    """The model that gives a merge its tokenizer, template and settings: the first with a chat template, else the first."""
    return next((one for one in models if one.template), models[0])
