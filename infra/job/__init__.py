"""The contract of a worker process: what it is told (a JSON spec), what it leaves (parts, progress, result.json), and its exit codes.

`python -m tasks.<craft>.worker SPEC` reads a `JobSpec`; most workers hand it to `run_body` with their craft's body. The environment gives
SMOLFLOW_JOB_DIR, the job's own local folder, and SMOLFLOW_SCRATCH, this node's place for copies of artifacts.
"""

from infra.job.body import Body, LongBody, result_part, run_body, run_long_body, stop_on_signal
from infra.job.folder import Job, Progress, ProgressFile
from infra.job.provenance import code_version, machine, versions
from infra.job.spec import Exit, InputRef, JobResult, JobSpec, Stopped, Summary

__all__ = [
    "Body",
    "Exit",
    "InputRef",
    "Job",
    "JobResult",
    "JobSpec",
    "LongBody",
    "Progress",
    "ProgressFile",
    "Stopped",
    "Summary",
    "code_version",
    "machine",
    "result_part",
    "run_body",
    "run_long_body",
    "stop_on_signal",
    "versions",
]
