"""Who listens on a port: a taken one is told with its holder and the setting to change."""

from __future__ import annotations

import errno
import socket

import psutil

from contracts.errors import ResourceError
from infra.site import Server


def require_free(server: Server, setting: str) -> None:
    """Raise ResourceError when `server`'s port cannot be bound; `setting` is the site's field that chooses it."""
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((server.host, server.port))
            return
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            what = (
                f"port {server.port} is already taken{_holder(server.port)}"
                if taken
                else f"cannot bind {server.host}:{server.port}: {error}"
            )
    raise ResourceError(what, where=setting, do=f"stop that process, or set {setting}.port in a site file and name it in SMOLFLOW_SITE")


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port and connection.pid:
                process = psutil.Process(connection.pid)
                return f" by process {process.pid}: {' '.join(process.cmdline())[:120]}"
    except psutil.Error:
        pass
    return " by another process"
