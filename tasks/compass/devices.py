"""Published figures of the devices a plan can be priced on."""

from __future__ import annotations

from typing import NamedTuple


class Device(NamedTuple):
    """Dense bfloat16 peak in TFLOP/s (never the sparse figure) and memory in GiB; None where there is no published one."""

    peak_tflops: float | None
    memory_gib: float | None


DEVICES: dict[str, Device] = {
    "a100": Device(312.0, 79.0),
    "h100": Device(989.4, 79.0),
    "h200": Device(989.4, 140.0),
    "b200": Device(2250.0, 178.0),
    "cpu": Device(None, None),
}
"""Memory is what a program can use of the nominal size (80, 141 and 180 GB parts)."""
