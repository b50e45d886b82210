"""One local stack for all tests that drive the line, and the line run once on it; both end with this package, not with the whole suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.driving import Stack, make_stack


@pytest.fixture(scope="package")
def line_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A local stack, started once."""
    made = make_stack(tmp_path_factory.mktemp("line"))
    made.command("up")
    try:
        yield made
    finally:
        made.command("down", check=False)


@pytest.fixture(scope="package")
def smoke(line_stack: Stack) -> Stack:
    """The stack after `smolflow run --recipe smoke`."""
    done = line_stack.command("run", "--recipe", "smoke", timeout=400)
    assert "where to look" in done.stdout
    return line_stack
