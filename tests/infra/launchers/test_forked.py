"""Workers forked from a server that has imported what they need: alike to started ones, whatever ends first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from contracts.errors import StageError
from infra.job import JobSpec
from infra.launchers.forked import forked
from infra.launchers.watch import Result, run
from tests.infra.launchers.children import is_gone, read_pids, wait_for

CHECKOUT = str(Path(__file__).resolve().parents[3])
WORKER = """
import json, os, pathlib, signal, sys, time
place = pathlib.Path(__file__).parent
with (place / "imports").open("a") as imports:
    imports.write(f"{os.getpid()}\\n")

def preload(spec):
    (place / "server").write_text(str(os.getpid()))
    time.sleep(spec.config.get("preload", 0))

def save(*_):
    if "orphan" in json.loads(pathlib.Path("spec.json").read_text())["config"]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the one that the server's end brings
        server = int((place / "server").read_text())
        os.kill(server, signal.SIGKILL)
        while os.getppid() == server:
            time.sleep(0.01)
    pathlib.Path("saved").write_text("yes")
    sys.exit(75)

def main(spec):
    here = pathlib.Path(os.environ["SMOLFLOW_JOB_DIR"])
    assert pathlib.Path.cwd() == here.resolve()
    print("works for", spec.stage)
    print(os.environ["COLOUR"], os.environ.get("ONCE"), sys.argv, file=sys.stderr)
    what = spec.config.get("what")
    if what == "fail":
        raise FloatingPointError("loss is not finite at step 12")
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hang":
        rank = os.fork()
        if rank == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
        signal.signal(signal.SIGTERM, save)
        (here / "pids").write_text(f"{os.getpid()} {rank}")
        time.sleep(600)
    (here / "result.json").write_text(json.dumps({"exit": 0, "part": "result", "summary": {"pid": os.getpid()}}))
    return 0
"""


class Workers:
    """Starts the worker above, with an environment and so a server of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(place), CHECKOUT]), "COLOUR": "green"}
        self.settings = {"SETTING": str(place)}
        (place / "worker_of_test.py").write_text(WORKER)

    def run(self, name: str = "job", check: Callable[[], object] | None = None, **config: object) -> Result:
        job = self.place / name
        job.mkdir(exist_ok=True)
        spec = JobSpec(stage=name, craft="none", fingerprint="f", workspace_key="w", store="memory://", config=config)
        (job / "spec.json").write_text(spec.model_dump_json())
        start = forked("worker_of_test", job / "spec.json", self.environment, self.settings)
        return run(start, job, on_line=print, on_progress=print, check=check, grace=2.0)

    def server(self) -> int:
        return read_pids(self.place / "server")[0]


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    made = Workers(tmp_path)
    yield made
    if (tmp_path / "server").exists():
        os.kill(made.server(), signal.SIGKILL)


