from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import InputError
from tasks.evaluation.comparison import compare_checkpoint
from tasks.evaluation.scores import Scores


def evaluation(**changed: Any) -> Scores:
    return Scores.parse(
        {
            "suite": "offline 1 abc", "tokenizer": "t", "backend": "transformers 5.23.0", "tokens_seen": 1000,
            "compressed": {"prose": {"documents": ["a", "b"], "bits": [1000.0, 500.0], "bytes": [400, 200]}},
            "answered": {"induction": {"items": ["i", "j", "k"], "right": [1.0, 0.0, 1.0], "chance": 0.25}},
        } | changed
    )  # fmt: skip


def prose(*bits: float, documents: tuple[str, ...] = ("a", "b"), sizes: tuple[int, ...] = (400, 200)) -> dict[str, Any]:
    return {"prose": {"documents": documents, "bits": bits, "bytes": sizes}}


def test_same_evaluation_shows_no_drift() -> None:
    found = compare_checkpoint(evaluation(), evaluation())
    assert found.agree and (found.documents, found.items, found.largest_bits) == (2, 3, 0.0)
    assert found.said() == "no drift: 2 documents and 3 items compared"


def test_answer_that_changed_is_drift_and_is_named() -> None:
    flipped = evaluation(answered={"induction": {"items": ["i", "j", "k"], "right": [1.0, 1.0, 1.0], "chance": 0.25}})
    found = compare_checkpoint(evaluation(), flipped)
    assert not found.agree
    [one] = found.differing
    assert (one.where, one.item, one.one, one.other) == ("accuracy/induction", "j", 0.0, 1.0)
    assert "DRIFT: 1 differ" in found.said() and "accuracy/induction j: 0 against 1" in found.said()


def test_equal_means_do_not_hide_that_items_differ() -> None:
    swapped = evaluation(answered={"induction": {"items": ["i", "j", "k"], "right": [1.0, 1.0, 0.0], "chance": 0.25}})
    assert evaluation().values() == swapped.values()
    assert [one.item for one in compare_checkpoint(evaluation(), swapped).differing] == ["j", "k"]


def test_order_of_documents_and_items_does_not_matter() -> None:
    turned = evaluation(compressed=prose(500.0, 1000.0, documents=("b", "a"), sizes=(200, 400)))
    assert compare_checkpoint(evaluation(), turned).agree


def test_rounding_is_reported_and_is_no_drift() -> None:
    found = compare_checkpoint(evaluation(), evaluation(compressed=prose(1000.01, 500.001)))
    assert found.agree and found.largest_bits == pytest.approx(0.01) and found.largest_document == "bits_per_byte/prose/a"
    assert "largest difference 0.01 bits" in found.said()


@pytest.mark.parametrize("bits", [1000.1, float("nan")])
def test_document_beyond_the_tolerance_is_drift(bits: float) -> None:
    found = compare_checkpoint(evaluation(), evaluation(compressed=prose(bits, 500.0)))
    assert [one.item for one in found.differing] == ["a"]
    assert compare_checkpoint(evaluation(), evaluation(compressed=prose(1000.1, 500.0)), tolerance=1e-3).agree


def test_other_bytes_or_missing_documents_and_tasks_are_drift() -> None:
    assert not compare_checkpoint(evaluation(), evaluation(compressed=prose(1000.0, 500.0, sizes=(400, 201)))).agree
    fewer = compare_checkpoint(evaluation(), evaluation(compressed=prose(1000.0, documents=("a",), sizes=(400,))))
    assert [(one.item, one.one, one.other) for one in fewer.differing] == [("b", 500.0, None)]
    assert "b: 500 against missing" in fewer.said()
    none = compare_checkpoint(evaluation(answered={}), evaluation())
    assert len(none.differing) == 3 and none.items == 0


def test_backend_and_versions_that_changed_are_shown_beside_the_result() -> None:
    one = evaluation(settings={"versions": {"torch": "2.11"}, "batch_size": 16, "threads": 2})
    other = evaluation(settings={"versions": {"torch": "2.12"}, "batch_size": 16}, backend="vllm 1")
    found = compare_checkpoint(one, other)
    assert found.agree and found.changed == {
        "backend": ("transformers 5.23.0", "vllm 1"),
        "threads": ("2", "unknown"),
        "versions.torch": ("2.11", "2.12"),
    }
    assert "versions.torch: 2.11 against 2.12" in found.said()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"suite": "offline 2 def"}, r"different suites: 'offline 1 abc' and 'offline 2 def'"),
        ({"tokenizer": "other"}, "not of one checkpoint: tokenizers"),
        ({"tokens_seen": 2000}, r"not of one checkpoint: 1,000 and 2,000 tokens"),
        ({"compressed": {}, "answered": {}, "diverged_at": 3}, "nothing was measured"),
        ({"compressed": prose(1000.0)}, "1 values for 2 different items"),
        ({"compressed": prose(1000.0, 500.0, documents=("a", "a"))}, "2 values for 1 different items"),
    ],
)
def test_what_cannot_be_compared_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        compare_checkpoint(evaluation(), evaluation(**changed))


def folder(root: Path, name: str, scores: Scores) -> Path:
    (root / name).mkdir()
    (root / name / "scores.json").write_text(json.dumps(scores.model_dump(mode="json")))
    return root / name


def test_command_ends_with_what_it_found(tmp_path: Path) -> None:
    one = folder(tmp_path, "one", evaluation())
    other = folder(tmp_path, "other", evaluation(compressed=prose(1001.0, 500.0)))

    def command(*folders: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "tasks.evaluation.comparison", *map(str, folders)], capture_output=True, text=True)

    same, differs, wrong, unreadable = command(one, one), command(one, other), command(one), command(one, tmp_path)
    assert same.returncode == 0 and "no drift" in same.stdout
    assert differs.returncode == 1 and "DRIFT" in differs.stdout and "a: 1000 against 1001" in differs.stdout
    assert wrong.returncode == 2 and "two evaluations" in wrong.stderr
    assert unreadable.returncode == 2 and "no evaluation can be read" in unreadable.stderr
