"""The CPU backend: when it refuses to act, and what it sets up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models import cpu_backend, weight_gradient

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, *path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    search = os.pathsep.join(map(str, (*path, ROOT)))
    env = os.environ | {"PYTHONPATH": search, "CUDA_VISIBLE_DEVICES": ""} | environment
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120, check=False)


def test_it_refuses_to_act_where_cuda_exists() -> None:
    with pytest.raises(cpu_backend.BackendError, match="refuses to act where CUDA exists"):
        cpu_backend.refuse_cuda(True)
    cpu_backend.refuse_cuda(False)


@pytest.mark.parametrize("version", ["0.14.0", "0.17.0", "0.16.10", None])
def test_an_untested_megatron_core_is_refused_with_the_version_to_install(version: str | None) -> None:
    with pytest.raises(cpu_backend.BackendError, match=r"pip install megatron-core==0\.16\.1"):
        cpu_backend.assess(version, apex=False, transformer_engine=False)


def test_the_installed_megatron_core_is_the_tested_one() -> None:
    assert cpu_backend.core_version() in cpu_backend.TESTED


def test_apex_is_refused_only_without_transformer_engine() -> None:
    with pytest.raises(cpu_backend.BackendError, match="unrelated web toolkit"):
        cpu_backend.assess("0.16.1", apex=True, transformer_engine=False)
    cpu_backend.assess("0.16.1", apex=True, transformer_engine=True)


def test_an_importable_apex_stops_training_before_it_begins(tmp_path: Path) -> None:
    (tmp_path / "apex").mkdir()
    (tmp_path / "apex" / "__init__.py").touch()
    result = python("import models.build", tmp_path)
    assert result.returncode == 1
    assert "makes megatron-core pick FusedLayerNorm" in result.stderr


def test_it_must_come_before_megatron_core() -> None:
    result = python("import sys, types; sys.modules['megatron.core'] = types.ModuleType('megatron.core'); import models.backend")
    assert result.returncode == 1
    assert "megatron.core was imported before the CPU backend" in result.stderr


def test_it_rewrites_megatron_core_and_nothing_else() -> None:
    code = """
import torch, models.backend
from megatron.core import tensor_parallel
from megatron.core.jit import jit_fuser
from models import cpu_backend, cuda_stand_in
cpu_backend.install()
assert tensor_parallel.random.torch is torch
assert torch.cuda.current_device is not cuda_stand_in.current_device
assert jit_fuser(len) is len
assert torch.get_num_threads() == 1
tensor_parallel.model_parallel_cuda_manual_seed(3, tp_rank=0, ep_rank=0, etp_rank=0)
with tensor_parallel.get_cuda_rng_tracker().fork():
    a = torch.rand(3)
torch.rand(5)
tensor_parallel.model_parallel_cuda_manual_seed(3, tp_rank=0, ep_rank=0, etp_rank=0)
with tensor_parallel.get_cuda_rng_tracker().fork():
    assert torch.equal(a, torch.rand(3))
"""
    result = python(code, OMP_NUM_THREADS="4")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("gradient", "tolerance"), [(torch.bfloat16, 0.02), (torch.float32, 1e-6)])
def test_the_stand_in_for_apex_accumulates_the_weight_gradient(gradient: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    x, dy = torch.randn(2, 8, 16).to(gradient), torch.randn(2, 8, 24).to(gradient)
    main = torch.randn(24, 16)
    expected = main.double() + dy.double().reshape(-1, 24).t() @ x.double().reshape(-1, 16)
    weight_gradient.wgrad_gemm_accum_fp32(x, dy, main)
    assert (main - expected).norm() / expected.norm() < tolerance


KEPT = """
import importlib, importlib.util, marshal, pathlib, sys
from models import cpu_backend
cpu_backend.install()
source = pathlib.Path(sys.argv[1])

def place():
    for name in [name for name in sys.modules if name.startswith("megatron")]:
        del sys.modules[name]
    return importlib.import_module("megatron.core").place

found = [place()]
(kept,) = source.parent.glob("**/*.opt-cpu*.pyc")
header = kept.read_bytes()[:16]
kept.write_bytes(header + marshal.dumps(compile("place = 'from what was kept'", str(source), "exec")))
found.append(place())
for damaged in (header, header + b"\\xe3", kept.read_bytes()[1:], b""):
    kept.write_bytes(damaged)
    found.append(place())
source.write_text("place = 'now cuda'; place = 'cuda', 'changed'")
found.append(place())
print(found)
"""


def test_rewritten_modules_are_kept_until_the_source_changes(tmp_path: Path) -> None:
    source = tmp_path / "megatron" / "core" / "__init__.py"
    source.parent.mkdir(parents=True)
    (source.parent.parent / "__init__.py").touch()
    source.write_text("place = 'cuda'")
    done = python(f"import sys; sys.argv[1:] = [{str(source)!r}]\n{KEPT}", tmp_path, PYTHONDONTWRITEBYTECODE="")
    assert done.stdout.strip() == str(["cpu", "from what was kept", *["cpu"] * 4, ("cpu", "changed")]), done.stderr


def test_nothing_is_kept_where_python_must_not_write_bytecode(tmp_path: Path) -> None:
    source = tmp_path / "megatron" / "core" / "__init__.py"
    source.parent.mkdir(parents=True)
    (source.parent.parent / "__init__.py").touch()
    source.write_text("place = 'cuda'")
    code = "import models.backend, megatron.core; print(megatron.core.place)"
    assert python(code, tmp_path, PYTHONDONTWRITEBYTECODE="1").stdout.strip() == "cpu"
    assert not list(tmp_path.rglob("*.pyc"))
