"""The sections of post-training and merging: the whole SmolLM3 chain is there, and what cannot work is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from contracts.errors import ConfigError
from tasks.merging.config import MergingConfig
from tasks.merging.methods import document
from tasks.posttraining.config import PostTrainingConfig

RECIPE = Path(__file__).parents[3] / "deployments" / "recipes" / "smollm3-3b.yaml"


def test_smollm3_chain():
    written = yaml.safe_load(RECIPE.read_text())
    post, merge = PostTrainingConfig.parse(written["posttraining"]), MergingConfig.parse(written["merging"])
    (sft,), (preference, *others) = post.sft, post.preference
    assert len(sft.sources) == 25
    assert (sft.schedule.learning_rate, sft.max_length, sft.global_batch_size) == (2e-5, 65_536, 128)
    assert (preference.loss, preference.parent) == ("apo_zero", "sft-main")
    pairs = sum(round((source.examples or 0) * source.weight) for source in preference.sources)
    assert pairs == pytest.approx(169_346, abs=1)
    assert [one.model_copy(update={"name": preference.name, "seed": preference.seed}) for one in others] == [preference, preference]
    assert len({one.seed for one in post.preference}) == 3, "members of the soup differ by seed alone"
    made = document(merge.merges()[0], {stage: Path(stage) for stage in merge.stages}, merge.dtype, merge.output_dtype)
    shares = {one["model"]["model"]["path"]: one["parameters"]["weight"] for one in made["models"]}
    assert shares == {"preference-apo-1": 0.3, "preference-apo-2": 0.3, "preference-apo-3": 0.3, "train-long-64k": 0.1}
    assert (made["merge_method"], made["parameters"]) == ("linear", {"normalize": False}), "0.9 x the soup's mean + 0.1, exactly"


A, B = {"stage": "sft-a", "weight": 0.5}, {"stage": "sft-b", "weight": 0.5}


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        ({"inputs": [A, B | {"weight": 0.2}]}, "sum to 0.7"),
        ({"method": "slerp", "inputs": [A | {"weight": 0.3}, A | {"weight": 0.3}, B | {"weight": 0.4}]}, "exactly two"),
        ({"inputs": [A, A, B], "grid": [0.5]}, "exactly two"),
        ({"inputs": [A, B], "grid": [1.5]}, "between 0 and 1"),
        ({"method": "ties", "inputs": [A, B]}, "`base` belongs to"),
        ({"inputs": [A, B], "base": "sft-main"}, "`base` belongs to"),
    ],
)
def test_merges_that_cannot_work_are_refused(candidate, said):
    with pytest.raises(ConfigError, match=said):
        MergingConfig.parse({"candidates": [{"name": "one"} | candidate]})


def test_two_candidates_of_one_name_are_refused():
    one = {"name": "one", "inputs": [A, B]}
    with pytest.raises(ConfigError, match="names must differ"):
        MergingConfig.parse({"candidates": [one, one]})


def test_posttraining_that_cannot_work_is_refused():
    sft = {"sources": [{"name": "a", "uri": "hf:a/b"}]}
    with pytest.raises(ConfigError, match="path"):
        PostTrainingConfig.parse({"sft": [sft], "template": {"kind": "file"}})
    with pytest.raises(ConfigError, match="window"):
        overlong = {"maximum": 100, "window": 100}
        PostTrainingConfig.parse({"sft": [sft], "reinforcement": [{"prompts": sft["sources"], "overlong": overlong}]})
    with pytest.raises(ConfigError, match="did you mean 'learning_rate'"):
        PostTrainingConfig.parse({"sft": [sft | {"schedule": {"learning_rat": 1e-5}}]})
    with pytest.raises(ConfigError, match=r"no step 'sft-b' to start from \(did you mean 'sft-main'\?\)"):
        PostTrainingConfig.parse({"sft": [sft], "preference": [sft | {"parent": "sft-b"}]})
    with pytest.raises(ConfigError, match="start from each other"):
        PostTrainingConfig.parse({"sft": [sft | {"name": "a", "parent": "sft-b"}, sft | {"name": "b", "parent": "sft-a"}]})
    with pytest.raises(ConfigError, match="same name"):
        PostTrainingConfig.parse({"sft": [sft, sft]})
    with pytest.raises(ConfigError, match="no multiple of group_size"):
        PostTrainingConfig.parse({"sft": [sft], "reinforcement": [{"prompts": sft["sources"], "global_batch_size": 12}]})
