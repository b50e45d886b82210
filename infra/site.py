"""The site: where things run here. Never part of an identity, and it holds no secrets (credentials come from the environment alone)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from contracts.config import Config, holds_credentials, nearest
from contracts.errors import ConfigError

CHECKOUT = Path(__file__).resolve().parent.parent
BUILT_IN = CHECKOUT / "deployments" / "sites"
PLAYBOOK = "playbook"
STAGE_KINDS = (
    "source", "curate", "tokenizer", "tokenize", "qualify", "court", "train", "convert", "evaluate",
    "chat", "sft", "pairs", "preference", "reinforcement", "distillation", "measure", "vibe", "merge", "release", "report",
)  # fmt: skip


class Server(Config):
    """Where a server listens."""

    host: str = "127.0.0.1"
    """Address it binds to and is reached at."""
    port: int = Field(ge=1, le=65535)
    """TCP port."""

    @property
    def url(self) -> str:
        """Root URL, without a trailing slash."""
        return f"http://{self.host}:{self.port}"


class Pool(Config):
    """A Prefect work pool: one class of hardware."""

    kind: Literal["cpu", "gpu"] = "cpu"
    """Class of devices its jobs use."""
    limit: int | None = Field(None, ge=1)
    """How many flow runs may be in it at once; None: any number."""
    worker: bool = True
    """Whether `smolflow up` starts a worker for it on this machine."""
    description: str = ""
    """What the Prefect UI shows beside it."""


class Site(Config):
    """One machine or cluster, as this checkout sees it."""

    name: str = "local"
    """Name of the site; a built-in one is deployments/sites/<name>.yaml."""
    home: Path
    """Folder of all local state: servers' databases, logs, results. Default: SMOLFLOW_HOME, else .smolflow in the working folder."""
    store: str
    """URL of the artifact store: a folder or s3://bucket/prefix. Default: <home>/store."""
    scratch: Path
    """Node-local folder for jobs and materialised artifacts. Default: <home>/scratch."""
    prefect: Server = Server(port=4200)
    """Prefect server."""
    mlflow: Server = Server(port=5000)
    """MLflow server."""
    pools: dict[str, Pool] = Field({"cpu": Pool(limit=2)})
    """Work pools by name. Two runs at once: nine that began together on two cores kept the server from answering for minutes."""
    stage_pools: dict[str, str] = Field({})
    """Kind of stage, or 'playbook', to the pool it runs on; the others run on 'cpu'."""
    interpreter: str = Field(default_factory=lambda: sys.executable)
    """Python that flows and training workers run with here."""
    launcher: Literal["torchrun"] = "torchrun"
    """How a worker's processes are started."""
    backlog: Path
    """File of the modifications that wait for a court. Default: deployments/backlog.yaml of this checkout."""
    backlog_cron: str | None = "0 3 * * 0"
    """When `smolflow up` schedules the backlog at first, as cron in UTC (null: never); from then on the Prefect UI decides."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        home = _absolute(data.get("home") or os.environ.get("SMOLFLOW_HOME") or ".smolflow")
        store = os.path.expanduser(str(data.get("store") or home / "store"))
        return data | {
            "home": home,
            "store": store if "://" in store else str(_absolute(store)),
            "scratch": _absolute(data.get("scratch") or home / "scratch"),
            "backlog": _absolute(data.get("backlog") or CHECKOUT / "deployments" / "backlog.yaml"),
        }

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for kind, pool in self.stage_pools.items():
            if kind not in (*STAGE_KINDS, PLAYBOOK):
                raise ValueError(f"stage_pools names no such stage: '{kind}'{nearest(kind, [*STAGE_KINDS, PLAYBOOK])}")
            if pool not in self.pools:
                raise ValueError(f"stage_pools sends {kind} to an undeclared pool '{pool}'{nearest(pool, list(self.pools))}")
        if any(self.pool_of(kind) not in self.pools for kind in (*STAGE_KINDS, PLAYBOOK)):
            raise ValueError("pool 'cpu' is not declared, but takes every stage that stage_pools does not name")
        if self.prefect.port == self.mlflow.port and self.prefect.host == self.mlflow.host:
            raise ValueError(f"prefect and mlflow share port {self.prefect.port}")
        if holds_credentials(self.store):
            raise ValueError("the store URL holds credentials; give them by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        return self

    def pool_of(self, kind: str) -> str:
        """Name of the pool that runs this kind of stage ('playbook' for the playbook itself)."""
        return self.stage_pools.get(kind, "cpu")

    @property
    def prefect_api(self) -> str:
        """URL of Prefect's API."""
        return f"{self.prefect.url}/api"


def load(name_or_path: str | Path | None = None) -> Site:
    """The site of that name (deployments/sites/<name>.yaml) or file; default: SMOLFLOW_SITE, else 'local'.

    Raises:
        ConfigError: no such site, or it does not validate.
    """
    wanted = str(name_or_path or os.environ.get("SMOLFLOW_SITE") or "local")
    path = Path(wanted) if wanted.endswith((".yaml", ".yml")) else BUILT_IN / f"{wanted}.yaml"
    if not path.is_file():
        known = sorted(found.stem for found in BUILT_IN.glob("*.yaml"))
        raise ConfigError(
            f"no site '{wanted}'{nearest(wanted, known)}", do="name a built-in site or the path of a .yaml file in SMOLFLOW_SITE"
        )
    return Site.from_yaml(path.read_text(encoding="utf-8"), where=str(path))


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(os.path.expanduser(path)))
