"""What megatron-core finds in place of `torch.cuda` on a machine without CUDA: one device, no streams, the CPU's random generator."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import torch

_T = TypeVar("_T")


class Stream:
    """A stream or event whose every operation is already finished."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., Stream]:
        return lambda *args, **kwargs: self

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def query(self) -> bool:
        """True: nothing is ever pending."""
        return True

    def elapsed_time(self, other: Stream) -> float:
        """0 milliseconds: nothing is timed here."""
        return 0.0


def move(value: _T) -> _T:
    """The tensor or module itself: it is on the compute device, or on `meta`, where models are only measured."""
    return value


def current_device() -> str:
    """The one device."""
    return "cpu"


def device_count() -> int:
    """One device per process."""
    return 1


def is_available() -> bool:
    """False: no CUDA."""
    return False


def is_initialized() -> bool:
    """False: no CUDA context."""
    return False


def synchronize(*args: Any, **kwargs: Any) -> None:
    """Nothing runs asynchronously."""


def current_stream(*args: Any, **kwargs: Any) -> Stream:
    """The stand-in stream."""
    return Stream()


def stream(stream: Any) -> contextlib.AbstractContextManager[None]:
    """A context without effect."""
    return contextlib.nullcontext()


def get_rng_state(device: Any = None) -> torch.Tensor:
    """State of the CPU generator, which plays the CUDA generator too."""
    return torch.get_rng_state()


def set_rng_state(state: torch.Tensor, device: Any = None) -> None:
    """Set the CPU generator."""
    torch.set_rng_state(state)


def manual_seed(seed: int) -> None:
    """Seed the CPU generator."""
    torch.default_generator.manual_seed(seed)


def memory_allocated(*args: Any) -> int:
    """0: no device memory."""
    return 0


def _lazy_init() -> None:
    pass


def _lazy_call(function: Callable[[], object], **kwargs: Any) -> None:
    function()


empty_cache = ipc_collect = reset_peak_memory_stats = set_device = synchronize
default_stream = current_stream
max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated
Event = ExternalStream = Stream
default_generators = {"cpu": torch.default_generator, None: torch.default_generator}
random = sys.modules[__name__]  # torch.cuda.random.get_rng_state


def __getattr__(name: str) -> Any:
    """`torch.cuda.FloatTensor` is `torch.FloatTensor`; anything else is the real, inert attribute."""
    return getattr(torch, name) if name.endswith("Tensor") else getattr(torch.cuda, name)
