"""Who a process is, well enough to tell later whether it still lives."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path


@cache
def this_host() -> str:
    """This machine since it was booted, and this container on it: process numbers compare only within one."""
    boot = _text("/proc/sys/kernel/random/boot_id")[:8]
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return "/".join(part for part in (socket.gethostname(), boot, namespace.strip("pid:[]")) if part)


def started(pid: int) -> str:
    """When the process `pid` began, in ticks since boot; '' where it is gone (or a zombie), '?' where this system does not tell."""
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            return "?"
        return "?"
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()  # the name in brackets may hold spaces
    return "" if not fields or fields[0] in "ZX" else fields[19]


def alive(pid: int, since: str) -> bool:
    """Whether the process `pid` of this host that began at `since` still runs (a number that was given again does not count)."""
    now = started(pid)
    if "?" in (now, since):
        return now != ""
    return now != "" and now == since


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
