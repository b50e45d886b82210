"""How the tests are shared out where several processes run them (`make test`: two)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

FIRST = ["tests/e2e/", "tests/tasks/training/"]
"""What takes longest begins first, so that one process does not wait for the other at the end."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """One process runs everything in the order of the files; of several each is told the same other order."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: next((place for place, folder in enumerate(FIRST) if item.nodeid.startswith(folder)), len(FIRST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file stays with one process, and so does all that drives a local stack: it is started once, and waits more than it computes."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = Path(nodeid.partition("::")[0])
            return str(path.parent if path.parent.name == "e2e" else path)

    config.option.loadscopereorder = False  # by the number of tests; ours are in order of time
    return ByFile(config, log)
