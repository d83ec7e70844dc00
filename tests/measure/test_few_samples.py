"""The Jacobian by random probes against the whole matrix, and the samples that further passes take."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import fanin
from fanin.measure.few_samples import FEW, enough_samples, first_samples, fresh
from fanin.measure.jacobian import probed_jacobian


def chi_of(model, x):
    """Mean squared singular value over the outputs, from the whole Jacobian of one sample after the other."""
    energy = [
        torch.autograd.functional.jacobian(lambda one: model(one[None])[0], row).square().sum() for row in x[:FEW]
    ]
    return float(torch.stack(energy).mean()) / model(x).shape[1]


def probed(model, x):
    record, reason = probed_jacobian(model, x, batch=len(x), sites=(), seed=0)
    assert reason == ""
    return record


def net(gain=1.0):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(200, 400), nn.Tanh(), nn.Linear(400, 300))
    with torch.no_grad():
        model[2].weight.mul_(gain)
    return model, torch.randn(16, 200)


def far(model, x, want):
    # |J^T v|^2 / |v|^2 has a relative variance of about 2 / participation ratio + 2 / outputs, here 2 / 80 + 2 / 300,
    # over four probes through two samples.
    return abs(probed(model, x).chi / want - 1) > 5 * (0.032 / 8) ** 0.5


def test_chi_is_that_of_the_whole_jacobian():
    model, x = net()
    assert not far(model, x, chi_of(model, x))
    assert probed(model, x).num_probes == 8


def test_the_comparison_sees_another_gain():
    model, x = net()
    assert far(net(1.3)[0], x, chi_of(model, x))


def test_large_inputs_get_one_probe_a_sample():
    torch.manual_seed(0)
    record = probed(nn.Sequential(nn.Conv2d(3, 4, 9, stride=8), nn.Flatten(1)), torch.randn(8, 3, 128, 128))
    assert record.num_probes == 2


class Standardised(nn.Module):
    """A model that standardises its inputs by itself, over an axis of them."""

    def __init__(self, axis) -> None:
        super().__init__()
        self.axis, (self.net, _) = axis, net()

    def forward(self, x):
        return self.net((x - x.mean(self.axis, keepdim=True)) / (x.std(self.axis, keepdim=True) + 1e-6))


@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_statistics_that_the_model_takes_over_the_batch_are_of_enough_samples(scale):
    _, x = net()
    alone, over_batch = (probed(Standardised(axis), scale * x).chi for axis in (1, 0))
    assert over_batch == pytest.approx(alone, rel=0.5)
    assert probed(Standardised(0), scale * x[:FEW]).chi < 1e-6 * alone  # two samples are -1 and 1


def test_a_gain_that_is_far_off_is_still_that_of_two_samples():
    model, x = net(1e-3)
    assert probed(model, x).num_probes == 8


def test_the_relative_error_is_of_the_right_size():
    model, x = net()
    assert 0.005 < probed(model, x).relative_error < 0.4


def test_batch_norm_gets_as_many_samples_as_its_statistics_need():
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(32, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64))
    report = fanin.check(dense, torch.randn(64, 32), select=["S206"])
    assert enough_samples([s.norm for s in report.measurements.sites], 64) == 16
    # Two samples would be +1 and -1 whatever the input: a Jacobian of zero.
    assert 0.05 < report.measurements.jacobian.chi < 20
    pictures = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    sites = fanin.check(pictures, torch.randn(8, 3, 16, 16)).measurements.sites
    assert enough_samples([s.norm for s in sites], 8) == FEW


def test_first_samples_of_nests_and_not_where_axis_0_is_another():
    nest = {"a": torch.zeros(8, 3), "b": (torch.zeros(8), [torch.tensor(1.0), "text"])}
    got = first_samples(nest, 8, 2)
    assert got["a"].shape == (2, 3)
    assert got["b"][0].shape == (2,)
    assert got["b"][1][0].shape == ()
    assert got["b"][1][1] == "text"
    assert first_samples((torch.zeros(8, 3), torch.zeros(5, 8)), 8, 2) is None


def test_copies_ask_for_gradients_where_the_caller_does():
    x = torch.zeros(3, requires_grad=True)
    leaves, copy = fresh((x, torch.zeros(2), torch.tensor([1])), False)
    assert len(leaves) == 1
    assert leaves[0] is not x
    assert [t.requires_grad for t in copy] == [True, False, False]


@pytest.mark.parametrize(
    ("model", "inputs", "why"),
    [
        (nn.Embedding(10, 8), torch.randint(0, 10, (8, 4)), "no floating input"),
        (nn.Bilinear(4, 4, 3), (torch.randn(8, 4), torch.randn(8, 4)), None),
    ],
)
def test_a_missing_jacobian_has_a_reason(model, inputs, why):
    found = fanin.check(model, inputs).measurements
    assert found.missing.get("jacobian") == why
    assert (found.jacobian is None) == (why is not None)


def test_a_copy_shares_no_memory_with_the_input_however_long_it_lives():
    array = np.ones((4, 3), np.float32)
    x = torch.from_numpy(array)
    _, copy = fresh(x, False)
    copy.mul_(2.0)
    x.add_(1.0)  # while the copy is alive
    assert array.tolist() == [[2.0] * 3] * 4
    assert copy.tolist() == [[2.0] * 3] * 4


def test_a_numpy_view_of_a_copy_is_its_own():
    x = torch.ones(8)
    _, copy = fresh(x, False)
    copy.numpy()[:] = 3.0
    assert x.tolist() == [1.0] * 8


def test_a_gradient_passes_through_a_copy_that_is_written_into():
    x = torch.ones(5, 2)
    (leaf,), copy = fresh(x, True)
    copy.mul_(3.0).sum().backward()
    assert torch.equal(leaf.grad, torch.full((5, 2), 3.0))
    assert torch.equal(x, torch.ones(5, 2))
