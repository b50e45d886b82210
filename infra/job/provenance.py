"""What made a result: versions of libraries and of this code, and the machine. Goes into manifests; imports none of the libraries."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = (
    "torch", "megatron-core", "transformer-engine", "transformers", "tokenizers", "safetensors", "tiktoken", "datasets", "lm_eval", "trl",
    "peft", "mergekit", "numpy", "pyarrow", "pydantic", "fsspec", "s3fs", "prefect", "mlflow", "smolflow",
)  # fmt: skip
CHECKOUT = Path(__file__).resolve().parent.parent.parent


@cache
def versions() -> dict[str, str]:
    """Installed versions of the libraries that matter, and of Python. Looked up once: a process goes on with what it has imported."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Host, platform, CPUs that this process may use, memory in bytes, names of the accelerators."""
    return {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "accelerators": [_field(str(path), "Model") for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))],
    }


@cache
def code_version() -> str:
    """Commit of the checkout, with '+changes' where files differ from it; the package's version where there is no checkout."""
    commit = _git("rev-parse", "HEAD")
    if commit:
        return commit + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    try:
        return version("smolflow")
    except PackageNotFoundError:
        return "unknown"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(CHECKOUT), *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _field(path: str, name: str) -> str:
    """Value of the first line `name : value` of a file of the kernel's; '' where there is none."""
    try:
        for line in Path(path).read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    except OSError:
        pass
    return ""
