"""Setting up one layout after another in one process leaves nothing of the earlier ones behind."""

from __future__ import annotations

import psutil
import torch
import torch.distributed as dist

from models import parallel
from models.layout import Layout


def test_a_layout_that_was_left_keeps_no_threads() -> None:
    try:
        parallel.initialise(Layout(), seed=0)
        first = psutil.Process().num_threads()
        for _ in range(3):
            parallel.destroy(keep_processes=True)
            parallel.initialise(Layout(), seed=0)
        assert psutil.Process().num_threads() <= first + 8, "process groups of earlier layouts are still alive"
        total = torch.ones(2)
        dist.all_reduce(total)
        assert total.tolist() == [1.0, 1.0]
    finally:
        parallel.destroy()
