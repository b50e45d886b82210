"""One merge: mergekit on local folders, arithmetic in the recipe's precision, repeatable."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

from contracts.errors import StageError
from tasks.merging.anatomy import GENERATION, TOKENIZER_FILES, Anatomy, dissect
from tasks.merging.config import Candidate, MergingConfig
from tasks.merging.integrity import donor_of, merged_problems
from tasks.merging.methods import document, said


def merge(candidate: Candidate, parents: Mapping[str, Anatomy], config: MergingConfig, out: Path) -> Anatomy:
    """Merge one candidate into the folder `out`, and look at what came of it.

    The weights are mergekit's; config.json, tokenizer, chat template and generation settings are copied from one input as they are, since
    mergekit takes them from the base where a method has one, and a base has no chat template. Everything is computed on the CPU: a merge
    reads and writes more than it computes, and what DARE drops is drawn alike everywhere.

    Args:
        parents: stage -> model, checked (`integrity.require_parents`).

    Raises:
        StageError: mergekit gave up, or its result is damaged; names what is wrong with it.
    """
    donor = donor_of([parents[part.stage] for part in candidate.inputs])
    folders = {stage: one.folder for stage, one in parents.items()}
    _run(candidate, document(candidate, folders, config.dtype, config.output_dtype), out, config)
    settings = {**donor.config, "dtype": config.output_dtype}
    settings.pop("torch_dtype", None)  # the name that transformers 4 gave it
    (out / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for name in (*TOKENIZER_FILES, GENERATION):
        (out / name).unlink(missing_ok=True)
        if (donor.folder / name).is_file():
            shutil.copyfile(donor.folder / name, out / name)
    merged = dissect(out)
    problems = merged_problems(merged, donor, config.output_dtype)
    if problems:
        raise StageError(
            f"the merge '{candidate.name}' ({said(candidate)}) is damaged: {'; '.join(problems)}",
            where="merge",
            do="nothing of it was kept; try another method or weights, or report it with the versions of mergekit and transformers",
        )
    return merged


def _run(candidate: Candidate, described: dict[str, object], out: Path, config: MergingConfig) -> None:
    import torch
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    options = MergeOptions(cuda=False, random_seed=config.seed, copy_tokenizer=False, write_model_card=False, quiet=True)
    before = torch.get_num_threads(), logging.root.manager.disable
    torch.set_num_threads(config.threads)
    logging.disable(logging.WARNING)  # it warns that it infers the architecture; what it infers is checked afterwards
    try:
        run_merge(MergeConfiguration.model_validate(described), str(out), options)
    except Exception as error:  # whatever a library of eleven methods raises
        raise StageError(
            f"mergekit could not make '{candidate.name}' ({said(candidate)}): {type(error).__name__}: {str(error)[:300]}",
            where="merge",
            do="correct the candidate, or leave it out",
        ) from error
    finally:
        torch.set_num_threads(before[0])
        logging.disable(before[1])
