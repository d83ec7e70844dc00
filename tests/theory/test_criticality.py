"""Fixed points, depth scales, the critical line and the phase diagram against golden numbers and each other."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fanin.errors import TheoryError
from fanin.theory import (
    activation_names,
    bivariate_gap,
    c_map,
    c_star,
    chi_1,
    chi_c,
    chi_q,
    critical_line,
    critical_point,
    depth_scales,
    gain,
    gaussian_moments,
    kept_point,
    propagate,
    propagate_law,
    q_map,
    q_star,
    resolve,
)
from fanin.theory.depth_scales import layers
from fanin.theory.fixed_points import solve_bracketed
from fanin.theory.leaps import follow
from fanin.theory.phase import phase_diagram
from fanin.theory.power_laws import PowerLaw, gap_ratio, power_law, second_moment, slope_moment
from tests.selection import few

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
CRITICAL = [(name, b) for name, row in GOLDEN["critical"].items() for b in row]


@pytest.mark.parametrize(("name", "sigma_b2"), CRITICAL)
def test_critical_points(name, sigma_b2):
    want = GOLDEN["critical"][name][sigma_b2]
    point = critical_point(name, sigma_b2=float(sigma_b2))
    assert point.sigma_w2 == pytest.approx(float(want["sigma_w2"]), rel=1e-9)
    assert point.q_star == pytest.approx(float(want["q_star"]), rel=1e-9)
    assert point.converged
    assert abs(point.residual) < 1e-12


def test_the_numbers_of_the_field():
    assert critical_point("tanh", sigma_b2=0.05).sigma_w2 == pytest.approx(1.760955, abs=5e-7)
    assert critical_point("tanh", sigma_b2=0.05).q_star == pytest.approx(0.570048, abs=5e-7)
    assert critical_point("erf", sigma_b2=0.05).sigma_w2 == pytest.approx(1.375839, abs=5e-7)
    assert critical_point("erf", sigma_b2=0.0).sigma_w2 == pytest.approx(math.pi / 4, rel=1e-12)
    assert critical_point("tanh", sigma_b2=0.0).sigma_w2 == pytest.approx(1.0, rel=1e-12)
    assert critical_point("leaky_relu(0.2)", sigma_b2=0.0).sigma_w2 == pytest.approx(2 / 1.04, rel=1e-14)
    assert [p.q_star for p in critical_line("tanh", [0.01, 0.1])] == pytest.approx([0.273301, 0.805799], abs=5e-7)


@pytest.mark.parametrize("sigma_w2", GOLDEN["tanh_scales"])
def test_the_depth_scales_of_tanh(sigma_w2):
    want = {k: float(v) for k, v in GOLDEN["tanh_scales"][sigma_w2].items()}
    scales = depth_scales("tanh", sigma_w2=float(sigma_w2), sigma_b2=0.05)
    assert scales.q_star == pytest.approx(want["q_star"], rel=1e-10)
    assert scales.chi_1 == pytest.approx(want["chi_1"], rel=1e-10)
    assert scales.c_star == pytest.approx(want["c_star"], rel=1e-8)
    assert scales.xi_c == pytest.approx(want["xi_c"], rel=1e-8)
    assert scales.trainable_depth == 6 * scales.xi_c
    assert scales.phase == ("ordered" if want["chi_1"] < 1 else "chaotic")


def test_the_printed_row_of_xi_c():
    printed = {1.0: 3.63, 1.3: 7.83, 1.5: 15.8, 1.7: 74.9, 1.8: 125.8, 2.0: 25.2, 2.5: 11.8, 3.0: 9.05, 4.0: 6.98}
    for sigma_w2, xi in printed.items():
        assert depth_scales("tanh", sigma_w2=sigma_w2, sigma_b2=0.05).xi_c == pytest.approx(xi, rel=2e-3)


def test_relu_becomes_one_input_slowly():
    curves = propagate("relu", depth=101, sigma_w2=2.0)
    for layer, want in GOLDEN["relu_c"].items():
        assert curves.c[int(layer)] == pytest.approx(float(want), abs=1e-12)
    assert curves.gap[100] * 100**2 == pytest.approx(9 * math.pi**2 / 2, rel=0.25)  # 44.4 / l^2, slowly reached
    assert curves.q.tolist() == [1.0] * 101
    assert curves.gradient.tolist() == [1.0] * 101


@pytest.mark.parametrize("name", ["tanh", "gelu", "silu", "elu", "softsign", "sin", "erf"])
def test_slopes_are_derivatives_of_the_maps(name):
    q, h = 0.8, 1e-4
    by_q = (q_map(name, q + h, sigma_w2=1.3) - q_map(name, q - h, sigma_w2=1.3)) / (2 * h)
    assert chi_q(name, q=q, sigma_w2=1.3) == pytest.approx(by_q, rel=1e-6)
    sigma_b2 = q - q_map(name, q, sigma_w2=1.3)  # makes q the fixed point
    c = 0.4
    if sigma_b2 >= 0:
        ends = [c_map(name, x, q=q, sigma_w2=1.3, sigma_b2=sigma_b2) for x in (c - h, c + h)]
        assert chi_c(name, 1 - c, q=q, sigma_w2=1.3) == pytest.approx((ends[1] - ends[0]) / (2 * h), rel=1e-6)
    assert chi_c(name, 0.0, q=q, sigma_w2=1.3) == chi_1(name, q=q, sigma_w2=1.3)


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "hardtanh", "softsign", "erf"])
@pytest.mark.parametrize("sigma_w2", [0.7, 3.0])
def test_fixed_points_are_where_long_networks_end(name, sigma_w2):
    found = q_star(name, sigma_w2=sigma_w2, sigma_b2=0.1)
    assert found.converged
    assert abs(found.residual) < 1e-12 * found.value
    q = 1.0
    for _ in range(300):
        q = q_map(name, q, sigma_w2=sigma_w2, sigma_b2=0.1)
    assert q == pytest.approx(found.value, rel=1e-9)


def test_c_star_is_where_long_networks_end():
    star = c_star("tanh", sigma_w2=2.5, sigma_b2=0.05)
    curves = propagate("tanh", depth=110, sigma_w2=2.5, sigma_b2=0.05, q0=1.063958, c0=0.9)
    assert curves.c[-1] == pytest.approx(star.value, abs=4e-4)
    assert c_star("tanh", sigma_w2=3.0).value == 0.0
    assert c_star("tanh", sigma_w2=1.2, sigma_b2=0.1).value == 1.0


@pytest.mark.slow
def test_the_phase_diagram_agrees_with_single_points():
    w, b = np.array([0.6, 1.3, 1.8, 2.9]), np.array([0.01, 0.05, 0.3])
    for name in ("tanh", "erf", "softsign", "hardtanh"):
        diagram = phase_diagram(name, sigma_w2=w, sigma_b2=b)
        for i, j in ((0, 1), (1, 3), (2, 0), (1, 2)):
            one = depth_scales(name, sigma_w2=w[j], sigma_b2=b[i])
            assert diagram.chi_1[i, j] == pytest.approx(one.chi_1, rel=1e-6)
            assert diagram.q_star[i, j] == pytest.approx(one.q_star, rel=1e-6)
            assert diagram.depth_scale()[i, j] == pytest.approx(one.xi_grad, rel=1e-3)


def test_the_phase_diagram_knows_death_and_growth():
    diagram = phase_diagram("relu", sigma_w2=np.array([1.0, 2.0, 3.0]), sigma_b2=np.array([0.0, 0.1]))
    assert diagram.q_star[0].tolist() == [0.0, pytest.approx(1.0), math.inf]
    assert diagram.q_star[1, 0] == pytest.approx(0.2, rel=1e-6)
    assert diagram.q_star[1, 2] == math.inf
    np.testing.assert_allclose(diagram.chi_1, [[0.5, 1.0, 1.5]] * 2, rtol=1e-12)


@pytest.mark.parametrize("name", few(activation_names(), every=2))
def test_every_activation_has_a_critical_point_or_a_reason(name):
    try:
        point = critical_point(name, sigma_b2=0.05)
    except TheoryError as error:
        if "no critical point" not in str(error):
            raise AssertionError(f"gives no reason: {error}") from error
    else:
        assert chi_1(name, q=point.q_star, sigma_w2=point.sigma_w2) == pytest.approx(1.0, rel=1e-12)
        kept = q_map(name, point.q_star, sigma_w2=point.sigma_w2, sigma_b2=0.05)
        assert kept == pytest.approx(point.q_star, rel=1e-10)


def test_laws_over_depth():
    he, glorot = (propagate_law("relu", law, widths=[256] * 31) for law in ("he", "glorot"))
    assert he.q[-1] == pytest.approx(1.0)
    assert glorot.q[-1] == pytest.approx(2.0**-30)
    assert glorot.gradient[0] == pytest.approx(2.0**-30)
    default = propagate_law("relu", "torch_linear", widths=[300] * 3)
    assert default.q.tolist() == pytest.approx([1.0, 1 / 6 + 1 / 900, (1 / 6 + 1 / 900) / 6 + 1 / 900])
    taper = propagate_law("linear", "glorot", widths=[100, 300, 100])
    assert taper.q.tolist() == pytest.approx([1.0, 0.5, 0.75])  # 2 fan_in / (fan_in + fan_out)
    assert taper.gradient.tolist() == pytest.approx([0.75, 0.5, 1.0])
    wide = propagate_law("linear", "orthogonal", widths=[100, 300, 100])
    assert wide.q.tolist() == pytest.approx([1.0, 1 / 3, 1 / 3])


def test_a_signal_below_everything_stays_finite():
    curves = propagate_law("relu", "classic_uniform", widths=[64] * 500)
    assert curves.q[-1] == 0.0
    assert np.isfinite(curves.gap).all()


def test_bad_questions():
    with pytest.raises(TheoryError, match="grows without bound"):
        q_star("relu", sigma_w2=2.5)
    with pytest.raises(TheoryError, match="has no critical point with a bias"):
        critical_point("relu", sigma_b2=0.1)
    with pytest.raises(TheoryError, match="has no critical point at any"):
        critical_point("softplus", sigma_b2=0.1)
    with pytest.raises(TheoryError, match="it has one for sigma_b2 between"):
        critical_point("gelu", sigma_b2=50.0)
    with pytest.raises(TheoryError, match="1-D grids"):
        phase_diagram("tanh", sigma_w2=np.array([0.0]), sigma_b2=np.array([0.0]))
    with pytest.raises(TheoryError, match="depth must be"):
        propagate("tanh", depth=0, sigma_w2=1.0)
    with pytest.raises(TheoryError, match="one per layer"):
        propagate("tanh", depth=3, sigma_w2=[1.0])
    with pytest.raises(TheoryError, match="overflows"):
        propagate("square", depth=40, sigma_w2=9.0)


def test_scales_of_slopes():
    assert layers(1.0) == math.inf
    assert layers(0.0) == 0.0
    assert layers(math.exp(-0.25)) == pytest.approx(4.0)
    assert solve_bracketed(lambda x: x - 0.25, 0.0, 1.0).value == pytest.approx(0.25)


SMOOTH_RECTIFIERS = ("gelu", "silu", "mish", "hardswish", "quick_gelu")


@pytest.mark.parametrize("name", SMOOTH_RECTIFIERS)
def test_no_critical_point_where_signals_leave_the_origin(name):
    with pytest.raises(TheoryError, match="keeps q"):
        critical_point(name, sigma_b2=0.0)
    point = kept_point(name)
    assert not point.stable
    assert point.sigma_w2 == pytest.approx(gain(name) ** 2)
    # chi_q against the q-map itself, one per cent beside the kept q
    after = q_map(name, 1.01, sigma_w2=point.sigma_w2)
    assert (after - 1.0) / 0.01 == pytest.approx(point.chi_q, rel=0.01)
    assert point.layers_to_e_fold == pytest.approx(1.0 / math.log(point.chi_q))


def test_a_bounded_or_homogeneous_function_keeps_its_critical_point():
    assert critical_point("tanh", sigma_b2=0.0).q_star == 0.0
    assert critical_point("relu", sigma_b2=0.0).q_star == 1.0
    assert kept_point("relu").stable
    with pytest.raises(TheoryError, match="no weights keep"):
        kept_point(lambda x: 0.0 * x)


@pytest.mark.parametrize(
    ("name", "sigma_w2"), few([("tanh", 1.0), ("elu", 1.0), ("relu6", 2.0), ("gelu", 2.0), ("sin", 3.0)], ("tanh", 1.0))
)
def test_interpolated_layers_are_those_computed_one_by_one(name, sigma_w2):
    many = propagate(name, depth=160, sigma_w2=sigma_w2, c0=0.5)
    each = propagate(name, depth=160, sigma_w2=[sigma_w2] * 158 + [sigma_w2 * (1 + 1e-12)], c0=0.5)
    assert np.abs(np.log(many.q / each.q)).max() < 1e-4
    assert np.abs(np.log(many.gap / each.gap)).max() < 1e-3
    assert np.abs(np.log(many.gradient / each.gradient)).max() < 2e-3
    wrong = propagate(name, depth=160, sigma_w2=1.001 * sigma_w2, c0=0.5)
    assert np.abs(np.log(wrong.q / each.q)).max() > 1e-4


@pytest.mark.parametrize(
    ("name", "q"), [("gelu", 1e12), ("elu", 1e13), ("tanh", 1e-12), ("selu", 1e13), ("hardshrink", 1e10)]
)
def test_far_from_one_an_activation_is_a_power_law(name, q):
    act = resolve(name)
    law = power_law(act, q=q)
    assert law is not None
    moments = gaussian_moments(act, q=q)
    assert second_moment(law, q=q) == pytest.approx(moments.second, rel=1e-3)
    assert slope_moment(law, q=q) == pytest.approx(moments.dsecond, rel=1e-3)
    assert power_law(act, q=1.0) is None


@pytest.mark.parametrize("gap", [1e-10, 1e-3, 0.5, 1.7])
def test_the_gap_of_power_laws(gap):
    leaky = PowerLaw(degree=1.0, right=1.0, left=-0.2)
    measured = bivariate_gap("leaky_relu(0.2)", gap) / gaussian_moments("leaky_relu(0.2)").second
    assert gap_ratio(leaky, gap) == pytest.approx(measured, rel=1e-6)
    squared = PowerLaw(degree=2.0, right=1.0, left=0.0)
    measured = bivariate_gap("relu2", gap) / gaussian_moments("relu2").second
    assert gap_ratio(squared, gap) == pytest.approx(measured, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [10, 60, 1000])
@pytest.mark.parametrize("name", activation_names())
def test_curves_end_and_take_little_memory(name, depth):
    _assert_it_ends(
        f"from fanin.theory.overview import law_curves as f; f({name!r}, depth={depth}, width=1024, {LAWS})"
    )


@pytest.mark.parametrize("name", few(["gelu", "silu", "elu", "hardtanh"], "gelu"))
def test_deep_curves_of_common_activations_end(name):
    _assert_it_ends(f"law_curves({name!r}, depth=1000, width=1024, {LAWS})")


LAWS = "laws=['he', 'glorot', 'classic_uniform']"


def _assert_it_ends(code):
    """In a process of its own with 10 CPU seconds: the kernel ends it beyond; 500 MB at most."""
    limited = "import resource as r; r.setrlimit(r.RLIMIT_CPU, (12, 12)); from fanin.theory.overview import law_curves"
    peak = "open('/proc/self/status').read().split('VmHWM:')[1].split()[0]"
    code = f"{limited}; {code}; print({peak})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert int(done.stdout) < 500_000


def test_a_rough_map_is_computed_at_few_of_a_thousand_layers():
    """No leap meets its tolerance on such a map; the twin is a smooth one, which needs fewer still."""
    rng, counts = np.random.default_rng(0), [0, 0]

    def rough(q, gap):
        counts[0] += 1
        scatter = np.exp(rng.normal(0.0, 0.1, 2))
        return 1e-3 + 0.9 * q * scatter[0], min(gap * scatter[1], 1.0)

    def smooth(q, gap):
        counts[1] += 1
        return 0.99 * q, 0.999 * gap

    q, _ = follow(rough, (1.0, 0.5), layers=1000)
    assert np.all(np.isfinite(q))
    assert q.size == 1000
    follow(smooth, (1.0, 0.5), layers=1000)
    assert counts[1] < counts[0] < 700


ROUGH = {
    "weierstrass": "lambda x: sum(0.5**k * np.cos(3.0**k * np.pi * x) for k in range(12))",
    "root in float32": "lambda x: np.sqrt(np.maximum(x, 0)).astype(np.float32)",
    "stairs": "lambda x: np.floor(4 * x) / 4",
    "rounded to half": "lambda x: np.tanh(x).astype(np.float16)",
    "many kinks": "lambda x: sum(np.abs(x - 0.1 * k) for k in range(-10, 10)) / 20",
    "cube root": "lambda x: np.cbrt(x).astype(np.float32)",
    "blocks": "lambda x: np.sign(np.sin(40 * x)) * np.abs(x)",
}


@pytest.mark.slow
@pytest.mark.parametrize("depth", [60, 1000])
@pytest.mark.parametrize("name", ROUGH)
def test_rough_callables_end(name, depth):
    _assert_it_ends(f"import numpy as np; law_curves({ROUGH[name]}, depth={depth}, width=1024, {LAWS})")
