"""Preference optimisation: every loss trains, held-out pairs are scored the same way for all, bad pairs are refused or counted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contracts.errors import InputError
from tasks.posttraining.model_folder import load_model, load_renderer
from tasks.posttraining.pair_scores import pair_scores
from tasks.posttraining.preference_pairs import pair_data, read_pairs
from tasks.posttraining.requests import PreferenceRequest
from tests.tasks.posttraining.lab import TEMPLATE, Lab, pairs, preference_step, request_of, weights


def request(**changes: Any) -> PreferenceRequest:
    made = request_of(preference_step(**changes))
    assert isinstance(made, PreferenceRequest)
    return made


@pytest.mark.parametrize("loss", ["sigmoid", "apo_zero", "apo_down", "ipo", "discopop", "kto", "orpo"])
def test_every_loss_moves_the_model(lab: Lab, loss: str) -> None:
    import torch

    prepared = lab.prepared(request(loss=loss, epochs=0.5, sft_weight=1.0 if loss == "apo_zero" else 0.0))
    before = {name: tensor.clone() for name, tensor in prepared.trainer.model.state_dict().items()}
    prepared.trainer.train()
    after = prepared.trainer.model.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in after.values())
    scores = prepared.measure()
    assert set(scores) >= {"heldout/margin", "heldout/reward_accuracy", "heldout/pair_accuracy/before", "heldout/pair_accuracy/after"}


def test_orpo_counts_what_it_reads_over_micro_batches(lab: Lab) -> None:
    prepared = lab.prepared(request(loss="orpo", epochs=1, placement={"micro_batch_size": 2}))
    rows = prepared.trainer.train_dataset
    prepared.trainer.train()
    tokens = [line["num_tokens"] for line in prepared.trainer.state.log_history if "loss" in line]
    assert len(tokens) == 6 and tokens == sorted(tokens)
    assert tokens[-1] == sum(len(row["chosen_input_ids"]) + len(row["rejected_input_ids"]) for row in rows)


def test_a_step_raises_the_margin_of_heldout_pairs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = lab.spec(request(epochs=4, loss="sigmoid", sft_weight=0.0, beta=0.5))
    result = lab.here(spec, monkeypatch)
    assert result["exit"] == 0, result["reason"]
    metrics = result["summary"]["metrics"]
    assert metrics["heldout/margin"] > 0 and metrics["heldout/reward_accuracy"] > 0.5
    assert 0 <= metrics["heldout/pair_accuracy/before"] <= 1 and 0 <= metrics["heldout/pair_accuracy/after"] <= 1
    assert result["summary"]["counts"] | {"pairs": 24, "heldout_pairs": 6, "steps": 24} == result["summary"]["counts"]
    made = lab.part(spec)
    assert weights(made) != weights(lab.model)
    assert json.loads((made / "training.json").read_text())["evidence"]["loss"] == "sigmoid"


def test_an_untrained_model_has_no_margin(lab: Lab) -> None:
    renderer = load_renderer(lab.model, TEMPLATE)
    heldout = [row.written(renderer) for row in read_pairs(lab.inputs["pairs"] / "heldout.jsonl")]
    scores = pair_scores(load_model(lab.model), load_model(lab.model), heldout, renderer, preference_step())
    assert scores["heldout/margin"] == scores["heldout/reward_accuracy"] == scores["heldout/chosen_log_ratio"] == 0.0
    assert scores["heldout/pair_accuracy/before"] == scores["heldout/pair_accuracy/after"]


def test_scores_do_not_depend_on_padding(lab: Lab) -> None:
    renderer = load_renderer(lab.model, TEMPLATE)
    heldout = [row.written(renderer) for row in read_pairs(lab.inputs["pairs"] / "heldout.jsonl")]
    policy, reference = load_model(lab.model), load_model(lab.model)
    policy.lm_head.weight.data += 0.1
    alone, together = (
        pair_scores(policy, reference, heldout, renderer, preference_step(placement={"micro_batch_size": size})) for size in (2, 12)
    )
    assert alone == pytest.approx(together, abs=1e-5)


def test_pairs_of_a_set_are_shared_out_by_prompt(lab: Lab) -> None:
    rows = pairs(40)
    lab.chat("preference-main", sums=[*rows, rows[0]])
    data = pair_data(request(pairs=None), load_renderer(lab.model, TEMPLATE), lab.inputs)
    kept = {pair.prompt for pair in data.heldout}
    assert len(kept) == 4 and not kept & {pair.prompt for pair in data.train}
    assert len(data.train) + len(data.heldout) == 41


def test_more_pairs_hold_those_of_fewer(lab: Lab) -> None:
    renderer = load_renderer(lab.model, TEMPLATE)
    few, more, every = (pair_data(request(max_pairs=count), renderer, lab.inputs).train for count in (6, 12, 1000))
    assert (len(few), len(more), len(every)) == (6, 12, 24) and set(few) < set(more) < set(every)


def test_a_prompt_may_be_what_both_answers_begin_with(lab: Lab) -> None:
    row = pairs(1)[0]
    implicit = {name: row["prompt"] + row[name] for name in ("chosen", "rejected")}
    lab.pairs([implicit], [])
    (pair,) = read_pairs(lab.inputs["pairs"] / "pairs.jsonl")
    assert (pair.prompt, pair.chosen, pair.rejected) == (row["prompt"], row["chosen"], row["rejected"])


def test_pairs_are_text_that_ends_with_the_turn(lab: Lab) -> None:
    renderer = load_renderer(lab.model, TEMPLATE)
    pair = next(read_pairs(lab.inputs["pairs"] / "pairs.jsonl")).written(renderer)
    assert pair.prompt.endswith("<|im_start|>assistant\n<think>\n\n</think>\n")
    assert pair.chosen.startswith("The answer is ") and pair.chosen.endswith(".<|im_end|>") and pair.chosen.count("<|im_end|>") == 1


def test_an_answer_in_another_mode_than_its_prompt_is_refused(lab: Lab) -> None:
    renderer = load_renderer(lab.model, TEMPLATE)
    row = pairs(1)[0]
    switched = row | {"chosen": [{"role": "user", "content": "/think"}, {"role": "assistant", "content": "<think>\na\n</think>\nb"}]}
    lab.pairs([switched], [])
    with pytest.raises(InputError, match="reads differently once it is answered"):
        next(read_pairs(lab.inputs["pairs"] / "pairs.jsonl")).written(renderer)


def test_a_tokenizer_that_adds_tokens_adds_none_to_written_text(lab: Lab) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = load_renderer(lab.model, TEMPLATE).tokenizer
    plain = tokenizer("a")["input_ids"]
    begin = tokenizer.convert_ids_to_tokens(0)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{begin} $A", special_tokens=[(begin, 0)])
    tokenizer.save_pretrained(lab.root / "adding")
    assert tokenizer("a")["input_ids"] == [0, *plain]
    for path in lab.model.iterdir():
        if not (lab.root / "adding" / path.name).exists():
            (lab.root / "adding" / path.name).write_bytes(path.read_bytes())
    lab.model = lab.root / "adding"
    prepared = lab.prepared(request())
    assert prepared.trainer.train_dataset[0]["prompt_ids"][0] != 0
    assert prepared.tokenizer("a")["input_ids"] == [0, *plain], "the one that is saved"


def test_identical_pairs_are_counted_and_a_set_of_them_is_refused(lab: Lab) -> None:
    same = [row | {"rejected": row["chosen"]} for row in pairs(5, seed=3)]
    renderer = load_renderer(lab.model, TEMPLATE)
    lab.pairs([*pairs(7), *same], [])
    data = pair_data(request(), renderer, lab.inputs)
    assert (len(data.train), data.identical) == (7, 5)
    lab.pairs(same, [])
    with pytest.raises(InputError, match="none of 5 pairs can be trained on: 5 hold the same answer twice"):
        lab.prepared(request())


def test_prompts_longer_than_the_context_are_counted_and_a_set_of_them_is_refused(lab: Lab) -> None:
    long = pairs(1, seed=4)[0]
    long["prompt"][1]["content"] = "Say " * 200
    lab.pairs([*pairs(7), long], [])
    data = pair_data(request(), load_renderer(lab.model, TEMPLATE), lab.inputs)
    assert (len(data.train), data.too_long) == (7, 1)
    lab.pairs([long], [])
    with pytest.raises(InputError, match="1 have a prompt of 96 tokens or more"):
        lab.prepared(request())


def test_no_pairs_and_rows_that_are_none_are_refused(lab: Lab) -> None:
    lab.pairs([], [])
    with pytest.raises(InputError, match="there are no preference pairs"):
        lab.prepared(request())
    lab.pairs([{"prompt": [], "chosen": "text", "rejected": []}], [])
    with pytest.raises(InputError, match=r"no pair: .*pairs.jsonl:1"):
        lab.prepared(request())
    lab.chat("preference-main", sums=[])
    with pytest.raises(InputError, match="'sums' is empty"):
        lab.prepared(request(pairs=None))