def test_jobs_one_after_another_and_at_once_share_the_imports_and_no_process(workers: Workers) -> None:
    results = {"first": workers.run("first")}
    threads = [threading.Thread(target=lambda name=name: results.update({name: workers.run(name)})) for name in ("left", "right")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {result.code for result in results.values()} == {0}
    assert len({result.summary["pid"] for result in results.values()} | {workers.server()}) == 4
    assert (workers.place / "imports").read_text().split() == [str(workers.server())]
    assert results["left"].log.read_text().splitlines() == [
        "works for left",
        f"green None ['worker_of_test', '{workers.place / 'left' / 'spec.json'}']",
    ]


def test_each_job_has_its_environment_and_settings_of_libraries_their_server(workers: Workers) -> None:
    workers.environment |= {"ONCE": "1"}
    first, server = workers.run("first"), workers.server()
    del workers.environment["ONCE"]
    workers.environment["COLOUR"] = "red"
    second = workers.run("second")
    assert said(first) == ("green", "1")
    assert said(second) == ("red", "None")
    assert workers.server() == server
    workers.settings["SETTING"] = "other"
    workers.run("third")
    assert workers.server() != server
    os.kill(server, signal.SIGKILL)


def said(result: Result) -> tuple[str, ...]:
    return tuple(result.log.read_text().splitlines()[1].split()[:2])


def test_a_failure_shows_the_traceback_and_a_signal_its_name(workers: Workers) -> None:
    failed, killed = workers.run(what="fail"), workers.run("other", what="kill")
    assert failed.code == killed.code == 1
    assert "FloatingPointError: loss is not finite at step 12" in failed.reason
    assert "SIGKILL: the machine ran out of memory" in killed.reason


def test_an_import_that_fails_is_told_by_the_worker(workers: Workers) -> None:
    (workers.place / "worker_of_test.py").write_text("import no_such_module")
    assert "No module named 'no_such_module'" in workers.run().reason


def test_a_cancel_lets_the_worker_save_and_ends_what_it_forked(workers: Workers) -> None:
    pids, shown = workers.place / "job" / "pids", []

    def check() -> None:
        if pids.exists() and pids.read_text():
            shown.extend(psutil.Process(read_pids(pids)[0]).cmdline())
            raise StageError("cancelled", do="start it again")

    with pytest.raises(StageError, match="cancelled"):
        workers.run(check=check, what="hang")
    assert shown[1:] == ["-m", "worker_of_test", str(workers.place / "job" / "spec.json")], "ps shows what it works on"
    assert (workers.place / "job" / "saved").read_text() == "yes"
    assert all(is_gone(pid) for pid in read_pids(pids))
    assert not is_gone(workers.server())


def test_a_cancel_during_the_imports_means_that_the_work_never_begins(workers: Workers) -> None:
    def check() -> None:
        if (workers.place / "server").exists():
            raise StageError("cancelled", do="start it again")

    with pytest.raises(StageError, match="cancelled"):
        workers.run(check=check, preload=1.0)
    assert "works for" not in (workers.place / "job" / "log.txt").read_text()
    assert workers.run("next").code == 0


def test_a_server_that_was_killed_is_told_and_replaced(workers: Workers) -> None:
    pids, killed = workers.place / "job" / "pids", []

    def check() -> None:
        if pids.exists() and pids.read_text() and not killed:
            killed.append(workers.server())
            os.kill(killed[0], signal.SIGKILL)

    result = workers.run(check=check, what="hang")
    assert result.code == 1
    assert "the process that workers are forked from ended before this one: exit code -9" in result.reason
    assert (workers.place / "job" / "saved").read_text() == "yes", "the worker had its time"
    assert all(is_gone(pid) for pid in read_pids(pids))
    assert workers.run("next").code == 0
    assert workers.server() != killed[0]


def test_a_server_that_is_killed_while_a_cancel_waits_for_its_job_hurts_nobody(workers: Workers) -> None:
    """The worker kills it as it begins to save: the cancel stands between its SIGTERM and the worker's end by then."""
    pids, servers = workers.place / "job" / "pids", []

    def check() -> None:
        if pids.exists() and pids.read_text():
            servers.append(workers.server())
            raise StageError("cancelled", do="start it again")

    with pytest.raises(StageError, match="cancelled"):
        workers.run(check=check, what="hang", orphan=True)
    assert (workers.place / "job" / "saved").read_text() == "yes", "the worker had its time"
    assert all(is_gone(pid) for pid in [*servers, *read_pids(pids)])
    assert "forked from ended before this one: exit code -9" in (workers.place / "job" / "log.txt").read_text()
    assert workers.run("next").code == 0
    assert [workers.server()] != servers


def test_a_server_that_cannot_start_says_why(workers: Workers) -> None:
    broken = workers.place / "infra" / "launchers"
    broken.mkdir(parents=True)
    for place in (broken.parent, broken):
        (place / "__init__.py").touch()
    (broken / "fork_server.py").write_text("raise SystemError('no room for a server')")
    assert "SystemError: no room for a server" in workers.run().reason


def test_a_job_that_cannot_be_forked_is_told_and_those_that_run_are_left_alone(workers: Workers) -> None:
    workers.run("first")
    server = psutil.Process(workers.server())
    before, descriptors = server.rlimit(psutil.RLIMIT_NOFILE), Path(f"/proc/{server.pid}/fd")
    wait_for(lambda: not any("pidfd" in os.readlink(one) for one in descriptors.iterdir()))  # the first one's are closed
    taken = {int(one.name) for one in descriptors.iterdir()}
    _, second, *_ = (number for number in range(64) if number not in taken)
    server.rlimit(psutil.RLIMIT_NOFILE, (second, before[1]))  # room for the job's line, and for nothing that watches its process
    refused = workers.run("second")
    assert refused.code == 1
    assert "no process could be forked for this job" in refused.reason
    server.rlimit(psutil.RLIMIT_NOFILE, before)
    assert workers.run("third").code == 0
    assert workers.server() == server.pid


def test_a_signal_for_all_of_a_group_is_the_workers_to_obey(workers: Workers) -> None:
    pids = workers.place / "job" / "pids"

    def check() -> None:
        if pids.exists() and pids.read_text() and not (workers.place / "job" / "saved").exists():
            for pid in (workers.server(), read_pids(pids)[0]):
                os.kill(pid, signal.SIGTERM)

    result = workers.run(check=check, what="hang")
    assert "forked from" not in result.log.read_text()
    assert (workers.place / "job" / "saved").read_text() == "yes"
    assert not is_gone(workers.server())


def test_what_an_earlier_attempt_left_is_found_behind_a_link(workers: Workers, tmp_path: Path) -> None:
    (workers.place / "real").mkdir()
    (workers.place / "job").symlink_to(workers.place / "real")
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(workers.place)], cwd=CHECKOUT)
    _, rank = read_pids(workers.place / "job" / "pids")
    parent.kill()
    parent.wait()
    assert workers.run().code == 0
    wait_for(lambda: is_gone(rank))


PARENT = """
import sys
from pathlib import Path
from tests.infra.launchers.test_forked import Workers
Workers(Path(sys.argv[1])).run(what="hang")
"""


def test_a_killed_client_takes_worker_and_server_along_and_lets_the_worker_save(workers: Workers) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(workers.place)], cwd=CHECKOUT)
    worker, rank = read_pids(workers.place / "job" / "pids")
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: is_gone(worker))
    assert (workers.place / "job" / "saved").read_text() == "yes"
    wait_for(lambda: is_gone(workers.server()))
    psutil.Process(rank).kill()
    (workers.place / "server").unlink()
