"""`fanin gain` and `fanin theory`: what is printed, drawn and refused."""

import io
import json
import re
import subprocess
import sys

import pytest
from rich.console import Console
from typer.testing import CliRunner

from fanin.commands.app import app
from fanin.commands.gain import gains_to_json
from fanin.commands.targets import load_activation
from fanin.commands.theory import predict_phases
from fanin.errors import TargetError, TheoryError, UnknownNameError
from fanin.report.theory_figures import curves_figure, phase_figure
from fanin.report.theory_tables import CurveTables, GainTable, PhasePicture
from fanin.theory import activation, activation_names, propagate_law
from fanin.theory.overview import gain_row, law_curves
from fanin.theory.phase import phase_diagram
from tests.selection import few

RUN = CliRunner()


def printed(drawing, width=120):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(drawing)
    return console.file.getvalue()


def test_gain_prints_the_number():
    result = RUN.invoke(app, ["gain", "gelu", "leaky_relu(0.2)"], env={"COLUMNS": "150"})
    assert result.exit_code == 0
    assert re.search(r"gelu .* 1\.533530 .* 1\.481114", result.output)
    assert "leaky_relu(negative_slope=0.2)" in result.output


def test_gain_as_json():
    result = RUN.invoke(app, ["gain", "numpy:tanh", "--q", "2", "--format", "json"])
    row = json.loads(result.output)["gains"][0]
    assert (row["name"], row["q"]) == ("tanh", 2.0)
    assert row == json.loads(gains_to_json([gain_row("tanh", q=2.0)]))["gains"][0]


def test_gain_of_a_function_in_a_file(tmp_path):
    (tmp_path / "mine.py").write_text("import numpy as np\n\ndef double(x):\n    return 2 * np.maximum(x, 0)\n")
    result = RUN.invoke(app, ["gain", f"{tmp_path / 'mine.py'}:double", "--format", "json"])
    assert json.loads(result.output)["gains"][0]["forward"] == pytest.approx(0.5**0.5)


def test_a_narrow_screen_loses_no_number():
    text = printed(GainTable([gain_row("relu")]), width=60)
    assert all(word in text for word in ("forward", "1.414214", "centred", "1.712859", "κ"))


def test_no_gain_is_shown_as_none():
    assert "–" in printed(GainTable([gain_row(lambda x: (x > 0) * 1.0)]), width=140)


def test_theory_prints_curves_and_writes_the_figure(tmp_path):
    figure = tmp_path / "tanh.png"
    arguments = ["theory", "--phi", "tanh", "--sigma-b2", "0.05", "--depth", "20", "--plot", str(figure)]
    result = RUN.invoke(app, arguments, env={"COLUMNS": "120"})
    assert result.exit_code == 0
    assert all(word in result.output for word in ("1.760955", "0.570048", "critical", "classic_uniform", "gradient²"))
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_theory_says_why_there_is_no_critical_curve():
    result = RUN.invoke(app, ["theory", "--phi", "relu", "--sigma-b2", "0.1", "--depth", "4", "--law", "he"])
    assert "no curve: critical: relu has no critical point" in result.output


def test_the_phase_diagram(tmp_path):
    figure = tmp_path / "phase.svg"
    result = RUN.invoke(
        app, ["theory", "--phase-diagram", "--grid", "40", "--plot", str(figure)], env={"COLUMNS": "80"}
    )
    assert result.exit_code == 0
    assert "·" in result.output
    assert "+" in result.output
    assert "<svg" in figure.read_text()


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (["gain", "gellu"], UnknownNameError, "did you mean 'gelu'"),
        (["gain", "nowhere.at.all:f"], TargetError, "importing nowhere.at.all failed"),
        (["gain", "numpy:no_such_thing"], TargetError, "has no 'no_such_thing'"),
        (["gain", "numpy:cumsum"], TheoryError, "not an elementwise"),
        (["theory", "--phi", "tanh", "--law", "hee"], UnknownNameError, "did you mean 'he'"),
        (["theory", "--phase-diagram", "--grid", "1"], TheoryError, "at least 2 points"),
        (["theory", "--depth", "0"], TheoryError, "depth must be"),
    ],
)
def test_bad_questions(arguments, error, match):
    result = RUN.invoke(app, arguments)
    assert isinstance(result.exception, error)
    assert re.search(match, str(result.exception))


def test_targets():
    assert load_activation("torch.nn.functional.gelu").name == "gelu"
    assert load_activation("torch.nn:SiLU").name == "silu"
    with pytest.raises(UnknownNameError, match="no activation"):
        load_activation("leaky(0.2)")


def test_figures_have_what_they_say():
    curves, without = law_curves("tanh", depth=8, width=64, laws=["he", "glorot"], sigma_w2=2.0, sigma_b2=0.05)
    assert without == []
    figure = curves_figure(curves, title="tanh")
    assert [len(axes.lines) for axes in figure.axes] == [4, 4, 4]
    diagram = phase_diagram("tanh", sigma_w2=[0.5, 1.5, 2.5], sigma_b2=[0.0, 0.1])
    assert "tanh" in phase_figure(diagram).axes[0].get_title()
    assert printed(PhasePicture(diagram)).count("\n") == 19


def test_a_dead_signal_is_drawn_as_one():
    curves = [propagate_law("relu", "classic_uniform", widths=[8] * 420)]
    assert "0" in printed(CurveTables(curves))
    curves_figure(curves, title="relu")


