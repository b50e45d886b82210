"""Pages of courts in a real browser, wide and narrow, light and dark: nothing is cut off, no words lie on others, nothing is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tasks.ablation import fit_scaling
from tasks.reporting import render_court, render_qualification, render_scaling
from tests.e2e.chromium import Page, browser, new_page, program
from tests.tasks.reporting.court_material import court, mixture_court, study, sweep_court
from tests.tasks.reporting.qualification_material import qualification

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
PAGES: dict[str, Callable[[], str]] = {
    "court": lambda: render_court(court((0, 1, 2))),
    "one seed": lambda: render_court(court((0,))),
    "two axes": lambda: render_court(sweep_court(2)),
    "one axis": lambda: render_court(sweep_court(1)),
    "mixture": lambda: render_court(mixture_court()),
    "qualification": lambda: render_qualification(qualification()),
    "scaling": lambda: render_scaling(fit_scaling(study(), target=5e17), study()),
}
CUT_OFF = """[...document.querySelectorAll('svg.plot')].flatMap(svg => [...svg.querySelectorAll('text')].filter(one => {
    const box = one.getBBox(), all = svg.viewBox.baseVal;
    return box.x < -1 || box.x + box.width > all.width + 1 || box.y < -1 || box.y + box.height > all.height + 1;
}).map(one => one.textContent))"""
OVERLAID = """[...document.querySelectorAll('svg.plot')].flatMap(svg => {
    const boxes = [...svg.querySelectorAll('text')].map(one => [one.textContent, one.getBBox()]), found = [];
    for (let i = 0; i < boxes.length; i++) for (let j = 0; j < i; j++) {
        const [a, p] = boxes[i], [b, q] = boxes[j];
        const wide = Math.min(p.x + p.width, q.x + q.width) - Math.max(p.x, q.x);
        const high = Math.min(p.y + p.height, q.y + q.height) - Math.max(p.y, q.y);
        if (wide > 2 && high > 4) found.push(a + ' / ' + b);
    }
    return found;
})"""
"""Pairs of words that lie on each other."""
ABSENT = """[...document.querySelectorAll('svg .cell, svg .shape, svg .line, svg .spread')].filter(one => {
    const style = getComputedStyle(one);
    return (style.fill === 'none' || style.fill === '') && (style.stroke === 'none' || style.stroke === '');
}).map(one => one.outerHTML.slice(0, 90))"""
"""Marks without any colour: their class has no style."""


@pytest.fixture(scope="module")
def devtools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program()
    with browser(tmp_path_factory.mktemp("chromium") / "profile") as address:
        yield address


@pytest.fixture
def page(devtools: str) -> Iterator[Page]:
    with new_page(devtools) as made:
        yield made


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_readable_wide_and_narrow_light_and_dark(page: Page, name: str, tmp_path) -> None:
    (tmp_path / "page.html").write_text(PAGES[name](), encoding="utf-8")
    paper = {}
    for scheme, width in (("light", 1280), ("dark", 1280), ("light", 400)):
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        page.open((tmp_path / "page.html").as_uri(), width)
        page.value("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.value("document.documentElement.scrollWidth") <= width, "it is wider than the window"
        assert page.value(CUT_OFF) == []
        assert page.value(OVERLAID) == []
        assert page.value(ABSENT) == []
        paper[scheme] = page.value("getComputedStyle(document.body).backgroundColor")
    assert paper["light"] != paper["dark"]
    assert page.complaints == [] and page.outside() == []
