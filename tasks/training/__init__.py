"""Training craft: the Megatron-core trainer that runs under torchrun.

Names are imported when they are first used, so that `tasks.training.config` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.lazy import offered

if TYPE_CHECKING:
    from tasks.training.ledger import Incident
    from tasks.training.loading import TrainedModel, load_model
    from tasks.training.parts import Uploader
    from tasks.training.spool import Spool
    from tasks.training.stopping import StopFlag
    from tasks.training.stream import Shards, TokenStream

__all__ = ["Incident", "Shards", "Spool", "StopFlag", "TokenStream", "TrainedModel", "Uploader", "load_model"]
_HOMES = {
    "Incident": "ledger",
    "Shards": "stream",
    "Spool": "spool",
    "StopFlag": "stopping",
    "TokenStream": "stream",
    "TrainedModel": "loading",
    "Uploader": "parts",
    "load_model": "loading",
}

__getattr__ = offered(__name__, _HOMES)
