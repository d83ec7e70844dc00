"""Functions whose slope grows without limit have no backward gain, and say so."""

import json
import math

import numpy as np
import pytest

from fanin import gain
from fanin.errors import TheoryError
from fanin.theory.callables import resolve
from fanin.theory.critical import critical_point
from fanin.theory.moments import gaussian_moments
from fanin.theory.overview import gain_row
from fanin.theory.singular import steepest_power

INFINITE = {
    "sqrt|x|": lambda x: np.sqrt(np.abs(x)),
    "signed sqrt": lambda x: np.sign(x) * np.sqrt(np.abs(x)),
    "cube root": np.cbrt,
    "|x|^0.4": lambda x: np.abs(x) ** 0.4,
    "sqrt of relu": lambda x: np.sqrt(np.maximum(x, 0.0)),
    "asin to its edges": lambda x: np.arcsin(np.clip(x, -1.0, 1.0)),
    "acosh from its edge": lambda x: np.arccosh(np.maximum(x, 1.0)),
    "relu + sqrt|x - 0.7|": lambda x: np.maximum(x, 0.0) + np.sqrt(np.abs(x - 0.7)),
}
FINITE = {
    "|x|^0.6": lambda x: np.abs(x) ** 0.6,
    "sqrt(x^2 + 1e-6)": lambda x: np.sqrt(x * x + 1e-6),
    "asin inside": lambda x: np.arcsin(0.9 * np.clip(x, -1.0, 1.0)),
    "stairs": lambda x: np.floor(x) + x,
    "sign": lambda x: np.sign(x) + 0.1 * x,
}


@pytest.mark.parametrize("name", INFINITE)
def test_a_slope_without_second_moment_has_no_backward_gain(name):
    f = INFINITE[name]
    assert gaussian_moments(f).dsecond == math.inf
    with pytest.raises(TheoryError, match="is infinite"):
        gain(f, direction="backward")
    with pytest.raises(TheoryError, match="is infinite"):
        gain(f, direction="mean")
    assert 0.0 < gain(f) < math.inf


@pytest.mark.parametrize("name", FINITE)
def test_a_slope_with_one_keeps_its_gain(name):
    assert 0.0 < gain(FINITE[name], direction="backward") < math.inf


def test_the_fourth_moment_of_a_slope_ends_before_the_second():
    m = gaussian_moments(FINITE["|x|^0.6"])
    exact = 0.36 * 2.0**-0.4 * math.gamma(0.1) / math.sqrt(math.pi)  # 0.6^2 E |z|^-0.8
    assert m.dfourth == math.inf
    assert m.dsecond == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("power", [0.1, 0.33, 0.5, 0.6])
@pytest.mark.parametrize(("where", "factor"), [(0.0, 1.0), (0.7, 1.0), (-1.234, 0.1)])
def test_the_power_is_found(power, where, factor):
    f = resolve(lambda x: np.tanh(x) + factor * np.abs(x - where) ** power)
    assert steepest_power(f, mean=0.0, std=1.0) == pytest.approx(power, abs=0.01)


def test_rows_of_the_table_say_infinite_and_no_critical_point_is_made_up():
    row = gain_row(INFINITE["sqrt|x|"])
    assert row.backward is None
    assert row.between is None
    assert row.chi_1 == math.inf
    with pytest.raises(TheoryError, match="no sigma_w2 makes"):
        critical_point(INFINITE["signed sqrt"], sigma_b2=0.1)


def test_the_command_prints_no_gain_where_there_is_none(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from fanin.commands.app import app

    (tmp_path / "roots.py").write_text("import numpy as np\n\ndef root(x):\n    return np.sqrt(np.abs(x))\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, ["gain", "roots.py:root", "--format", "json"])
    assert shown.exit_code == 0, shown.output
    (found,) = json.loads(shown.output)["gains"]
    assert found["backward"] is None
    assert "no gain keeps the size of a gradient" in " ".join(
        CliRunner().invoke(app, ["gain", "roots.py:root"]).output.split()
    )
    assert "no gain keeps" not in CliRunner().invoke(app, ["gain", "relu"]).output
