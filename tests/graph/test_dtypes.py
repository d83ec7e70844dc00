"""A model that torch refuses for the dtype of its inputs is refused by a plan too, and none other."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fanin
from fanin.errors import CaptureError
from tests.selection import few

X = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))


class Product(nn.Module):
    """A bare weight, multiplied in one of several ways."""

    def __init__(self, multiply):
        super().__init__()
        self.weight, self.multiply = nn.Parameter(torch.randn(8, 8)), multiply

    def forward(self, x):
        return self.multiply(x, self.weight)


class Casts(nn.Module):
    """It brings its input to its own dtype."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(8, 4)

    def forward(self, x):
        return self.out(x.to(self.out.weight.dtype))


class Autocasts(Casts):
    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.out(x)


MODELS = {
    "linear": lambda: nn.Linear(8, 4),
    "without bias": lambda: nn.Linear(8, 4, bias=False),
    "matmul": lambda: Product(torch.matmul),
    "mm": lambda: Product(torch.mm),
    "mv": lambda: Product(lambda x, w: torch.mv(x, w[0])),
    "addmm": lambda: Product(lambda x, w: torch.addmm(w[0], x, w)),
    "by name": lambda: Product(lambda x, w: nn.functional.linear(x, weight=w)),
    "bmm": lambda: Product(lambda x, w: torch.bmm(x[None], w[None])),
    "gru cell": lambda: nn.GRUCell(8, 4),
    "lstm cell": lambda: nn.LSTMCell(8, 4),
    "gru": lambda: nn.GRU(8, 4),
    "casts": Casts,
}


@pytest.mark.parametrize("on_meta", [False, True])
@pytest.mark.parametrize(
    "dtype", few([torch.float32, torch.float64, torch.bfloat16, torch.long], torch.float32, torch.float64, torch.long)
)
@pytest.mark.parametrize("name", few(MODELS, every=2))
def test_a_plan_refuses_what_torch_refuses(name, dtype, on_meta):
    model, x = MODELS[name](), X.to(dtype)
    try:
        model(x)
        runs = True
    except (RuntimeError, ValueError):
        runs = False
    model = model.to("meta") if on_meta else model
    if runs:
        assert fanin.plan(model, x, on_unknown="keep")
    else:
        with pytest.raises(CaptureError, match=r"give inputs\.to\(torch\.float32\)"):
            fanin.plan(model, x, on_unknown="keep")


def test_autocast_is_left_to_torch():
    assert fanin.plan(Autocasts(), X.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert fanin.plan(nn.Linear(8, 4), X.bfloat16())
