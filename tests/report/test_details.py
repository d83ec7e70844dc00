"""Small numbers and choices of the drawings and tables, each with what a reader would see if it were another."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from fanin.measure.record import Histogram
from fanin.report.html.axes import DepthAxis
from fanin.report.html.charts.cells import _runs
from fanin.report.html.charts.markers import _SHAPES
from fanin.report.html.figures.histograms import _span
from fanin.report.html.figures.over_depth import signal_over_depth
from fanin.report.sarif import _message
from fanin.report.terminal import _consequence, to_text
from fanin.report.theory_tables import PhasePicture
from fanin.rules.finding import Finding, Fix
from fanin.theory.phase import PhaseDiagram
from tests.report.samples import mlp, vit

BOTH = ("predicted", "predicted_backward")


def finding(**more):
    default = {"code": "S201", "name": "forward-vanishing", "severity": "error", "paths": ("a",)}
    return Finding(**{**default, "message": "It shrinks.", "fix": Fix(text="grow it"), **more})


# ---------------------------------------------------------------------- drawings
@pytest.mark.parametrize("kind", _SHAPES)
def test_a_mark_is_as_far_to_the_left_as_to_the_right(kind):
    x, seen = 0.0, []
    for _, dx, _ in _SHAPES[kind]:
        x += dx
        seen.append(x)
    assert sorted(seen) == pytest.approx(sorted(-v for v in seen))


def test_the_columns_of_an_axis_fill_it_once():
    axis = DepthAxis(names=("a", "b", "c", "d"), left=10.0, right=110.0)
    assert axis.slot == 25.0
    assert [axis.middle(i) for i in range(4)] == [22.5, 47.5, 72.5, 97.5]


def test_neighbours_of_one_shade_are_one_run():
    assert _runs([2, 2, 0, 2, 1, 1, 1]) == [(0, 2, 2), (3, 1, 2), (4, 3, 1)]


def test_a_map_of_exponents_begins_and_ends_with_the_filled_ones():
    """Bins below a hundredth of the fullest count as empty."""
    histogram = Histogram(scale="log2", low=-5.0, width=1.0, counts=(0, 1, 7, 200, 50, 3, 2, 0))
    assert _span(histogram) == (-3, 1)
    assert _span(replace(histogram, counts=(0, 0))) is None


def test_a_narrow_axis_is_widened_to_one_decade_about_its_middle():
    from matplotlib.figure import Figure

    from fanin.report.theory_figures import _widen

    for low, high, wanted in ((1.0, 4.0, (2.0 / 10**0.5, 2.0 * 10**0.5)), (1.0, 100.0, (1.0, 100.0))):
        axes = Figure().subplots()
        axes.set(yscale="log", ylim=(low, high))
        _widen(axes)
        assert axes.get_ylim() == pytest.approx(wanted)


@pytest.mark.parametrize(("drop", "explained"), [((), True), (("predicted",), True), (BOTH, False)])
def test_the_band_of_predictions_is_explained_where_one_is_drawn(drop, explained):
    result = vit(2)
    sites = [replace(site, **dict.fromkeys(drop)) for site in result.measurements.sites]
    axis = DepthAxis(names=tuple(site.path for site in sites))
    figure = signal_over_depth(result, sites, axis)
    assert ("expected by theory" in figure.key) == explained


# ---------------------------------------------------------------------- text
def test_the_text_of_a_sarif_result_is_message_limit_and_fix():
    assert _message(finding(value=0.01, threshold=0.1)).startswith("It shrinks. a: ")
    assert _message(finding()) == "It shrinks. Grow it."


def test_a_consequence_says_what_fits_on_its_line():
    child = finding(because_of=("S202",), value=0.01, threshold=0.1)
    least, whole = (_consequence(child, width, str).cell_len for width in (0, 200))
    widths = range(least, whole + 3)
    lengths = [_consequence(child, width, str).cell_len for width in widths]
    assert all(n <= width for n, width in zip(lengths, widths, strict=True))
    assert lengths[-3:] == [whole] * 3
    assert lengths[-4] < whole


def test_a_consequence_whose_cause_is_not_shown_is_shown_by_itself():
    result = mlp(40)
    child = finding(code="S203", name="backward-vanishing", because_of=("X999",))
    assert "because of X999" in to_text(replace(result, consequences=(child,)))
    cause = result.findings[0].code
    text = to_text(replace(result, consequences=(replace(child, because_of=(cause,)),)))
    assert text.count(f"because of {cause}") == 1


@pytest.mark.parametrize("count", [2, 3, 6])
def test_a_layer_names_all_its_codes(count):
    result = vit(3)
    path = result.measurements.weight_sites()[1].path
    found = tuple(finding(code=f"S20{i}", paths=(path,)) for i in range(count))
    text = to_text(replace(result, findings=found, consequences=()))
    table = text[text.index("grad rms") :]
    assert all(f"S20{i}" in table for i in range(count))


def test_a_phase_picture_goes_from_the_largest_to_the_smallest_bias_variance():
    grid = np.linspace(0.0, 1.0, 5)
    chi = np.full((5, 9), 0.5)
    diagram = PhaseDiagram(name="tanh", sigma_w2=np.linspace(0.5, 2.0, 9), sigma_b2=grid, q_star=chi, chi_1=chi)
    out = io.StringIO()
    Console(file=out, width=60).print(PhasePicture(diagram, rows=5))
    labels = [float(line.split()[0]) for line in out.getvalue().splitlines()[1:6]]
    assert labels == [1.0, 0.75, 0.5, 0.25, 0.0]
