"""The one choice of backend: CUDA with NCCL and Transformer Engine, or CPU processes with gloo. Imported before megatron.core."""

from __future__ import annotations

import importlib.util
import sys

import torch

from models import cpu_backend, weight_gradient

HAVE_CUDA: bool = torch.cuda.is_available()
"""True: this process trains on a GPU."""
HAVE_TRANSFORMER_ENGINE: bool = HAVE_CUDA and importlib.util.find_spec("transformer_engine") is not None
"""True: layers come from Transformer Engine (fused kernels, FP8)."""
DEVICE = torch.device("cuda" if HAVE_CUDA else "cpu")
"""Where tensors live; on CUDA the rank's own device, once `models.parallel.initialise` has chosen it."""

if HAVE_CUDA:
    cpu_backend.assess_packages(HAVE_TRANSFORMER_ENGINE)
    if importlib.util.find_spec(weight_gradient.APEX_NAME) is None:
        sys.modules[weight_gradient.APEX_NAME] = weight_gradient  # megatron-core looks for the name once, at import
else:
    cpu_backend.install()
