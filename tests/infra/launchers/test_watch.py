from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.errors import StageError
from infra.launchers.process import spawned
from infra.launchers.watch import Result, run
from tests.infra.launchers.children import RANKS, environment, is_gone, python, read_pids, wait_for


class Seen:
    """Collects what a job shows."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.progress: list[tuple[float, float, str]] = []

    def run(self, code: str, job_dir: Path, check: Callable[[], object] | None = None, grace: float = 1.0) -> Result:
        return run(
            spawned(python(code), environment()),
            job_dir,
            on_line=self.lines.append,
            on_progress=lambda *news: self.progress.append(news),
            check=check,
            grace=grace,
        )


GOOD = """
import json, os, pathlib
here = pathlib.Path(os.environ["SMOLFLOW_JOB_DIR"])
assert pathlib.Path.cwd() == here
print("step 1")
with open("progress.jsonl", "a") as progress:
    progress.write(json.dumps({"done": 7, "total": 9, "note": "loss 4.2"}) + "\\n")
said = {"exit": 0, "reason": "", "code": "", "part": "step-000009", "summary": {"counts": {"tokens": 3}}}
(here / "result.json").write_text(json.dumps(said))
"""


def test_a_job_hands_over_lines_progress_and_its_result(tmp_path: Path) -> None:
    seen = Seen()
    result = seen.run(GOOD, tmp_path)
    assert result == Result(0, tmp_path / "log.txt", part="step-000009", summary={"counts": {"tokens": 3}})
    assert seen.lines == ["step 1"]
    assert seen.progress == [(7.0, 9.0, "loss 4.2")]


def test_a_result_of_an_earlier_attempt_is_not_taken_for_this_one(tmp_path: Path) -> None:
    Seen().run(GOOD, tmp_path)
    result = Seen().run("pass", tmp_path)
    assert result.code == 1
    assert "left no result" in result.reason


def test_the_worker_exit_code_is_the_one_in_its_result(tmp_path: Path) -> None:
    said = json.dumps({"exit": 75, "reason": "SIGTERM: saved step 13", "code": "stage", "part": "step-000013", "summary": {}})
    result = Seen().run(f"import pathlib, sys; pathlib.Path('result.json').write_text({said!r}); sys.exit(1)", tmp_path)
    assert (result.code, result.reason, result.error, result.part) == (75, "SIGTERM: saved step 13", "stage", "step-000013")


def test_a_failure_shows_the_traceback(tmp_path: Path) -> None:
    result = Seen().run("print('hello'); raise FloatingPointError('loss is not finite at step 12')", tmp_path)
    assert result.code == 1
    assert "FloatingPointError: loss is not finite at step 12" in result.reason


def test_a_failure_without_a_traceback_shows_the_last_lines(tmp_path: Path) -> None:
    result = Seen().run("import sys; print('disk quota exceeded'); sys.exit(9)", tmp_path)
    assert result.code == 9
    assert "disk quota exceeded" in result.reason


def test_sigkill_is_told_with_its_usual_cause(tmp_path: Path) -> None:
    result = Seen().run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", tmp_path)
    assert result.code == 1
    assert "SIGKILL: the machine ran out of memory" in result.reason


def test_an_earlier_attempt_is_not_blamed(tmp_path: Path) -> None:
    Seen().run("raise FloatingPointError('old trouble')", tmp_path)
    result = Seen().run("raise MemoryError('new trouble')", tmp_path)
    assert "new trouble" in result.reason
    assert "old trouble" not in result.reason
    assert "old trouble" in result.log.read_text()


def test_a_check_that_raises_ends_the_whole_tree_even_ranks_that_ignore_sigterm(tmp_path: Path) -> None:
    def check() -> None:
        if (tmp_path / "pids").exists() and (tmp_path / "pids").read_text():
            raise StageError("the server regards this attempt as over", do="follow the newer attempt")

    seen = Seen()
    with pytest.raises(StageError, match="attempt as over"):
        seen.run(RANKS, tmp_path, check)
    assert all(is_gone(pid) for pid in read_pids(tmp_path / "pids"))
    assert "by SIGKILL" in seen.lines[-1]


def test_an_interrupt_lets_the_worker_save(tmp_path: Path) -> None:
    saving = """
