"""Python packages: the pins that are known to matter, and the optional ones that open GPU code paths."""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement

from infra.doctor.finding import Finding
from infra.site import CHECKOUT

WHY = {  # outside these pins something is known to break
    "fastapi": "0.151 makes Prefect's server answer 422, 0.155 keeps it from starting",
    "sqlalchemy": "with 2.1 scheduled runs are never created",
    "xxhash": "4 breaks the data tools",
    "s3fs": "an unpinned install resolves to one of 2020",
    "megatron-core": "the CPU backend is tested with this one only",
}


def package_findings() -> Iterator[Finding]:
    """Pins of pyproject.toml that do not hold, then optional packages."""
    wrong = list(_pins(CHECKOUT / "pyproject.toml"))
    yield from wrong or [Finding("pins", "ok", "every pin of pyproject.toml holds", "the tested set")]
    yield from _apex(_spec("apex"), engine=_spec("transformer_engine") is not None)
    engine = _spec("transformer_engine")
    open_, closed = "fused kernels; FP8 recipes (Hopper and newer)", "no FP8; on GPUs install the extra 'gpu'"
    yield Finding("Transformer Engine", "ok", _version("transformer-engine") if engine else "not installed", open_ if engine else closed)
    for module, opens in (
        ("fused_weight_gradient_mlp_cuda", "weight gradients accumulated in float32 inside the product"),
        ("amp_C", "multi-tensor optimizer kernels of apex"),
    ):
        there = _spec(module) is not None
        yield Finding(
            module, "ok", "there" if there else "not built", opens if there else f"without: {opens}; infra/images says how it is built"
        )


def _pins(project: Path) -> Iterator[Finding]:
    declared = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    for requirement in map(Requirement, declared):
        name = requirement.name.lower()
        found = _version(name)
        if found == "missing":
            yield Finding(name, "error", "not installed", f"pip install -c constraints-cpu-py311.txt '{requirement}'")
        elif not requirement.specifier.contains(found, prereleases=True):
            why = WHY.get(name, "this version was never tested here")
            yield Finding(name, "error" if name in WHY else "warn", found, f"{why}: pip install '{requirement}'")


def _apex(spec: ModuleSpec | None, engine: bool) -> Iterator[Finding]:
    if spec is None:
        return
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    place = str(folders[0]) if folders else "?"
    if not any((folder / "optimizers").is_dir() for folder in folders):
        means = "this is the package index's apex, an unrelated web toolkit; megatron-core takes it for NVIDIA's: pip uninstall apex"
        yield Finding("apex", "error", place, means)
    elif not engine:
        yield Finding("apex", "error", place, "NVIDIA's, but without Transformer Engine it breaks models with RMSNorm in megatron-core")
    else:
        yield Finding("apex", "ok", place, "NVIDIA's")


def _spec(module: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
