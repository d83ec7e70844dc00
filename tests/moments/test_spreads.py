"""Standard errors of predictions beside the scatter of networks that are drawn again."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fanin.graph.recording.capture import capture
from fanin.moments import JointMoments, propagate, read_weights
from fanin.moments.algebra import summed_up, unsure_of_places
from fanin.moments.answers import MeanMapped

DRAWS = 80
CLOSE = 5.0 * math.sqrt(2.0 / DRAWS)  # five standard errors of a mean square of DRAWS normal numbers


def foreseen(model, x):
    """Moments of the model's output."""
    graph = capture(model, x)
    return propagate(graph, read_weights(model), "example")[graph.outputs[0].value].moments


def test_what_known_weights_make_of_a_mean_is_no_draw():
    """The input is nearly all mean, which row sums of the weights map exactly."""
    torch.manual_seed(1)
    far, drawn = [], []
    for _ in range(DRAWS):
        model, x = nn.Linear(64, 16), 1.0 + 0.2 * torch.randn(8, 64)
        m = foreseen(model, x)
        off = math.log(model(x).square().mean().sqrt().item() / m.rms)
        far.append(off / m.log_rms_se)
        drawn.append(off / (0.5 * math.sqrt(replace(m, spread=None).own_var)))
    assert np.mean(np.square(far)) == pytest.approx(1.0, abs=CLOSE)
    assert np.mean(np.square(drawn)) < 1.0 - CLOSE  # the mean as a draw: far too wide


def test_numbers_beside_a_draw_leave_its_own_scatter():
    numbers = np.array([3.0, -1.0, 2.0, -4.0])
    mapped = MeanMapped(sums=numbers, mean=1.0, dim=-1)
    rng = np.random.default_rng(2)
    draws = [np.log(np.square(numbers + 0.3 * rng.standard_normal(4)).mean()) for _ in range(4000)]
    out = JointMoments.measured(numbers)
    out = out.with_kernel(out.kernel + JointMoments.iid((4,), var=0.09).kernel)
    assert mapped.own_var(out) == pytest.approx(np.var(draws), rel=5.0 * math.sqrt(2.0 / 4000) + 0.05)
    assert out.own_var > 5.0 * np.var(draws)


@pytest.mark.parametrize("act", [nn.ReLU, lambda: nn.LeakyReLU(0.2)])
def test_behind_a_norm_the_size_of_what_a_function_reads_does_not_scatter(act):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(32, 32), nn.BatchNorm1d(32), act())
    graph = capture(model, torch.zeros(64, 32))
    made = propagate(graph, read_weights(model), "standard")[graph.outputs[0].value].moments
    logs = [math.log(model[1:](torch.randn(64, 32)).square().mean().item()) for _ in range(DRAWS)]
    without = [math.log(act()(torch.randn(64, 32)).square().mean().item()) for _ in range(DRAWS)]
    assert (2.0 * made.log_rms_se) ** 2 == pytest.approx(np.var(logs), rel=CLOSE)
    assert (2.0 * made.log_rms_se) ** 2 < (1.0 - CLOSE) * np.var(without)


class Pick(nn.Module):
    """One place behind a causal convolution."""

    def __init__(self, place):
        super().__init__()
        self.conv, self.place = nn.Conv1d(8, 8, 4, padding=3), place

    def forward(self, x):
        return F.silu(self.conv(x)[..., :12]).transpose(1, 2)[:, self.place]


def test_the_first_place_of_a_causal_convolution_is_known_less_well():
    torch.manual_seed(4)
    x = torch.randn(16, 8, 12)
    first, middle = foreseen(Pick(0), x).log_rms_se, foreseen(Pick(6), x).log_rms_se
    assert first > 1.0 > 0.2 > middle


def test_a_padded_convolution_behind_another_one_reads_the_larger_places_more_often():
    torch.manual_seed(5)
    off, errors = [], []
    for _ in range(12):
        model = nn.Sequential(nn.Conv2d(8, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1))
        x = torch.randn(8, 8, 4, 4)
        m = foreseen(model, x)
        off.append(math.log(model(x).square().mean().sqrt().item() / m.rms))
        errors.append(m.log_rms_se)
    assert np.mean(off) > 5.0 * np.std(off) / math.sqrt(12)  # a bias, which the error spans
    assert np.abs(off).max() < 3.0 * np.mean(errors)


def test_a_sum_with_a_term_of_fixed_size_has_the_spread_of_the_rest():
    """Sum of a vector of norm 1 exactly and an independent Gaussian one: variance of the log of its mean square."""
    generator, n, share = np.random.default_rng(0), 64, 0.3
    fixed = generator.standard_normal((4000, n))
    fixed *= math.sqrt(n) / np.linalg.norm(fixed, axis=1, keepdims=True)
    drawn = math.sqrt(share) * generator.standard_normal((4000, n))
    measured = float(np.var(np.log(np.square(fixed + drawn).mean(axis=1))))
    exact = replace(JointMoments.iid((n,)), spread=0.0)
    both = summed_up(exact, JointMoments.iid((n,), var=share))
    assert both.own_var == pytest.approx(measured, rel=0.15)
    assert summed_up(JointMoments.iid((n,)), JointMoments.iid((n,), var=share)).own_var > 1.5 * measured


def test_what_near_places_have_in_common_is_an_error_of_means_and_maxima():
    alike = JointMoments.iid((4, 8), var=4.0)
    assert unsure_of_places(alike, 2.0).width_var == 0.0
    assert unsure_of_places(alike, 4.0).width_var == pytest.approx((0.1 * math.log(2.0)) ** 2)
    assert unsure_of_places(JointMoments.constant((4,), 0.0), 1.0).width_var == 0.0