import signal, sys, time, pathlib
def save(*_):
    pathlib.Path("saved").write_text("yes")
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
pathlib.Path("ready").write_text("yes")
time.sleep(600)
"""

    def interrupt() -> None:
        if (tmp_path / "ready").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Seen().run(saving, tmp_path, interrupt, grace=20.0)
    assert (tmp_path / "saved").read_text() == "yes"


def test_ranks_that_outlive_their_agent_are_ended(tmp_path: Path) -> None:
    result = Seen().run(RANKS.replace("time.sleep(600)\n", "sys.exit(3)\n"), tmp_path)
    assert result.code == 3
    assert all(is_gone(pid) for pid in read_pids(tmp_path / "pids"))


def test_a_display_that_fails_does_not_end_the_job(tmp_path: Path) -> None:
    def broken(*_: object) -> None:
        raise ConnectionError("the server is away")

    result = run(spawned(python(GOOD), environment()), tmp_path, on_line=broken, on_progress=broken)
    assert result.code == 0


def test_a_flood_of_lines_is_cut_and_kept_in_the_file(tmp_path: Path) -> None:
    seen = Seen()
    result = seen.run("for i in range(5000): print('line', i)", tmp_path)
    assert len(seen.lines) < 1000
    assert "lines were not shown" in seen.lines[-1]
    assert "line 4999" in result.log.read_text()


PARENT = """
import sys, os, pathlib
sys.path.insert(0, {checkout!r})
from infra.launchers.process import spawned
from infra.launchers.watch import run
child = '''
import os, pathlib, signal, sys, time
def save(*_):
    pathlib.Path("saved").write_text("yes")
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
pathlib.Path("pids").write_text(str(os.getpid()))
time.sleep(600)
'''
run(spawned([sys.executable, "-c", child], dict(os.environ)), pathlib.Path({job!r}), on_line=print, on_progress=print)
"""


def test_a_killed_flow_process_takes_its_worker_along_and_lets_it_save(tmp_path: Path) -> None:
    checkout = str(Path(__file__).resolve().parents[3])
    parent = subprocess.Popen([sys.executable, "-c", PARENT.format(checkout=checkout, job=str(tmp_path))])
    (pid,) = read_pids(tmp_path / "pids")
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: is_gone(pid))
    assert (tmp_path / "saved").read_text() == "yes"


def test_what_an_earlier_attempt_left_is_ended_before_a_new_one_starts(tmp_path: Path) -> None:
    script = f"import os; os.chdir({str(tmp_path)!r})\n{RANKS}"
    orphan = subprocess.Popen(python(script), env=environment() | {"SMOLFLOW_JOB_DIR": str(tmp_path)}, start_new_session=True)
    left = [orphan.pid, *read_pids(tmp_path / "pids")]
    try:
        assert Seen().run(GOOD, tmp_path).code == 0
        assert all(is_gone(pid) for pid in left)
    finally:
        orphan.kill()
        orphan.wait()


def test_another_job_is_left_alone(tmp_path: Path) -> None:
    other = subprocess.Popen(python("import time; time.sleep(600)"), env=environment() | {"SMOLFLOW_JOB_DIR": str(tmp_path / "other")})
    try:
        Seen().run(GOOD, tmp_path / "mine")
        assert not is_gone(other.pid)
    finally:
        other.kill()
        other.wait()


def test_a_program_gets_its_signals_back_from_a_shell_that_ignores_them(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = Seen().run("import os, signal; os.kill(os.getpid(), signal.SIGINT)", tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "KeyboardInterrupt" in result.reason
