"""Runs the pip package megatron-core, unmodified, on CPU processes with gloo.

megatron-core names CUDA throughout. Where a machine has none, `install` puts an import hook in front of `megatron.core` that rewrites the
syntax tree of each of its modules as it is imported:

    'cuda'                      -> 'cpu'                        (device=, device_type=, autocast)
    'torch.cuda.FloatTensor'    -> 'torch.FloatTensor'          (the optimizers' checks of param.type())
    torch.cuda.X                -> models.cuda_stand_in.X
    from torch.cuda import X    -> from models.cuda_stand_in import X
    tensor.cuda(...)            -> models.cuda_stand_in.move(tensor)
    tensor.is_cuda              -> True                         ("on the compute device")
    pin_memory=...              -> pin_memory=False

torch itself is not patched, and no file of the package is changed. What was rewritten is kept as bytecode beside Python's own, under a tag
of its own, unless PYTHONDONTWRITEBYTECODE forbids it: rewriting costs every process 2 s. Every entry script that trains must import this
module's user (models.build) at its top: the first checkpoint save starts a process that imports the script again.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.machinery
import importlib.metadata
import importlib.util
import logging
import marshal
import os
import sys
import types
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from contracts.errors import SmolflowError
from models import cuda_stand_in

TESTED = ("0.16.1",)
"""Versions of megatron-core that the layout and checkpoint tests were run with."""
_STAND_IN = "models.cuda_stand_in"
_NAME = "__cuda_stand_in__"


class BackendError(SmolflowError):
    """This machine's packages cannot train: a version outside the tested range, or one that breaks megatron-core."""

    code = "backend"


def install() -> None:
    """Make `import megatron.core` work here without CUDA, with one OpenMP thread. A second call does nothing.

    Raises:
        BackendError: CUDA exists, megatron-core is outside the tested range or already imported, or an `apex` is importable.
    """
    if any(finder is _Finder for finder in sys.meta_path):
        return
    refuse_cuda(torch.cuda.is_available())
    assess_packages(transformer_engine=False)
    if any(name == "megatron.core" or name.startswith("megatron.core.") for name in sys.modules):
        raise BackendError("megatron.core was imported before the CPU backend", do="import models.build before anything of megatron.core")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that this one starts
    torch.set_num_threads(1)  # spinning OpenMP threads of several ranks on the same cores cost a factor of 2 to 20
    logging.getLogger("megatron.core.tensor_parallel.random").addFilter(_one_generator_plays_both_parts)
    warnings.filterwarnings("ignore", module=r"megatron\.core")  # a dozen notes that CUDA packages are missing
    sys.meta_path.insert(0, _Finder)  # type: ignore[arg-type]


def refuse_cuda(cuda: bool) -> None:
    """Refuse to act where CUDA exists.

    Raises:
        BackendError: `cuda` is true.
    """
    if cuda:
        raise BackendError(
            "the CPU backend refuses to act where CUDA exists",
            do="import models.backend, which picks the backend; CUDA_VISIBLE_DEVICES= hides the GPUs",
        )


def assess_packages(transformer_engine: bool) -> None:
    """Refuse an environment in which megatron-core would break or was never tested.

    Raises:
        BackendError: with the reason and the command that mends it.
    """
    assess(core_version(), importlib.util.find_spec("apex") is not None, transformer_engine)


def assess(version: str | None, apex: bool, transformer_engine: bool) -> None:
    """The rules of `assess_packages` for given facts: megatron-core's version, and whether `apex` and Transformer Engine can be imported.

    Raises:
        BackendError: with the reason and the command that mends it.
    """
    if version not in TESTED:
        found = f"megatron-core {version}" if version else "no megatron-core"
        raise BackendError(
            f"training was tested with megatron-core {', '.join(TESTED)}, whose inside it relies on; this environment has {found}",
            do=f"pip install megatron-core=={TESTED[-1]}",
        )
    if apex and not transformer_engine:
        raise BackendError(
            "an importable package `apex` without Transformer Engine makes megatron-core pick FusedLayerNorm, which refuses RMSNorm",
            do="pip uninstall apex (the package index's `apex` is an unrelated web toolkit)",
        )


def core_version() -> str | None:
    """Installed version of megatron-core, or None."""
    try:
        return importlib.metadata.version("megatron-core")
    except importlib.metadata.PackageNotFoundError:
        return None


def _one_generator_plays_both_parts(record: logging.LogRecord) -> bool:
    return "CPU RNG state changed" not in str(record.msg)


class _Rewrite(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if node.value == "cuda":
            node.value = "cpu"
        elif isinstance(node.value, str) and node.value.startswith("torch.cuda.") and node.value.endswith("Tensor"):
            node.value = "torch." + node.value.removeprefix("torch.cuda.")
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if node.attr == "cuda" and isinstance(node.value, ast.Name) and node.value.id == "torch":
            return ast.copy_location(ast.Name(_NAME, node.ctx), node)
        if node.attr == "is_cuda":
            return ast.copy_location(ast.Constant(True), node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        for keyword in node.keywords:
            if keyword.arg == "pin_memory":
                keyword.value = ast.copy_location(ast.Constant(False), keyword.value)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "cuda":
            move = ast.Attribute(ast.Name(_NAME, ast.Load()), "move", ast.Load())
            return ast.fix_missing_locations(ast.copy_location(ast.Call(move, [node.func.value], []), node))
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.module == "torch.cuda" and not node.level:
            node.module = _STAND_IN
        return node


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> types.CodeType:
        path = self.get_filename(fullname)
        kept = importlib.util.cache_from_source(path, optimization=_tag())
        header = _header(self.path_stats(path))
        with contextlib.suppress(OSError, ValueError, EOFError, TypeError):
            data = self.get_data(kept)
            if data.startswith(header):
                return marshal.loads(memoryview(data)[len(header) :])
        code: types.CodeType = compile(_Rewrite().visit(ast.parse(self.get_data(path), path)), path, "exec", dont_inherit=True)
        if not sys.dont_write_bytecode:
            self.set_data(kept, header + marshal.dumps(code))  # whole or not at all; where it may not be written nothing happens
        return code

    def exec_module(self, module: types.ModuleType) -> None:
        module.__dict__[_NAME] = cuda_stand_in
        super().exec_module(module)
        if module.__name__ == "megatron.core.jit":
            module.__dict__["jit_fuser"] = lambda function: function  # torch.compile would need a compiler and gains nothing here


@functools.cache
def _tag() -> str:
    """Names the bytecode of this very rewriting: other rules have other files."""
    return f"cpu{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]}"


def _header(source: Mapping[str, Any]) -> bytes:
    """What a .pyc begins with (PEP 552): Python's version, and time and size of the source that it was made from."""
    numbers = (0, int(source["mtime"]), int(source["size"]))
    return importlib.util.MAGIC_NUMBER + b"".join((number & 0xFFFFFFFF).to_bytes(4, "little") for number in numbers)


class _Finder:
    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "megatron.core" and not name.startswith("megatron.core."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec
