"""The page: self-contained, escaped, and complete; its plots are well-formed."""

from __future__ import annotations

import base64
import re
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tasks.reporting import ReportView, StageView, build_view, loss_image, render_report
from tasks.reporting.axes import duration, short, ticks
from tasks.reporting.bars import accuracy_plot, bits_plot, removal_plot, time_plot
from tasks.reporting.dag import dag_picture
from tasks.reporting.lines import loss_plot, smooth, throughput_plot
from tasks.reporting.view import Link, PhaseCurve
from tests.e2e.chromium import program
from tests.tasks.reporting.material import HOSTILE, RECIPE, run


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.names: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action") or name.startswith("on")]


@pytest.fixture
def view(tmp_path):
    manifests, folders = run(tmp_path)
    links = [Link(title="Prefect", url="http://127.0.0.1:4200/x"), Link(title="bad", url="javascript:alert(1)")]
    return build_view(RECIPE, manifests, folders, links=links, recipe_yaml=f"# {HOSTILE}\nname: tiny\n", model_path="/models/tiny")


@pytest.fixture
def page(view):
    return render_report(view)


def test_the_page_needs_nothing_from_outside_and_runs_nothing(page):
    tags = Tags()
    tags.feed(page)
    assert not tags.names & {"script", "iframe", "link", "img", "object", "embed", "form"}
    assert [a for a in tags.addresses if not a.startswith("#")] == ["http://127.0.0.1:4200/x"]  # the one link a person may follow
    assert not re.search(r"url\((?!#)|@import", page)
    assert "default-src 'none'" in page


def test_text_from_data_is_escaped_wherever_it_appears(page):
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;") >= 4  # question, kept sample, removed sample, generated text, recipe


def test_the_page_shows_every_part(page):
    for text in (
        "2.050 [2.045, 2.056]",
        "grammar pairs",
        "1 of 2",
        "largest logit difference",
        "duplicate",
        "resumed after SIGKILL",
        "torch",
        "DP2 mbs 4",
    ):
        assert text in page, text
    for anchor in ("line", "training", "evaluation", "samples", "parity", "data", "tokenizer", "lineage"):
        assert f'id="{anchor}"' in page and f'href="#{anchor}"' in page


def test_an_empty_run_still_makes_a_page():
    page = render_report(ReportView(recipe="nothing"))
    assert "nothing" in page and 'id="training"' not in page


def test_every_plot_is_well_formed(view):
    plots = [
        dag_picture(view.stages), loss_plot(view.phases), throughput_plot(view.phases), bits_plot(view.bits_per_byte),
        accuracy_plot(view.accuracies), removal_plot(view.sources), time_plot(view.stages), loss_plot([]),
    ]  # fmt: skip
    for svg in plots:
        for element in ET.fromstring(svg).iter():
            for value in element.attrib.values():
                assert "nan" not in value.lower() and "inf" not in value.lower()


def test_the_dag_has_a_box_per_stage_with_its_state_and_refuses_a_cycle():
    stages = [
        StageView(name="a", state="ran", seconds=3),
        StageView(name="b", state="failed", inputs={"a": "a"}),
        StageView(name="c", inputs={"b": "b", "a": "a"}),
    ]
    svg = dag_picture(stages)
    assert svg.count('class="box ') == 3 and 'class="box failed"' in svg and svg.count('class="edge') == 3
    with pytest.raises(ValueError, match="cycle"):
        dag_picture([StageView(name="a", inputs={"x": "b"}), StageView(name="b", inputs={"x": "a"})])


def test_not_a_number_is_left_out_of_a_plot():
    curve = PhaseCurve(name="p", end_tokens=3, loss=[(1, 2.0), (2, float("nan")), (3, 1.0)])
    assert "nan" not in loss_plot([curve])


def test_the_loss_image_stands_alone(tmp_path):
    _, folders = run(tmp_path)
    kind, _, data = loss_image(folders["train-stable"] / "metrics.jsonl").partition(",")
    assert kind == "data:image/svg+xml;base64"
    svg = base64.b64decode(data).decode()
    assert "--c1:" in svg and "steps" in svg
    ET.fromstring(svg)


def test_numbers_and_axes():
    assert [short(v) for v in (0, 0.0001, 0.25, 999, 14_000, 3_075_098_624)] == ["0", "1e-04", "0.25", "999", "14k", "3.08B"]
    assert [duration(s) for s in (None, 0.42, 59, 72, 3 * 3600 + 300)] == ["-", "0.4 s", "59 s", "1 min 12 s", "3 h 05 min"]
    assert ticks(0, 1, 5) == [0, 0.2, 0.4, 0.6, 0.8, 1.0] and ticks(3, 3) == [3] and ticks(0, float("nan")) == []
    flat = smooth([(float(x), 2.0) for x in range(50)])
    assert all(y == pytest.approx(2.0) for _, y in flat) and len(flat) == 50


@pytest.mark.browser
def test_the_page_is_laid_out_in_a_browser(page, tmp_path):
    (tmp_path / "report.html").write_text(page)
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    shot = tmp_path / "shot.png"
    command = [
        program(),
        *flags,
        "--no-first-run",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--screenshot={shot}",
        "--window-size=1280,3000",
    ]
    subprocess.run([*command, f"file://{tmp_path / 'report.html'}"], check=True, timeout=120, capture_output=True)
    assert drawn_share(shot) > 0.02


def drawn_share(png: Path) -> float:
    """Share of pixels that differ from the page's background."""
    import numpy
    from PIL import Image

    pixels = numpy.asarray(Image.open(png).convert("RGB")).reshape(-1, 3)
    return float((pixels != pixels[0]).any(axis=1).mean())
