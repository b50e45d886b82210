"""The page of a chat data set: self-contained, escaped, every token in its colour, readable wide and narrow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.posttraining import Linter, Rendering, Sample, Shown, samples_of
from tasks.posttraining.config import ChatLint
from tasks.reporting import render_chat
from tasks.reporting.chat_page import drawn
from tests.e2e.chromium import browser, new_page, program
from tests.tasks.reporting.material import HOSTILE
from tests.tasks.reporting.test_page import Tags

TEXTS = ["<|im_start|>", "user\n", f"{HOSTILE}é", "", "<|im_end|>", "\n", "<|im_start|>", "assistant\n", "Yes", ".", "<|im_end|>"]
TRAINED = {8, 9, 10}


def rendering() -> Rendering:
    """Two turns by hand; the fourth token only completes a character."""
    ends = [sum(map(len, TEXTS[: n + 1])) for n in range(len(TEXTS))]
    offsets = [(end - len(text), end) for text, end in zip(TEXTS, ends, strict=True)]
    offsets[3] = (offsets[2][1] - 1, offsets[2][1])
    mask = [int(n in TRAINED) for n in range(len(TEXTS))]
    ids = [0, 2, 3, 4, 1, 5, 0, 6, 7, 8, 1]
    return Rendering("".join(TEXTS), ids, mask, offsets, frozenset({0, 1}))


def page(problems: dict[str, str]) -> str:
    linter = Linter(ChatLint())
    rows = [{"messages": [{"role": "user", "content": HOSTILE}, {"role": "assistant", "content": "" if problems else "Yes."}]}]
    for sample in samples_of(rows, source=HOSTILE, where=HOSTILE, default_mode="no_think"):
        linter.add(sample)
    shown = Shown(Sample(rows[0]["messages"], {}, None, HOSTILE, HOSTILE, "no_think"), rendering(), problems)
    return render_chat(linter.report(HOSTILE), [shown])


def test_every_token_is_drawn_once_with_its_look_and_turns_are_counted() -> None:
    one = drawn(Shown(Sample([{"role": "user", "content": "x"}]), rendering(), {}), length=9)
    assert [(turn.role, turn.count, turn.trained) for turn in one.turns] == [("user", 6, 0), ("assistant", 5, 3)]
    looks = [token.look for turn in one.turns for token in turn.tokens]
    assert looks == ["special", *["masked"] * 3, "special", "masked", "special", "masked", "trained", "trained", "special trained"]
    assert [token.text for token in one.turns[0].tokens] == ["<|im_start|>", "user↵\n", f"{HOSTILE}é", "", "<|im_end|>", "↵"]
    assert (one.count, one.trained, one.beyond, one.left_out) == (11, 3, 2, 0)


def test_the_page_needs_nothing_from_outside_and_escapes_what_it_is_given() -> None:
    tags, text = Tags(), page({"empty_answer": HOSTILE})
    tags.feed(text)
    assert not tags.names & {"script", "iframe", "link", "img", "object", "embed", "form"}
    assert [address for address in tags.addresses if not address.startswith("#")] == []
    assert HOSTILE not in text and text.count("&lt;script&gt;") >= 6
    assert "1 error rule fired." in text and "says nothing" in text
    assert "no rule fired" in page({}) and "empty_answer" not in page({})


@pytest.mark.browser
def test_the_page_is_readable_wide_and_narrow_light_and_dark(tmp_path: Path) -> None:
    program()
    (tmp_path / "page.html").write_text(page({"empty_answer": "message 2 says nothing"}), encoding="utf-8")
    with browser(tmp_path / "profile") as devtools, new_page(devtools) as tab:
        for scheme, width in (("light", 1280), ("dark", 1280), ("light", 400)):
            tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            tab.open((tmp_path / "page.html").as_uri(), width)
            tab.value("document.querySelectorAll('details').forEach(one => one.open = true)")
            assert tab.value("document.documentElement.scrollWidth") <= width, "it is wider than the window"
            colour = "getComputedStyle(document.querySelector('.chat .{}')).color"
            colours = [tab.value(colour.format(look)) for look in ("masked", "trained", "special")]
            assert len(set(colours)) == 3
        assert tab.complaints == [] and tab.outside() == []
