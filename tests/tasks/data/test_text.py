"""Language, reflow, splitting."""

from __future__ import annotations

import pytest

from tasks.data.docstrings import docstring_pages
from tasks.data.language import in_language
from tasks.data.reflow import reflow
from tasks.data.splitting import split_text
from tests.tasks.data.material import prose

TEXTS = {
    "en": "The committee has decided that the new rules will apply to all of the members from the beginning of the year.",
    "fr": "Le comité a décidé que les nouvelles règles seront appliquées à tous les membres dans une semaine et pour une année.",
    "de": "Der Ausschuss hat beschlossen, dass die neuen Regeln für alle Mitglieder gelten und nicht mit dem alten Recht zu tun haben.",
    "es": "El comité ha decidido que las nuevas reglas se aplican a todos los miembros de la asociación por el resto del año.",
    "ru": "Комитет решил, что новые правила будут применяться ко всем членам с начала года.",
    "zh": "委员会决定,新规则从年初起适用于所有成员。",
    "ja": "委員会は、新しい規則を年初からすべての会員に適用することを決定しました。",
    "ar": "قررت اللجنة أن القواعد الجديدة ستطبق على جميع الأعضاء من بداية السنة.",
}


@pytest.mark.parametrize("written", TEXTS)
@pytest.mark.parametrize("asked", TEXTS)
def test_language_keeps_its_own_and_refuses_others(written: str, asked: str) -> None:
    if (written, asked) == ("zh", "ja"):
        return  # Han characters alone may be Japanese
    assert in_language(TEXTS[written] * 2, asked) == (written == asked)


def test_formulas_and_code_are_not_taken_for_another_language() -> None:
    assert in_language("Calculate x y z for z in w and i in o with 3 + 4.", "en")
    assert in_language("```\nz = w.i(o)\nz = do(w, na, z)\n```", "en")


def test_reflow_joins_wrapped_lines_and_fences_doctests() -> None:
    page = (
        "## solve(a, b)\n\nSolve a linear\nsystem of :math:`n` equations, see :func:`~numpy.linalg.inv`.\n\nParameters\n----------\n"
        "a : array_like\n"
        "    Coefficients,\n    square.\n\n>>> solve(1, 2)\n2.0\n\n.. note::\n   Slow for\n   large n.\n"
    )
    assert reflow(page) == (
        "## solve(a, b)\n\nSolve a linear system of n equations, see numpy.linalg.inv.\n\n### Parameters\n\n"
        "- `a` (array_like): Coefficients, square.\n\n"
        "```\n>>> solve(1, 2)\n2.0\n```\n\nNote: Slow for large n."
    )


def test_reflow_drops_paragraphs_that_a_page_repeats() -> None:
    sentence = "This paragraph is long enough to be recognised when it comes again."
    assert reflow(f"{sentence}\n\nShort.\n\n{sentence}\n\nShort.") == f"{sentence}\n\nShort.\n\nShort."


@pytest.mark.parametrize("characters", [50, 300, 1000])
def test_split_loses_nothing_and_respects_the_length(characters: int) -> None:
    text = "## one\n\n" + prose(1) + "\n\n```\ncode\n\n## no heading\n```\n\n## two\n" + "x" * 500 + "\n" + prose(2)
    pieces = split_text(text, characters)
    assert "".join(pieces) == text and max(map(len, pieces)) <= characters


def test_split_prefers_headings_and_leaves_fences_whole() -> None:
    text = "## one\n" + "a b c.\n" * 10 + "```\nx\n\n## comment\n```\n## two\n" + "d e f.\n" * 10
    assert [piece.split("\n")[0] for piece in split_text(text, 120)] == ["## one", "## two"]


def test_docstrings_become_pages() -> None:
    long = "Says at some length what this does, so that the docstring is kept. " * 4
    module = f'"""{long}"""\nclass A:\n    """{long}"""\n'
    source = module + f'    def run(self, x):\n        """{long}"""\n    def quiet(self):\n        """Short."""\n'
    (page,) = docstring_pages(source, "package.module")
    assert page.startswith("# package.module\n\nSays") and "## A\n" in page and "## A.run(x)\n" in page and "quiet" not in page
    assert docstring_pages("def broken(:", "m") == []
