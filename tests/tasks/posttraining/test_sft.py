"""Supervised fine-tuning: what is trained on, what comes out, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import ConfigError, InputError
from tasks.posttraining.config import ChatTemplate
from tasks.posttraining.mixture import SourceShare, by_mode, take, weights_for, with_shares
from tasks.posttraining.model_folder import load_model, load_renderer
from tasks.posttraining.requests import SftRequest
from tasks.posttraining.sft_rows import IGNORED, sft_data
from tests.tasks.posttraining.lab import TEMPLATE, Lab, request_of, sft_step, sums, weights


def request(**changes: Any) -> SftRequest:
    made = request_of(sft_step(**changes))
    assert isinstance(made, SftRequest)
    return made


def test_labels_are_what_the_assistant_says(lab: Lab) -> None:
    renderer = load_renderer(lab.model, TEMPLATE)
    data = sft_data(request(), renderer, lab.inputs["chat"])
    row = data.rows.dataset()[0]
    said = [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != IGNORED]
    text = renderer.tokenizer.decode(said)
    assert text.startswith("The answer is ") and text.endswith(".<|im_end|>")
    assert (len(data.rows.trained), data.cut, data.silent) == (48, 0, 0)
    everything = sft_data(request(assistant_only_loss=False), renderer, lab.inputs["chat"])
    assert all(label != IGNORED for label in everything.rows.dataset()[0]["labels"])


def test_training_lowers_the_loss_and_leaves_a_model_that_stops(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = lab.spec(request())
    result = lab.here(spec, monkeypatch)
    assert (result["exit"], result["part"]) == (0, "result"), result["reason"]
    made = lab.part(spec)
    names = {path.name for path in made.iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "generation_config.json"}
    assert not {"training_args.bin", "optimizer.pt", "README.md"} & names
    lines = [json.loads(line) for line in (made / "metrics.jsonl").read_text().splitlines()]
    losses = [values["loss"] for _, _, values in lines]
    assert [step for step, _, _ in lines] == list(range(1, 13)) and losses[-1] < 0.8 * losses[0]
    renderer = load_renderer(made, TEMPLATE)
    end = renderer.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert json.loads((made / "generation_config.json").read_text())["eos_token_id"] == end
    model = load_model(made)
    assert str(next(model.parameters()).dtype) == "torch.float32" and weights(made) != weights(lab.model)
    told = json.loads((made / "training.json").read_text())
    assert told["counts"]["steps"] == 12 and told["counts"]["tokens"] == 2 * told["counts"]["epoch_tokens"]
    assert told["evidence"]["mixture"][0]["source"] == "sums" and told["evidence"]["packing"]["steps_per_epoch"] == 6
    assert result["summary"]["metrics"]["tokens_per_second"] > 0


def test_adapters_are_merged_into_the_model(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    step = sft_step(lora={"rank": 4, "alpha": 8.0}, epochs=1)
    result = lab.here(lab.spec(request_of(step)), monkeypatch)
    assert result["exit"] == 0, result["reason"]
    made = lab.part(lab.spec(request_of(step)))
    assert not list(made.glob("adapter*"))
    before, after = load_model(lab.model).state_dict(), load_model(made).state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not bool((before[name] == after[name]).all())}
    assert changed and not any("embed" in name or "norm" in name for name in changed), "linear layers alone"


def test_mixtures_are_balanced_by_tokens(lab: Lab) -> None:
    lab.chat("sft-main", short=sums(40), long=sums(20, 1, "think"))
    sources = [
        {"name": "short", "uri": "generated:add", "weight": 0.5},
        {"name": "long", "uri": "generated:add", "mode": "think", "weight": 1.5},
    ]
    data = sft_data(request(sources=sources), load_renderer(lab.model, TEMPLATE), lab.inputs["chat"])
    short, long = data.shares
    assert short.conversations == 40 and abs(short.used - 20) <= 1 and abs(long.used - 30) <= 1
    assert long.token_share > long.example_share, "reasoning is longer"
    assert sum(by_mode(data.shares).values()) == pytest.approx(1)
    assert sum(data.rows.lengths) == short.tokens + long.tokens


def test_drawing_is_by_tokens_and_repeats_with_its_seed() -> None:
    lengths = [1] * 50 + [50]
    drawn = take(lengths, 0.5, "seed")
    assert abs(sum(lengths[index] for index in drawn) - 50) <= 25
    assert drawn == take(lengths, 0.5, "seed") and take([10] * 9, 1.0, "x") == list(range(9))
    assert sorted(take([10] * 4, 2.0, "x")) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_weights_for_equal_modes_use_less_of_what_is_too_much() -> None:
    table = [
        SourceShare(source="a", mode="think", conversations=9, used=9, tokens=300, trained=1),
        SourceShare(source="b", mode="no_think", conversations=9, used=9, tokens=100, trained=1),
    ]
    advised = weights_for(with_shares(table), {"a": 1.0, "b": 1.0})
    assert advised == {"a": pytest.approx(1 / 3), "b": 1.0}
    assert weights_for(with_shares(table[:1]), {"a": 1.0}) == {"a": 1.0}


def test_all_labels_beyond_the_length_limit_are_refused(lab: Lab) -> None:
    with pytest.raises(InputError, match="none has a label: max_length 16 cuts before the first answer"):
        lab.prepared(request(max_length=16))


def test_a_conversation_without_labels_is_left_out_and_counted(lab: Lab) -> None:
    long = sums(1)[0]
    long["messages"][1]["content"] = "Say " * 200
    lab.chat("sft-main", sums=[*sums(9), long])
    data = sft_data(request(), load_renderer(lab.model, TEMPLATE), lab.inputs["chat"])
    assert (len(data.rows.trained), data.silent, data.cut) == (9, 1, 1)


def test_a_source_that_is_empty_or_missing_is_refused(lab: Lab) -> None:
    lab.chat("sft-main", sums=[])
    with pytest.raises(InputError, match="'sums' is empty"):
        lab.prepared(request())
    with pytest.raises(InputError, match="no conversations of source 'other'"):
        lab.prepared(request(sources=[{"name": "other", "uri": "generated:add"}]))


def test_a_tokenizer_without_the_special_tokens_is_refused(lab: Lab, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocab={"a": 0}, merges=[])), eos_token="a")
    plain.save_pretrained(tmp_path / "plain")
    lab.model = tmp_path / "plain"
    with pytest.raises(InputError, match=r"lacks .*im_start.* as single tokens"):
        lab.prepared(request())


def test_a_template_without_markers_is_refused(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "bare.jinja"
    path.write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    bare = SftRequest(template=ChatTemplate(kind="file", path=str(path)), step=sft_step())
    with pytest.raises(ConfigError, match=r"no \{% generation %\} markers"):
        lab.prepared(bare)


def test_packing_on_a_cpu_is_refused(lab: Lab) -> None:
    with pytest.raises(ConfigError, match="not trained on a CPU"):
        lab.prepared(request(packing="bfd"))


def test_a_model_that_is_none_is_refused(lab: Lab) -> None:
    (lab.root / "nothing").mkdir()
    with pytest.raises(InputError, match="no model can be read"):
        load_model(lab.root / "nothing")