@pytest.mark.parametrize("name", few(["gelu", "silu", "mish", "hardswish"], "gelu"))
def test_theory_of_smooth_rectifiers_shows_the_gain_and_that_q_leaves(name):
    result = RUN.invoke(app, ["theory", "--phi", name, "--depth", "60"], env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    assert "gain²" in result.output
    assert "not stable" in result.output


@pytest.mark.parametrize("name", few(["softshrink", "star_relu"], "softshrink"))
def test_theory_takes_the_gain_where_nothing_settles_at_the_critical_point(name):
    result = RUN.invoke(app, ["theory", "--phi", name, "--depth", "20"], env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    assert "gain²" in result.output
    assert "e+32" not in result.output


@pytest.mark.parametrize("name", ["exp", "tanhshrink"])
def test_phases_of_what_outgrows_floats_and_of_what_is_nothing_near_zero(name):
    result = RUN.invoke(app, ["theory", "--phi", name, "--phase-diagram", "--grid", "8"], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output


def test_theory_refuses_what_would_not_end():
    result = RUN.invoke(app, ["theory", "--phi", "gelu", "--depth", "100000000"])
    assert isinstance(result.exception, TheoryError)
    assert "100,000" in str(result.exception)


CALLABLES = """
import numpy as np, torch
square_root = lambda x: np.sign(x) * np.sqrt(np.abs(x))
swish3 = lambda x: x / (1 + np.exp(-np.clip(3 * x, -700, 700)))
stairs = lambda x: np.floor(np.clip(x, -3, 3))
bent = lambda x: np.where(x > 0.3, x, 0.1 * x)
wave = lambda x: x + np.sin(3 * x)
bump = lambda x: x * np.exp(-x * x)
cubic = lambda x: x**3 / 10
torch_gelu = torch.nn.functional.gelu
torch_silu = torch.nn.functional.silu
shifted = lambda x: np.tanh(x + 1)
root = lambda x: torch.where(x > 0, torch.sqrt(torch.clamp(x.float(), min=0)), torch.zeros(()))
sawtooth = lambda x: x - np.floor(x)
fast_wave = lambda x: np.sin(50 * x)
exploding = lambda x: np.exp(x * x / 6)
constant = lambda x: np.full_like(x, 0.7)
rounded = lambda x: np.round(4 * x) / 4
coarse = lambda x: torch.nn.functional.gelu(x.to(torch.bfloat16)).float()
whole = lambda x: np.sign(x).astype(np.int64)
undefined = lambda x: np.sqrt(x)
singular = lambda x: np.log(np.abs(x) + 1e-30)
"""
NAMES_OF_CALLABLES = re.findall(r"(\w+) = ", CALLABLES)


@pytest.mark.slow
@pytest.mark.parametrize("phases", [False, True])
@pytest.mark.parametrize("name", NAMES_OF_CALLABLES)
def test_theory_of_any_callable_ends(name, phases, tmp_path):
    """In a process of its own with 20 CPU seconds (10 and those of importing torch), 500 MB beside torch's."""
    (tmp_path / "mine.py").write_text(CALLABLES)
    options = ["--phase-diagram"] if phases else ["--depth", "1000"]
    code = (
        "import resource as r, sys; r.setrlimit(r.RLIMIT_CPU, (20, 20)); import torch; "
        "peak = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]); "
        "before = peak(); from fanin.commands.app import app; "
        f"app(['theory', '--phi', {str(tmp_path / 'mine.py') + ':' + name!r}, *{options!r}], standalone_mode=False); "
        "assert peak() - before < 500_000"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "fanin.errors.TheoryError" in done.stderr, done.stderr[-800:]


@pytest.mark.parametrize(("sigma_b2", "highest"), [(0.0, 0.5), (0.2, 0.2)])
def test_phases_reach_the_bias_variance_that_is_asked_for_or_a_half(sigma_b2, highest):
    console = Console(file=io.StringIO(), width=60, color_system=None)
    predict_phases(activation("tanh"), grid=3, sigma_w2=2.0, sigma_b2=sigma_b2, plot=None, console=console)
    first = console.file.getvalue().splitlines()[1]
    assert float(first.split()[0]) == highest


# ---------------------------------------------------------------------- every activation, to the depth of real networks
SECONDS, MEGABYTES = 10, 500
# runs the commands that it is given, one after the other, and prints what each took
MEASURED = """
import contextlib, io, json, resource, sys, time
from fanin.commands.app import app
from fanin.errors import FaninError

for arguments in json.loads(sys.argv[1]):
    begun, said, status = time.process_time(), io.StringIO(), 0
    try:
        with contextlib.redirect_stdout(said):
            app(arguments, standalone_mode=False)
    except FaninError as error:
        status, said = 2, io.StringIO(str(error))
    seconds, peak = time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([arguments, status, seconds, peak, said.getvalue()[-300:]]), flush=True)
"""


def commands_about(name):
    depths = [["theory", "--phi", name, "--depth", str(depth)] for depth in (10, 100, 1000)]
    return [["gain", name], *depths, ["theory", "--phi", name, "--phase-diagram"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", activation_names())
def test_every_activation_is_answered_soon_and_in_little_memory(name):
    """CPU seconds, which a busy machine does not lengthen; a wall clock stops what would not end."""
    command = [sys.executable, "-c", MEASURED, json.dumps(commands_about(name))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(commands_about(name)), done.stderr[-2000:]
    for arguments, status, seconds, peak, said in rows:
        assert status == 0, (arguments, said)
        assert seconds < SECONDS, (arguments, seconds)
        assert peak < MEGABYTES, (arguments, peak)
