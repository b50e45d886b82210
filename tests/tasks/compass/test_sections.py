"""The sections of post-training and merging: the whole SmolLM3 chain is there, and what cannot work is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from contracts.errors import ConfigError
from tasks.merging.config import MergingConfig
from tasks.posttraining.config import PostTrainingConfig

RECIPE = Path(__file__).parents[3] / "deployments" / "recipes" / "smollm3-3b.yaml"


def test_smollm3_chain():
    document = yaml.safe_load(RECIPE.read_text())
    post, merge = PostTrainingConfig.parse(document["posttraining"]), MergingConfig.parse(document["merging"])
    assert len(post.sft.sources) == 25
    assert (post.sft.schedule.learning_rate, post.sft.max_length, post.sft.global_batch_size) == (2e-5, 65_536, 128)
    assert post.preference is not None and post.preference.loss == "apo_zero"
    pairs = sum(round((source.examples or 0) * source.weight) for source in post.preference.sources)
    assert pairs == pytest.approx(169_346, abs=1)
    assert [part.weight for part in merge.inputs] == [0.9, 0.1]


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"inputs": [{"name": "a", "stage": "sft", "weight": 0.7}]}, "sum to 0.7"),
        ({"method": "slerp", "inputs": [{"name": "a", "stage": "sft", "weight": 1.0}]}, "exactly two"),
        ({"inputs": [{"name": "a", "stage": "sft", "weight": 1.0}], "sweep": [0.5]}, "two inputs"),
        ({"inputs": [{"name": "a", "stage": "sft", "weight": 1.0, "checkpoints": 0}]}, "at least one"),
    ],
)
def test_merges_that_cannot_work_are_refused(section, said):
    with pytest.raises(ConfigError, match=said):
        MergingConfig.parse(section)


def test_posttraining_that_cannot_work_is_refused():
    sft = {"sources": [{"name": "a", "uri": "hf:a/b"}]}
    with pytest.raises(ConfigError, match="path"):
        PostTrainingConfig.parse({"sft": sft, "template": {"kind": "file"}})
    with pytest.raises(ConfigError, match="window"):
        overlong = {"maximum": 100, "window": 100}
        PostTrainingConfig.parse({"sft": sft, "reinforcement": {"prompts": sft["sources"], "overlong": overlong}})
    with pytest.raises(ConfigError, match="did you mean 'learning_rate'"):
        PostTrainingConfig.parse({"sft": sft | {"schedule": {"learning_rat": 1e-5}}})
