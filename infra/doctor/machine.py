"""Processors, memory, disk, devices, Python."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from infra.doctor.finding import Finding
from infra.site import Site

TESTED_PYTHON = ((3, 11), (3, 12))
GIB = 1024**3
TINY_MEMORY_GIB, TINY_DISK_GIB = 4.0, 5.0


def machine_findings(site: Site) -> Iterator[Finding]:
    """What the machine itself offers."""
    yield _python()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ranks = "recipe tiny trains two ranks, one a core" if cores > 1 else "two ranks of recipe tiny share it: expect half the speed"
    yield Finding("processors", "ok" if cores > 1 else "warn", f"{cores} usable", ranks)
    yield _memory()
    yield _disk(site.home)
    yield from _devices()
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    closed = "the browser tests of the report cannot run: apt-get install chromium"
    yield Finding(
        "chromium", "ok" if browser else "warn", browser or "not found", "screenshots of the report in the tests" if browser else closed
    )


def _python() -> Finding:
    version = sys.version_info
    found = f"{version.major}.{version.minor}.{version.micro} ({sys.executable})"
    if (version.major, version.minor) in TESTED_PYTHON:
        return Finding("python", "ok", found, "tested")
    if version < (3, 11):
        return Finding("python", "error", found, "3.11 or newer is needed")
    return Finding("python", "warn", found, "not tested; 3.11 (CPU) and 3.12 (GPU) are")


def _memory() -> Finding:
    if importlib.util.find_spec("psutil") is None:
        return Finding("memory", "error", "unknown: psutil is missing", "pip install psutil; the local stack and Prefect's worker need it")
    import psutil

    whole, free = min(psutil.virtual_memory().total, _memory_limit() or psutil.virtual_memory().total), available_memory()
    found = f"{free / GIB:.1f} GiB available of {whole / GIB:.1f}"
    if free < TINY_MEMORY_GIB * GIB:
        return Finding("memory", "warn", found, f"servers and recipe tiny together peak at about 3 GiB; {TINY_MEMORY_GIB:.0f} leave room")
    return Finding("memory", "ok", found, "enough for the local stack and recipe tiny")


def available_memory() -> int:
    """Bytes that processes may still take here; a container's limit counts."""
    import psutil

    free = int(psutil.virtual_memory().available)
    limit = _memory_limit()
    return free if limit is None else min(free, limit)


def _memory_limit() -> int | None:
    """Limit of a container, in bytes."""
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(place).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            return int(text)
    return None


def _disk(home: Path) -> Finding:
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    found = f"{free / GIB:.1f} GiB free at {there}"
    if not os.access(there, os.W_OK):
        return Finding("disk", "error", found, f"{there} cannot be written: set SMOLFLOW_HOME")
    enough = free >= TINY_DISK_GIB * GIB
    return Finding(
        "disk",
        "ok" if enough else "warn",
        found,
        "enough for recipe tiny" if enough else f"installation and recipe tiny together want {TINY_DISK_GIB:.0f} GiB",
    )


def _devices() -> Iterator[Finding]:
    names = _gpu_names()
    if not names:
        yield Finding(
            "GPUs", "ok", "none", "training runs on gloo processes with the CPU backend; a recipe for GPUs can be planned with --dry-run"
        )
        return
    build = _torch_cuda()
    yield Finding(
        "GPUs", "ok", f"{len(names)}: {', '.join(sorted(set(names)))}", "bf16 training over NCCL, on a pool of kind gpu (site one-gpu)"
    )
    if build is None:
        yield Finding("torch on GPU", "error", "torch is a CPU build", "the GPUs cannot be used: install from constraints-gpu-py312.txt")
    else:
        yield Finding("torch on GPU", "ok", f"built for CUDA {build}", "the GPU code path is open")


def _gpu_names() -> list[str]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        said = subprocess.run([tool, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in said.stdout.splitlines() if line.strip()]


def _torch_cuda() -> str | None:
    """CUDA version torch was built for, read from its version file: importing torch takes seconds."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    version: dict[str, object] = {}
    exec(compile((Path(spec.origin).parent / "version.py").read_text(encoding="utf-8"), "version.py", "exec"), version)
    return str(version["cuda"]) if version.get("cuda") else None
