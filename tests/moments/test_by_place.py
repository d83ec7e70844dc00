"""Padded convolutions of pictures whose places are unlike: the share that zeros beyond the border cost."""

import numpy as np
import pytest
import torch
from torch import nn

from fanin.graph.recording.capture import capture
from fanin.moments import propagate, read_weights
from tests.selection import few

DRAWS = 16


def pictures(kind: str, side: int = 8) -> torch.Tensor:
    """Noise that is everywhere alike, in the middle alone, or in the first rows alone."""
    x = torch.randn(16, 1, side, side, generator=torch.Generator().manual_seed(0))
    inside = torch.ones(side, side)
    if kind == "middle":
        inside[:2], inside[-2:], inside[:, :2], inside[:, -2:] = 0.1, 0.1, 0.1, 0.1
    if kind == "rows":
        inside[3:] = 0.1
    return x * inside


class Last(nn.Module):
    """The same layers with channels last in between."""

    def __init__(self, layers) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        return x


def stack(act, depth=3):
    layers = [m for n in range(depth) for m in (nn.Conv2d(64 if n else 1, 64, 3, padding=1), act())]
    return nn.Sequential(*layers, nn.Conv2d(64, 64, 3, padding=1))


def error(build, x, *, by_place: bool) -> float:
    """log2 of the predicted rms of the outputs over the root mean square of several draws."""
    found = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        model = build()
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, std=(2.0 / (9 * layer.in_channels)) ** 0.5)
                nn.init.zeros_(layer.bias)
        with torch.no_grad():
            found.append(float(model(x).square().mean()))
    graph = capture(model, x)
    made = propagate(graph, read_weights(model), by_place=by_place)[graph.outputs[0].value].moments
    return float(np.log2(made.rms) - 0.5 * np.log2(np.mean(found)))


def linear(depth=5):
    return stack(nn.Identity, depth)


def rectified():
    return stack(nn.ReLU)


def last():
    return Last(rectified())


def pooled():
    return nn.Sequential(stack(nn.ReLU, 2), nn.AvgPool2d(2), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU())


class View(nn.Module):
    """A view that is the picture itself until it is trained, before convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.place, self.layers = nn.Linear(64, 6), stack(nn.ReLU, 2)
        nn.init.zeros_(self.place.weight)
        self.place.bias.data.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))

    def forward(self, x):
        grid = nn.functional.affine_grid(self.place(x.flatten(1)).view(-1, 2, 3), list(x.shape), align_corners=False)
        return self.layers(nn.functional.grid_sample(x, grid, align_corners=False))


@pytest.mark.parametrize("kind", ["alike", "middle"])
@pytest.mark.parametrize("build", few([linear, rectified, last, pooled, View], linear, View))
def test_what_the_border_costs_follows_what_lies_there(build, kind):
    """Of a picture that is alike, the second layer reads one that is fainter at its border."""
    x = pictures(kind)
    assert abs(error(build, x, by_place=True)) < 0.12
    assert abs(error(build, x, by_place=False)) > 0.18


def test_a_function_that_saturates_evens_places_out():
    x = pictures("rows")
    assert (
        abs(error(lambda: stack(nn.Tanh), x, by_place=True)) < 0.12 < error(lambda: stack(nn.Tanh), x, by_place=False)
    )


# ---------------------------------------------------------------------- products
class Products(nn.Module):
    """A product of maps of one input, of which some samples are larger."""

    def __init__(self, factors: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(32, 128, bias=False) for _ in range(factors))
        for layer in self.maps:
            nn.init.normal_(layer.weight, std=32**-0.5)

    def forward(self, x):
        made = self.maps[0](x)
        for layer in self.maps[1:]:
            made = made * layer(x)
        return made


def predicted(model, x, *, by_place):
    graph = capture(model, x)
    made = propagate(graph, read_weights(model), by_place=by_place)[graph.outputs[0].value].moments
    return made.rms, made.log_rms_se


@pytest.mark.parametrize("factors", [2, 3])
def test_large_samples_count_more_in_products(factors):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 32, generator=generator) * torch.exp(0.5 * torch.randn(256, 1, generator=generator))
    torch.manual_seed(0)
    model = Products(factors)
    measured = float(model(x).detach().square().mean().sqrt())
    assert predicted(model, x, by_place=True)[0] == pytest.approx(measured, rel=0.15)
    assert predicted(model, x, by_place=False)[0] < 0.75 * measured


def test_where_few_samples_hold_nearly_all_the_error_says_so():
    x = torch.randn(256, 32, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model, few = Products(3), x * torch.where(torch.arange(256)[:, None] < 3, 8.0, 0.5)
    assert predicted(model, few, by_place=True)[1] > 1.0 > predicted(model, x, by_place=True)[1]
