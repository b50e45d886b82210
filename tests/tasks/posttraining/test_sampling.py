"""Generated answers: batched like one by one, sampled from the model's own distribution, cut where the limit says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from contracts.errors import InputError
from tasks.posttraining.conversation import Sample
from tasks.posttraining.sampling import Sampler
from tests.tasks.posttraining.answering import TEMPLATE, taught
from tests.tasks.posttraining.material import ask, say, system

SHORT, LONG = [system("/no_think"), ask("Hi")], [system("/no_think"), ask("What is 12+34? Tell me about it, please, at some length")]


@pytest.fixture(scope="module")
def sampler(model: Path) -> Sampler:
    return Sampler.load(model, TEMPLATE)


def prompts(count: int) -> list[Sample]:
    return [Sample([*LONG[:1], ask(f"{'word ' * (n % 5)}question {n}")]) for n in range(count)]


def test_padding_changes_no_greedy_answer(sampler: Sampler) -> None:
    asked = [Sample(SHORT), Sample(LONG), *prompts(5)]
    alone = [sampler.answers([one], 8)[0] for one in asked]
    assert sampler.answers(asked, 8) == alone == sampler.answers(asked, 8, batch_size=3)


def test_a_sampled_answer_follows_its_key_and_not_its_neighbours(sampler: Sampler) -> None:
    asked, keys = prompts(6), [f"key {n}" for n in range(6)]
    whole = sampler.answers(asked, 8, 1.0, keys)
    assert whole == sampler.answers(asked, 8, 1.0, keys, batch_size=2)
    assert whole[3] == sampler.answers(asked[3:4], 8, 1.0, keys[3:4])[0]
    assert whole != sampler.answers(asked, 8, 1.0, [f"other {n}" for n in range(6)])


def test_samples_are_drawn_from_the_models_distribution(sampler: Sampler) -> None:
    """The share of each first token is its probability, within five standard errors."""
    count, one = 1500, Sample(SHORT)
    ids = torch.tensor([sampler.renderer.encode(sampler.renderer.text(one, prompt=True))])
    with torch.inference_mode():
        chance = torch.softmax(sampler.model(ids).logits[0, -1] / 0.5, -1)
    expected: Counter[str] = Counter()
    for id_, share in enumerate(chance.tolist()):
        expected["" if sampler.renderer.is_special(id_) else sampler.renderer.written([id_])] += share  # bytes alone look alike
    drawn = Counter(answer.text for answer in sampler.answers([one] * count, 1, 0.5, [str(n) for n in range(count)], batch_size=500))
    for text, share in expected.most_common(8):
        assert abs(drawn[text] / count - share) < 5 * (share * (1 - share) / count) ** 0.5 + 0.002


def test_what_the_limit_cuts_has_not_ended(sampler: Sampler, model: Path, tmp_path: Path) -> None:
    answer = sampler.answers([Sample(SHORT)], 5)[0]
    assert not answer.ended and answer.tokens == 5
    knows = Sampler.load(taught(model, tmp_path / "knows", [{"messages": [*SHORT, say("Ho.")]}], steps=40), TEMPLATE)
    answer = knows.answers([Sample(SHORT)], 8)[0]
    assert (answer.text, answer.ended) == ("Ho.", True) and answer.tokens == len(knows.renderer.encode("Ho.")) + 1


def test_a_prompt_that_leaves_no_room_is_refused(sampler: Sampler) -> None:
    with pytest.raises(InputError, match="leaves no room for 250 more: the model sees 256"):
        sampler.answers([Sample(SHORT, where="row 7")], 250)
