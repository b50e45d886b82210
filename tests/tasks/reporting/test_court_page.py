"""The pages of a court, a qualification and a scaling study: complete, escaped, self-contained, and honest about what is missing."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from tasks.ablation import fit_scaling
from tasks.ablation.results import CourtResult
from tasks.reporting import Link, render_court, render_qualification, render_scaling
from tasks.reporting.curves import heldout_panels, seed_band, training_panels
from tasks.reporting.effects import effect_plot
from tasks.reporting.heat import heat_map
from tasks.reporting.laws import scaling_panels
from tasks.reporting.matrix import columns, matrix_plot
from tasks.reporting.qualified import curve_panel
from tasks.reporting.response import positions, response_plot
from tasks.reporting.shares import share_plot
from tasks.reporting.verdicts import LOOKS, named, runs_of, state
from tests.tasks.reporting.court_material import BATCH, RATE, court, mixture_court, study, sweep_court
from tests.tasks.reporting.material import HOSTILE
from tests.tasks.reporting.qualification_material import qualification
from tests.tasks.reporting.test_page import Tags


def hostile() -> CourtResult:
    """A court whose every text was written by somebody else."""
    data = court().model_dump(mode="json")
    data["name"], data["before"], data["size"] = HOSTILE, HOSTILE, HOSTILE
    data["remarks"], data["diff"], data["votes"] = [HOSTILE], [HOSTILE], {HOSTILE: HOSTILE}
    data["drift"] = [{"what": HOSTILE, "values": {HOSTILE: [HOSTILE]}}]
    data["decisions"][0]["sentence"] = data["decisions"][0]["modification"]["hypothesis"] = HOSTILE
    data["runs"][0]["left_out"], data["runs"][0]["metrics"] = HOSTILE, {"bits_per_byte": 3.0, HOSTILE: 1.0}
    data["effects"][0]["metric"] = HOSTILE
    for arm in [one for one in data["runs"] if one["arm"] == "slow"] + [one for one in data["effects"] if one["arm"] == "slow"]:
        arm["arm"] = HOSTILE
    data["arms"] = [HOSTILE if arm == "slow" else arm for arm in data["arms"]]
    return CourtResult.parse(data)


@pytest.mark.parametrize(
    "page",
    [
        render_court(court()),
        render_court(sweep_court(2)),
        render_qualification(qualification()),
        render_scaling(fit_scaling(study()), study()),
    ],
)
def test_a_page_needs_nothing_from_outside_and_runs_nothing(page):
    tags = Tags()
    tags.feed(page)
    assert not tags.names & {"script", "iframe", "link", "img", "object", "embed", "form"}
    assert all(address.startswith("#") for address in tags.addresses)
    assert not re.search(r"url\((?!#)|@import", page)
    assert "default-src 'none'" in page


def test_text_from_data_is_escaped_wherever_it_appears():
    page = render_court(hostile(), [Link(title=HOSTILE, url="https://example.org/a"), Link(title="bad", url="javascript:alert(1)")])
    assert HOSTILE not in page and page.count("&lt;script&gt;") >= 14
    tags = Tags()
    tags.feed(page)
    assert [a for a in tags.addresses if not a.startswith("#")] == ["https://example.org/a"]


def test_every_arm_every_verdict_and_the_case_are_on_the_page():
    result = court((0, 1, 2))
    page = render_court(result)
    for one in result.decisions:
        assert one.sentence in page and one.modification.hypothesis in page
    for run in result.runs:
        assert run.train[:10] in page
    for text in (
        "5 changes tested, 1 accepted: muon", "stable", "204,800", "3 (0, 1, 2)", "95%", "waived: a demo has no four seeds", result.size,
        "training.phases.*.optimizer.kind: adamw -&gt; muon", "hot.0 diverged at step 41", "2.12.1", "each optimizer at its own tuned",
    ):  # fmt: skip
        assert text in page, text


def test_each_cell_of_the_matrix_says_its_verdict_by_sign_word_and_colour():
    result = court((0, 1, 2))
    svg = matrix_plot(result)
    for effect in result.effects:
        look = LOOKS[effect.outcome]
        assert f"{look.sign} {effect.outcome}" in svg and f"cell {look.tone}" in svg
    assert len(set(LOOKS.values())) == 4 and len({look.sign for look in LOOKS.values()}) == 4
    assert columns(result)[0] == "bits_per_byte"  # what decides comes first
    assert svg.count(" decides") >= 5


def test_missing_and_diverged_runs_are_shown_as_such():
    result = court((0, 1))
    page = render_court(result)
    assert "missing: no evaluation was found" in page and "diverged at step 41" in page
    svg = matrix_plot(result)
    assert "1 of 2 runs" in svg and "2 runs diverged" in svg  # fewer-heads lost one evaluation, hot diverged twice
    alone = matrix_plot(court((0,)))
    assert alone.count("– missing") == len(columns(result)) and "nothing to compare" in effect_plot(court((0,)))


def test_a_run_that_a_court_does_not_list_is_missing_and_one_left_out_has_its_reason():
    result = court((0, 1))
    runs = [run.model_copy(update={"left_out": "the disk was lost", "metrics": {}}) if run.arm == "slow" else run for run in result.runs]
    result = result.model_copy(update={"runs": [run for run in runs if (run.arm, run.seed) != ("muon", 1)]})
    assert [run.seed for run in runs_of(result, "muon")] == [0, 1]
    page = render_court(result)
    assert "left out: the disk was lost" in page and page.count("missing: no evaluation was found") == 2


def test_with_one_seed_every_verdict_says_under_powered_and_no_interval_is_drawn():
    result = court((0,))
    page, svg = render_court(result), effect_plot(result)
    assert "one seed gives no measure of noise" in page and "no interval" in svg
    assert 'class="reach' not in svg and {e.outcome for e in result.effects if not e.diverged} == {"under-powered"}
    assert "Nothing: the baseline is kept as it is." in page


def test_of_a_sweep_only_the_best_point_is_accepted():
    result = sweep_court(1)
    assert [state(result, arm) for arm in result.arms[1:]].count("accepted") == 1
    assert state(result, "rate[0.004]") == "accepted" and state(result, "rate[0.001]") == "not chosen"


def test_a_heat_map_has_every_point_its_best_and_those_as_good():
    result = sweep_court(2)
    svg = heat_map(result, "rate")
    assert svg.count("cell heat") == 14 + 2 and "– diverged" in svg  # the key shows two more
    assert svg.count("★ −") == 1 and "baseline&#x27;s own" in svg and "global batch size" in svg
    best = min((e for e in result.effects if e.metric == "bits_per_byte" and e.value is not None), key=lambda e: e.value)
    assert f"<title>{best.arm}: " in svg


def test_a_point_that_was_not_run_is_a_hole_in_the_heat_map():
    result = sweep_court(2)
    points = {arm: point for arm, point in result.points.items() if point != {RATE: 0.001, BATCH: 4}}
    assert "– not run" in heat_map(result.model_copy(update={"points": points}), "rate")


def test_a_response_has_a_dot_for_every_run():
    svg = response_plot(sweep_court(1, (0, 1, 2)), "rate")
    assert svg.count("seed c1") == 15 and "★ best" in svg and "(logarithmic)" in svg


def test_a_mixture_is_placed_by_the_share_that_varies_and_shown_with_its_optimum():
    result = mixture_court()
    ((axis),) = result.sweeps["mixture-ratio"].values()
    assert positions(axis) == ([0.1, 0.3, 0.5, 0.7, 0.9], False)
    assert positions(["adamw", "muon"]) == ([0.0, 1.0], False)
    assert positions([0.001, 0.01]) == ([-3.0, -2.0], True)
    svg = share_plot(result.responses["mixture-ratio"])
    assert svg.count("seed c1") == 12 + 1 and "its optimum" in svg  # the key shows one more
    assert result.responses["mixture-ratio"].sentence in render_court(result)
    edge = result.responses["mixture-ratio"].model_copy(update={"optimum": None, "low": None, "high": None})
    assert "its optimum" not in share_plot(edge)
    assert "★ best" in response_plot(result.model_copy(update={"responses": {}}), "mixture-ratio")


def test_learning_curves_show_the_baseline_everywhere_and_mark_what_diverged():
    result = court((0, 1))
    panels = training_panels(result)
    assert len(panels) == 5 and all("line c0" in panel and "spread c0" in panel for panel in panels)
    hot = panels[result.arms.index("hot") - 1]
    assert "diverged: 2 of 2 runs" in hot and hot.count("stopped as diverged") == 2
    assert "nothing logged (diverged)" in heldout_panels(result)[result.arms.index("hot") - 1]
    bare = [run.model_copy(update={"loss": [], "heldout": {}}) for run in result.runs]
    assert training_panels(result.model_copy(update={"runs": bare})) == []
    assert 'id="curves"' not in render_court(result.model_copy(update={"runs": bare}))


def test_held_out_loss_that_was_measured_once_is_no_curve_and_the_training_loss_stands_in_its_place():
    result = court()
    once = [run.model_copy(update={"heldout": {source: points[-1:] for source, points in run.heldout.items()}}) for run in result.runs]
    result = result.model_copy(update={"runs": once})
    assert heldout_panels(result) == [] and len(training_panels(result)) == 5
    page = render_court(result)
    assert "Training loss" in page and "Held-out loss while training" not in page


def test_the_point_of_a_sweep_stays_whole_where_a_name_is_cut():
    assert named("learning-rate-x-batch[0.002,16]", 24) == "learning-rate…[0.002,16]"
    assert named("muon", 24) == "muon" and named("m" * 40, 24) == "m" * 23 + "…"


def test_a_band_reaches_from_the_lowest_to_the_highest_seed_where_all_have_been():
    band = seed_band([[(1, 4.0), (3, 2.0), (5, 1.0)], [(1, 5.0), (2, 4.0), (4, 3.0)]])
    assert band == [(1, 4.0, 4.5, 5.0), (2, 3.0, 3.5, 4.0), (3, 2.0, 2.75, 3.5), (4, 1.5, 2.25, 3.0)]
    assert seed_band([]) == []


def test_a_qualification_shows_four_numbers_against_their_bounds():
    result = qualification()
    page = render_qualification(result)
    assert "2 of 4 metrics may vote." in page and "✓ votes" in page and "✕ reported only" in page
    assert result.metrics["accuracy/next_line"].reasons and result.metrics["accuracy/next_line"].reasons[0] in page
    assert "(exempt)" in page and "left out recall" in page
    assert curve_panel(result, "bits_per_byte").count("seedline") == 4
    assert "no evaluation has it" in curve_panel(result, "accuracy/recall")


def test_every_plot_is_well_formed():
    plots = [matrix_plot(court()), effect_plot(court()), *training_panels(court()), *heldout_panels(hostile()), matrix_plot(hostile())]
    plots += [effect_plot(hostile()), heat_map(sweep_court(2), "rate"), response_plot(sweep_court(1), "rate")]
    plots += [curve_panel(qualification(), metric) for metric in qualification().metrics]
    plots += scaling_panels(fit_scaling(study(), target=1e18), study())
    for svg in plots:
        for element in ET.fromstring(svg).iter():
            for value in element.attrib.values():
                assert not re.search(r"\b(nan|inf)\b", value.lower())


def test_a_scaling_study_shows_every_run_its_laws_and_how_far_they_are_extended():
    runs = study()
    fit = fit_scaling(runs, target=5e17)
    rate, batch, loss = scaling_panels(fit, runs)
    near = sum(len(one.near) for one in fit.budgets)
    assert rate.count("seed c0") == len(runs) - near and batch.count("seed c0") == len(runs) - near
    assert loss.count("seed c0") == len(runs) - len(fit.budgets)  # through the best of each budget alone
    assert all("line c2 thin" in panel and "whisker" in panel for panel in (rate, batch, loss))
    page = render_scaling(fit, runs)
    assert "50 times the largest budget" in page and fit.budgets[0].best in page
    within = scaling_panels(fit_scaling(runs), runs)
    assert not any("line c2 thin" in panel for panel in within)  # nothing is extended where no target is given
