"""What counts as right and as in form."""

from __future__ import annotations

import pytest

from tasks.posttraining.verifiers import Grade, grade, reflections, said_answer

THOUGHT = "<think>\n7+5=12\n4+8+1=13\n</think>\nThe answer is 132."


@pytest.mark.parametrize(
    ("reply", "mode", "expected"),
    [
        (THOUGHT, "think", Grade(correct=True, formatted=True)),
        (THOUGHT, "no_think", Grade(correct=True, formatted=False)),
        ("The answer is 132.", "no_think", Grade(correct=True, formatted=True)),
        ("The answer is 132.", "think", Grade(correct=True, formatted=False)),
        ("<think>\n\n</think>\nThe answer is 132.", "no_think", Grade(correct=True, formatted=True)),
        ("<think>\n\n</think>\nThe answer is 132.", "think", Grade(correct=True, formatted=False)),
        ("\nThe answer is 132.\n", "no_think", Grade(correct=True, formatted=True)),
        ("The answer is 123.", "no_think", Grade(correct=False, formatted=True)),
        ("132", "no_think", Grade(correct=False, formatted=False)),
        ("The answer is 132", "no_think", Grade(correct=False, formatted=False)),
        ("The answer is .", "no_think", Grade(correct=False, formatted=False)),
        ("", "no_think", Grade(correct=False, formatted=False)),
    ],
)
def test_a_reply_is_judged_by_answer_and_form(reply: str, mode: str, expected: Grade) -> None:
    """Being right and being in form are two things."""
    assert grade(reply, "132", mode) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "reply",
    [
        "The answer is 131. The answer is 132.",
        "The answer is 132. The answer is 131.",
        "The answer is 131.\nThe answer is 132.",
        "The answer is 132.\nThe answer is 131.",
        "The answer is 132. Or 131.",
        "<think>\nThe answer is 132.\n</think>\nThe answer is 131.",
        "<think>\nThe answer is 132.",
        "The answer is 132.</think>",
        "<think>\n1\n</think>\n<think>\n2\n</think>\nThe answer is 132.",
        'The answer is 132.<tool_call>{"name": "add", "arguments": {}}</tool_call>',
    ],
)
def test_hedged_and_broken_replies_earn_nothing(reply: str) -> None:
    """Two answers, an answer inside the reasoning alone, or half a think block are no answer."""
    assert not grade(reply, "132", "think").correct


def test_a_reply_that_was_cut_earns_nothing() -> None:
    """The limit fell behind the right digits: nobody knows what would have followed."""
    assert grade("The answer is 132.", "132", "no_think", ended=False) == Grade(correct=False, formatted=False)


def test_answers_need_not_be_numbers() -> None:
    """Decimals and words are compared as they stand."""
    assert said_answer("The answer is 3.14.") == "3.14"
    assert grade("The answer is New York.", " New York ", "no_think").correct


def test_reflective_phrases_are_counted_as_words() -> None:
    """A waiter does not reflect."""
    assert reflections("Wait, 7+5=12. Hmm. Let me double-check. wait") == 4
    assert reflections("The waiter awaits the verifying answer.") == 0
