"""What the body of the stage `merge` is given."""

from __future__ import annotations

from contracts.config import Config
from tasks.merging.config import MergingConfig
from tasks.posttraining.config import ChatEvaluation, ChatTemplate


class MergeRequest(Config):
    """Body config of the stage `merge`.

    Inputs: `STAGE` is the artifact of each stage that the candidates and the panel read, and `measure.STAGE` that of its measurement, where
    there is one: a parent is not measured twice. `curate` holds the documents, where a task is built from held-out text.
    """

    merging: MergingConfig
    """Candidates, parents, and how the panel decides."""
    template: ChatTemplate
    """Put on every model that is measured."""
    evaluation: ChatEvaluation
    """What every model of the panel is measured with."""
    seed: int = 0
    """Which held-out items are drawn; that of the stages `measure-STAGE`, since only the same items compare."""
