"""The command answers at once: help imports nothing heavy, and the flows nothing but Prefect that is."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("prefect", "torch", "mlflow", "transformers")
PROGRAM = """
import sys
from deployments.command import main
sys.argv = ["smolflow", *{arguments}]
try:
    main()
finally:
    print("imported:", sorted(set({heavy}) & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["up", "--help"], ["chat", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = PROGRAM.format(arguments=arguments, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout and "imported: []" in done.stderr, done.stderr


def test_the_flows_import_nothing_that_only_their_stages_need() -> None:
    program = "import sys, flows.playbook; print(sorted({'torch', 'transformers', 'numpy', 'pyarrow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "[]", done.stderr or done.stdout
