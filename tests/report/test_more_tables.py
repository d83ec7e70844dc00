"""Tables of calibrate, mup, sweep, compare, watch and cert at four widths: every name and number is whole."""

from __future__ import annotations

import math

import pytest
from rich.cells import cell_len

from fanin.calibration.report import Calibration, Row
from fanin.certificates.certificate import Difference
from fanin.commands.cert import differences_table
from fanin.lab.comparison import Comparison
from fanin.lab.rates import RateSweep
from fanin.lab.runs import RunResult, RunSpec
from fanin.lab.tables import ComparisonTable
from fanin.report.terminal import TerminalReport
from fanin.scaling.coordinate_report import CoordinateCheck, MapRow
from fanin.scaling.slopes import Slope
from fanin.text.console import plain_text
from fanin.text.numbers import figures
from tests.report.samples import watched
from tests.report.test_terminal import assert_snapshot

WIDTHS = (60, 80, 100, 120)
MAPS = tuple(
    f"model.decoder.layers.{layer}.{part}.weight"
    for layer in (0, 1, 10, 11)
    for part in ("self_attn.q_proj", "self_attn.out_proj", "post_attention_layernorm", "mlp.gate_up_proj")
)
STARTS = ("torch's default", "auto", "the start that our last paper used, scaled by 0.5")
STATUSES = ("corrected", "in tolerance", "norm behind", "clipped")


def _calibration():
    rows = tuple(
        Row(
            parameter=name,
            part=f"[{place % 2}, 0:64]" if place % 4 == 3 else "",
            before=0.0123 * 1.7**place,
            target=1.0,
            factor=1.0 + place / 7,
            after=1.0 - place / 1000,
            z=place - 8.3,
            status=STATUSES[place % 4],
            reason="a norm behind it removes its scale" if place % 4 == 2 else "",
        )
        for place, name in enumerate(MAPS)
    )
    return Calibration(
        model="Decoder", rows=rows, make_plan=lambda: None, forwards=2, tolerance=3.0, most_z=3.7, written=True
    )


def _slopes():
    rows = tuple(
        MapRow(
            name=name,
            slopes=(Slope(value=place / 9 - 0.8, error=0.01 * place, verdict="ok" if place % 3 else "shrinks"),),
            changes={64: (1.7e-5 * 3.0**place,), 1024: (2.9e-6 * 3.0**place,)},
        )
        for place, name in enumerate(MAPS)
    )
    return CoordinateCheck(
        rows=rows,
        widths=(64, 1024),
        steps=1,
        seeds=2,
        optimizer="adamw",
        lr=1e-3,
        recipe="auto",
        groups=True,
        tolerance=0.1,
    )


def _runs(tasks, rates):
    """The loss of each start is its own function of the rate; one run diverges."""
    return {
        RunSpec(task, start, seed, lr): RunResult(
            losses=(2.303, 2.303 - 0.1 * place - lr * 10 * (1 + seed / 7)),
            diverged=place == 0 and lr == max(rates),
            score=0.5 + place / 10,
            setup_steps=0,
            setup_seconds=0.0,
            seconds=1.0,
        )
        for place, start in enumerate(STARTS)
        for task in tasks
        for seed in (0, 1, 2)
        for lr in rates
    }


def _comparison():
    return ComparisonTable(Comparison(runs=_runs(("task",), (1e-3, 3e-3)), inits=STARTS, tasks=("task",), target=None))


def _sweep():
    tasks = ("width 64", "width 1024")
    runs = _runs(tasks, (2.0**-9, 2.0**-8, 2.0**-7))
    return RateSweep(Comparison(runs=runs, inits=STARTS, tasks=tasks, target=None), (64, 1024)).table()


def _differences():
    values = ("values", f"{7**19:016x}", f"{5**23:016x}")
    found = [Difference(name=name, quantity=values[0], left=values[1], right=values[2]) for name in MAPS]
    found.append(Difference(name="lm_head.weight", quantity="shape", left="[50304, 1024]", right="[50257, 1024]"))
    return differences_table(found)


VIEWS = {
    "calibrate": _calibration,
    "mup": lambda: _slopes().table(),
    "sweep": _sweep,
    "compare": _comparison,
    "watch": lambda: TerminalReport(watched()),
    "cert": _differences,
}


@pytest.mark.parametrize("name", VIEWS)
def test_snapshots_at_four_widths(name):
    texts = {width: plain_text(VIEWS[name](), width=width) for width in WIDTHS}
    assert all("…" not in text for text in texts.values())
    assert all(cell_len(line) <= width for width, text in texts.items() for line in text.splitlines())
    assert_snapshot(f"more-{name}.txt", "\n".join(f"{width} columns\n\n{text}\n" for width, text in texts.items()))


@pytest.mark.parametrize("width", WIDTHS)
def test_every_row_has_its_name_and_its_first_numbers(width):
    shown = plain_text(_calibration(), width=width)
    for row in _calibration().rows:
        assert figures(row.before) in shown
    slopes = plain_text(_slopes().table(), width=width)
    assert all(f"{row.last.value:+.2f}" in slopes for row in _slopes().rows if math.isfinite(row.last.value))
    assert all(word in slopes for name in MAPS for word in name.split(".")[-2].split("_"))


def test_names_of_starts_break_between_words():
    assert "the start that our last " in plain_text(_comparison(), width=60)


def test_layers_of_a_certificate_are_in_the_order_of_their_numbers():
    shown = plain_text(_differences(), width=120)
    assert shown.index("layers.1.") < shown.index("layers.10.")
