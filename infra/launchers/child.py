"""Start another program with clean signals: `python -I -S child.py [--die-with PID] -- program arguments...`

Run by path, so it costs a bare interpreter start and imports nothing of ours. It does what must happen between fork and exec, where
Python code of a threaded parent is not safe:

* SIGINT and SIGTERM get their default action back. A shell that starts jobs with `&` ignores SIGINT for them, the disposition survives
  exec, and a Prefect worker, which turns SIGTERM into SIGINT, could then not be stopped.
* with --die-with, the program gets SIGTERM when the parent process (PID) dies, SIGKILL of the parent included (Linux).
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Replace this process by the program after `--`."""
    cut = arguments.index("--")
    options, program = arguments[:cut], arguments[cut + 1 :]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if options[:1] == ["--die-with"]:
        die_with(int(options[1]))
    os.execvp(program[0], program)


def die_with(parent: int) -> None:
    """Get SIGTERM when the parent process dies, or rather its thread that started this one (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the line above
            sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
