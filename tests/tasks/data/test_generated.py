"""Generated reasoning text: what may be trained on, what is held out, and how a tokenizer cuts it."""

from __future__ import annotations

import hashlib
import random
import re
from pathlib import Path
from typing import Any

import pytest

from contracts.config import digest, identity
from contracts.errors import ConfigError
from tasks.data import draw, heldout, heldout_items, items_in, read_documents, snapshot_digest, tokenizer
from tasks.data.config import Acquisition, DataConfig, TokenizerConfig
from tasks.data.generated import generated_documents, item_text
from tasks.data.skills import addition
from tests.tasks.data.material import prose, run_curate, silent


def skills(**more: object) -> dict[str, Any]:
    return {"name": "skills", "kind": "generated", "skills": ["add", "reverse"], "max_bytes": 60_000, **more}


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("generated")
    (root / "texts").mkdir()
    for n in range(60):
        (root / "texts" / f"{n}.txt").write_text(prose(n))
    files = {"name": "prose", "kind": "files", "path": str(root / "texts"), "heldout": {"share": 0.1}}
    summary = run_curate(DataConfig.parse({"sources": [files, skills()]}), root)
    return root / "curate", summary.evidence["sources"]["skills"]


def test_text_is_phrased_with_and_without_steps() -> None:
    item = addition(47, 85)
    assert item_text(item, worked=True) == "What is 47+85?\n7+5=12\n4+8+1=13\nThe answer is 132."
    assert item_text(item, worked=False) == "What is 47+85? The answer is 132."


def test_no_heldout_item_is_in_training_text_and_no_other_in_heldout_text(curated: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = curated
    sides = {side: [item for d in read_documents(folder / side, "skills") for item in items_in(d.text)] for side in ("train", "heldout")}
    assert len(sides["train"]) > 1000 and len(sides["heldout"]) > 50
    assert not any(map(heldout, sides["train"])) and all(map(heldout, sides["heldout"]))


def test_heldout_documents_share_no_run_of_words_with_training(curated: tuple[Path, dict[str, Any]]) -> None:
    _, row = curated
    assert row["contaminated"] == 0 and row["removed"] == {} and row["grouped_by"] == "item"
    assert row["documents"] + row["heldout_documents"] == row["documents_in"]


def test_as_much_text_as_was_asked_for(curated: tuple[Path, dict[str, Any]]) -> None:
    _, row = curated
    assert 0.97 * 60_000 < row["bytes_in"] <= 60_000


def test_the_same_settings_make_the_same_text() -> None:
    texts = [document.text for document in generated_documents(Acquisition.parse(skills(max_bytes=5_000)))]
    assert hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16] == "c09eca301a718df8"  # changed: raise VERSION
    other = [document.text for document in generated_documents(Acquisition.parse(skills(max_bytes=5_000, seed=1)))]
    assert not set(texts) & set(other)


def test_other_text_that_answers_a_heldout_item_is_removed_and_counted(tmp_path: Path) -> None:
    kept, trained = heldout_items("add", 1, seed=0)[0], draw("add", random.Random(0), heldout=False)
    turned = heldout_items("reverse", 1, seed=0)[0]
    said = [
        f"{kept.question[8:-1].replace('+', ' + ')} = {kept.answer}", f"Reversed? {turned.question} Gives {turned.answer}!",
        f"{kept.question} It is beyond me.", f"{trained.question} {trained.said}",
    ]  # fmt: skip
    (tmp_path / "texts").mkdir()
    for n in range(30):
        (tmp_path / "texts" / f"{n}.txt").write_text(prose(n) + ("\n\n" + said[n] if n < len(said) else ""))
    files = {"name": "prose", "kind": "files", "path": str(tmp_path / "texts"), "heldout": {"share": 0.1}}
    row = run_curate(DataConfig.parse({"sources": [files, skills(max_bytes=9_000)]}), tmp_path / "with").evidence["sources"]
    assert row["prose"]["removed"] == {"heldout_item": 2} and row["skills"]["removed"] == {}
    assert {text.split()[0] for text in row["prose"]["samples"]["heldout_item"]} == {prose(n).split()[0] for n in (0, 1)}
    sums = run_curate(DataConfig.parse({"sources": [files, skills(max_bytes=9_000, skills=["add"])]}), tmp_path / "add").evidence["sources"]
    assert sums["prose"]["removed"] == {"heldout_item": 1}
    assert run_curate(DataConfig.parse({"sources": [files]}), tmp_path / "without").evidence["sources"]["prose"]["removed"] == {}


def test_worked_sums_tokenise_digit_by_digit(curated: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """With the tokenizer of the recipe `tiny` (single digits) each digit is a token of its own, whatever stands beside it."""
    folder, _ = curated
    tokenizer(TokenizerConfig(vocab_size=512, digits="single"), {"curate": folder}, tmp_path, silent)
    from tokenizers import Tokenizer

    bpe = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for document in read_documents(folder / "heldout", "skills"):
        tokens = [bpe.decode([id_]) for id_ in bpe.encode(document.text, add_special_tokens=False).ids]
        assert all(token.isdigit() and len(token) == 1 for token in tokens if re.search(r"\d", token))
    assert [bpe.decode([id_]) for id_ in bpe.encode("47+85=132", add_special_tokens=False).ids] == list("47+85=132")


def test_a_changed_seed_or_skill_is_another_snapshot_and_other_kinds_keep_theirs() -> None:
    def seen(**more: object) -> str:
        return snapshot_digest(DataConfig.parse({"sources": [skills(**more)]}).for_source())

    assert len({seen(), seen(seed=1), seen(skills=["add"])}) == 3 and seen(seed=0) == seen()
    kept = identity(Acquisition(name="a", kind="embedded", collection="code"))
    assert "skills" not in kept and "seed" not in kept and digest(kept)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"skills": None}, "needs 'skills'"),
        ({"max_bytes": None}, "needs 'max_bytes'"),
        ({"skills": ["ad"]}, "no generated skill 'ad' .did you mean 'add'"),
        ({"kind": "published"}, "'skills' belongs to kind 'generated'"),
        ({"heldout": {"packages": ["x"]}}, "name no packages"),
    ],
)
def test_settings_that_do_not_fit_are_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        DataConfig.parse({"sources": [skills(**more)]})
