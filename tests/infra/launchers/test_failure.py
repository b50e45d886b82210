from __future__ import annotations

from infra.launchers.failure import explain

TABLE = """============================================================
tasks.training.worker FAILED
------------------------------------------------------------
Failures:
  <NO_OTHER_FAILURES>
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-25_18:00:00
  host      : node-3
  rank      : 1 (local_rank: 1)
  exitcode  : {exitcode} (pid: 4711)
  error_file: <N/A>
  traceback : {traceback}
============================================================
"""
AGENT = """Traceback (most recent call last):
  File "torch/distributed/run.py", line 900, in <module>
    main()
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
"""
RANK = """[rank1]: Traceback (most recent call last):
[rank1]:   File "loop.py", line 12, in step
[rank1]:     raise ValueError("bad batch")
[rank1]: ValueError: bad batch
"""


def test_the_rank_s_own_traceback_is_shown_not_the_agent_s() -> None:
    said = explain("step 1\n" + RANK + AGENT + TABLE.format(exitcode="1", traceback="<N/A>"), 1)
    assert "ValueError: bad batch" in said
    assert "rank      : 1 (local_rank: 1)" in said
    assert "ChildFailedError" not in said
    assert "step 1" not in said


def test_a_rank_ended_by_sigkill_is_told_with_its_usual_cause() -> None:
    said = explain(AGENT + TABLE.format(exitcode="-9", traceback="Signal 9 (SIGKILL) received by PID 4711"), 1)
    assert "ran out of memory" in said


def test_what_the_worker_said_comes_first() -> None:
    said = explain(RANK + TABLE.format(exitcode="1", traceback="<N/A>"), 1, reason="training: loss is not finite at step 12")
    assert said.splitlines()[0] == "training: loss is not finite at step 12"
    assert "Root Cause" in said
    assert "bad batch" not in said
