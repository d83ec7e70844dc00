"""R and U of a check: spectral norms of weights and of the first update, beside exact ones of torch."""

import numpy as np
import pytest
import torch
from torch import nn

import fanin
from fanin.layout import Layout
from fanin.measure.quantities.spectral import spectral_norm, spectral_ratio


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 64), nn.ReLU(), nn.Linear(64, 10))


def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(32, 1, 8, 8, generator=generator), torch.randint(0, 10, (32,), generator=generator)


def largest(weight):
    return float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2))


def facts(model, optimizer=None, **settings):
    x, y = batch()
    report = fanin.check(model, x, targets=y, optimizer=optimizer, trial=False, **settings)
    return {p.path: p for p in report.measurements.parameters}


def test_r_is_the_largest_singular_value_over_that_of_the_shape():
    model = net()
    for name, found in facts(model).items():
        weight = model.get_parameter(name)
        if weight.dim() == 1:
            assert found.spectral is None
            continue
        shape = (weight.shape[0] / weight[0].numel()) ** 0.5
        assert found.spectral == pytest.approx(largest(weight) / shape, rel=0.1)
        assert found.spectral <= largest(weight) / shape * 1.0001
        assert found.first_step is None


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.1),
        lambda p: torch.optim.RMSprop(p, lr=1e-3),
    ],
)
def test_u_is_that_of_the_step_that_the_optimizer_takes(make):
    model = net()
    optimizer = make(model.parameters())
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    found = facts(model, optimizer)
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())
    assert not optimizer.state
    x, y = batch()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    for name in ("0.weight", "3.weight", "5.weight"):
        moved = largest(model.get_parameter(name).detach() - before[name])
        assert found[name].first_step == pytest.approx(moved / largest(before[name]), rel=0.15)


def test_what_has_no_first_step_has_none():
    class Odd(torch.optim.SGD):
        def __init__(self, params, *, twice):
            super().__init__(params, lr=0.1)

    model = net()
    assert facts(model, Odd(model.parameters(), twice=True))["3.weight"].first_step is None
    partly = torch.optim.SGD(model[3].parameters(), lr=0.1)
    found = facts(model, partly)
    assert found["3.weight"].first_step
    assert found["5.weight"].first_step is None
    x, _ = batch()
    report = fanin.check(model, x, optimizer=partly, trial=False)  # no loss: its gradient has no size of its own
    assert all(p.first_step is None for p in report.measurements.parameters)


def test_hooks_on_all_optimizers_do_not_see_it():
    from torch.optim.optimizer import register_optimizer_step_post_hook

    calls, model = [], net()
    handle = register_optimizer_step_post_hook(lambda *a: calls.append(a))
    try:
        assert facts(model, torch.optim.SGD(model.parameters(), lr=0.1))["3.weight"].first_step
        assert not calls
        weight = nn.Parameter(torch.ones(2))
        weight.grad = torch.ones(2)
        torch.optim.SGD([weight], lr=0.1).step()
        assert len(calls) == 1
    finally:
        handle.remove()


@pytest.mark.parametrize("size", [1e-36, 1e-20, 1e-8, 1e8, 1e20, 3e36])
def test_a_spectral_norm_is_in_proportion_to_its_matrix_at_any_size(size):
    matrix = np.random.default_rng(0).standard_normal((24, 16)).astype(np.float32)
    wanted = size * spectral_norm(matrix.astype(np.float64))
    assert spectral_norm(np.float32(size) * matrix) == pytest.approx(wanted, rel=1e-4, abs=0.0)


@pytest.mark.parametrize("size", [1e-30, 3e30])
def test_a_weight_of_any_size_is_measured_without_a_warning(size):
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 3))
    nn.init.normal_(model[0].weight, std=size, generator=torch.Generator().manual_seed(0))
    report = fanin.check(model, torch.randn(16, 8), targets=torch.randint(0, 3, (16,)), trial=False)
    (found,) = (p for p in report.measurements.parameters if p.path == "0.weight")
    exact = float(torch.linalg.matrix_norm(model[0].weight.detach().double(), 2))
    assert found.spectral == pytest.approx(exact, rel=0.1, abs=0.0)


def test_packed_maps_count_by_their_largest_part():
    weight = torch.cat([torch.eye(8), 3.0 * torch.eye(8)])
    assert spectral_ratio(weight, Layout.linear(parts=2)) == pytest.approx(3.0)
    assert spectral_ratio(torch.full((4, 4), torch.nan), Layout.linear()) is None
    assert spectral_ratio(torch.zeros(4, 4), Layout.linear()) == 0.0
    assert spectral_ratio(torch.eye(4), None) is None
