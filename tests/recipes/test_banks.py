"""Weights that are sums, means and other reductions of a bank of weights: fans and size are those of what is used."""

import pytest
import torch
from torch import nn

import fanin

X = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
SHARES = torch.tensor([0.4, 0.3, 0.2, 0.1, 0.0])

BANKS = {
    "sum": ((5, 32, 64), lambda a: a.sum(0)),
    "mean": ((5, 32, 64), lambda a: a.mean(dim=0)),
    "axis kept": ((5, 32, 64), lambda a: a.sum(0, keepdim=True)[0]),
    "last axis": ((32, 64, 5), lambda a: a.sum(-1)),
    "middle axis": ((32, 5, 64), lambda a: a.sum(1)),
    "turned": ((64, 32, 5), lambda a: a.mean(-1).t()),
    "two axes": ((5, 2, 32, 64), lambda a: a.sum((0, 1))),
    "of a view": ((64, 64), lambda a: a.view(2, 32, 64).sum(0)),
    "median": ((5, 32, 64), lambda a: a.median(0).values),
    "shares": ((5, 32, 64), lambda a: (a * SHARES[:, None, None]).sum(0)),
    "einsum": ((5, 32, 64), lambda a: torch.einsum("k,koi->oi", SHARES, a)),
    "einsum, last": ((32, 64, 5), lambda a: torch.einsum("oik,k->oi", a, SHARES)),
    "tensordot": ((5, 32, 64), lambda a: torch.tensordot(SHARES, a, 1)),
    "product": ((32, 64, 5), lambda a: a @ SHARES),
    "difference": ((6, 32, 64), lambda a: a.diff(dim=0)[0]),
}


class Bank(nn.Module):
    def __init__(self, shape, make, conv=False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.bank, self.make = nn.Parameter(0.1 * torch.randn(shape)), make
        self.out = nn.Linear(32, 10)

    def forward(self, x):
        self.made = self.make(self.bank)
        return self.out(torch.relu(nn.functional.linear(x, self.made)))


@pytest.mark.parametrize("name", BANKS)
def test_what_is_made_of_a_bank_has_the_std_of_a_map(name):
    model = Bank(*BANKS[name])
    plan = fanin.plan(model, X)
    plan.apply_(model)
    model(X)
    assert plan["bank"].fan_in == 64.0
    # 1 / sqrt(64), with 2048 numbers: five standard errors are 8 %
    assert float(model.made.detach().square().mean().sqrt()) == pytest.approx(1 / 8, rel=0.08)


@pytest.mark.parametrize("name", ["largest", "log of the sum of exp", "length"])
def test_a_reduction_that_leaves_one_sign_keeps_what_was_drawn(name):
    make = {
        "largest": lambda a: a.amax(0),
        "log of the sum of exp": lambda a: a.logsumexp(0),
        "length": lambda a: a.norm(dim=0),
    }
    assert fanin.plan(Bank((5, 32, 64), make[name]), X)["bank"].action == "keep"


def test_kernels_of_a_bank_keep_their_taps():
    class Kernels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.bank, self.out = nn.Parameter(0.1 * torch.randn(5, 24, 4, 3, 3)), nn.Linear(24, 10)

        def forward(self, x):
            made = torch.einsum("k,koihw->oihw", SHARES, self.bank)
            return self.out(nn.functional.conv2d(x.view(-1, 4, 4, 4), made).relu().mean((2, 3)))

    plan = fanin.plan(Kernels(), X)
    assert plan["bank"].fan_in == 36.0
    assert (plan["bank"].layout.out_axes, plan["bank"].layout.in_axes) == ((1,), (2,))
    assert (plan["bank"].layout.tap_axes, plan["bank"].layout.batch_axes) == ((3, 4), (0,))


def test_a_weight_that_mixes_all_inputs_counts_them_all():
    """Rows in another basis: each entry of the parameter changes a whole row of the weight."""
    basis = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(1))).Q
    plan = fanin.plan(Bank((32, 64), lambda a: torch.einsum("oi,ij->oj", a, basis)), X)
    assert plan["bank"].fan_in == 64.0
    assert plan["bank"].std == pytest.approx(1 / 8, rel=0.02)


EYE = torch.eye(64)
ORTHOGONAL = {
    "Cayley": lambda w: torch.linalg.solve(EYE + w - w.T, EYE - w + w.T),
    "inverse": lambda w: 2 * torch.linalg.inv(EYE + w - w.T) - EYE,
    "exponential": lambda w: torch.matrix_exp(w - w.T),
    "QR": lambda w: torch.linalg.qr(w)[0],
}


@pytest.mark.parametrize("name", ORTHOGONAL)
def test_what_follows_a_weight_that_no_formula_knows_is_predicted_from_numbers(name):
    """An orthogonal map keeps the size of what it reads, whatever the std of the parameter behind it."""

    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.w, self.out = (
                nn.ParameterList(nn.Parameter(torch.randn(64, 64) / 8) for _ in range(3)),
                nn.Linear(64, 10),
            )

        def forward(self, x):
            for w in self.w:
                x = torch.tanh(x @ ORTHOGONAL[name](w).T)
            return self.out(x)

    plan = fanin.plan(Stack(), X)
    assert plan["w.0"].predicted_rms[0] == pytest.approx(1.0, rel=0.03)
    assert plan["w.1"].predicted_rms[0] == pytest.approx(0.628, rel=0.03)  # of tanh(z), z normal
