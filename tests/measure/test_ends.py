"""Gradients behind a softmax or a sigmoid at the end of a model, with a loss that takes probabilities."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import fanin
from fanin.graph.recording.capture import capture
from fanin.measure import prediction
from fanin.measure.ends import End, ends_of


class Ended(nn.Module):
    """Three maps with logits of rms 2 or so, and a function at the end."""

    def __init__(self, end, units=4):
        super().__init__()
        self.end, self.body = end, nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.head = nn.Linear(64, units)
        for layer in (self.body[0], self.body[2]):
            nn.init.kaiming_normal_(layer.weight)
        nn.init.normal_(self.head.weight, std=0.25)

    def forward(self, x):
        return self.end(self.head(self.body(x)))


def cross_entropy(p, y):
    return functional.nll_loss(p.log(), y)


def binary(p, y):
    return functional.binary_cross_entropy(p, (y > 1).float())


ENDS = {
    "softmax": (lambda z: z.softmax(-1), 4, cross_entropy),
    "softmax function": (lambda z: functional.softmax(z, dim=1), 4, cross_entropy),
    "logarithm of a softmax": (lambda z: torch.log(torch.softmax(z, 1)), 4, functional.nll_loss),
    "log-softmax": (lambda z: z.log_softmax(1), 4, functional.nll_loss),
    "sigmoid": (lambda z: z.sigmoid().squeeze(-1), 1, binary),
}


def case(name):
    end, units, loss = ENDS[name]
    torch.manual_seed(2)
    return Ended(end, units), torch.randn(256, 16), torch.randint(0, 4, (256,)), loss


def distances(name):
    model, x, y, loss = case(name)
    sites = fanin.check(model, x, targets=y, loss=loss).measurements.sites
    return [s.predicted_backward.z for s in sites if s.predicted_backward and s.kind == "weight"]


@pytest.mark.parametrize("name", ENDS)
def test_gradients_before_the_function_at_the_end_are_as_expected(name):
    found = distances(name)
    assert len(found) == 3
    assert max(map(abs, found)) < 5.0


@pytest.mark.parametrize("name", ["softmax", "softmax function"])
def test_a_gradient_taken_as_independent_of_the_probabilities_is_far_off(name, monkeypatch):
    def left(graph, gradients, outputs):
        return [End(value=o.value, gradient=gradients[o.path]) for o in graph.outputs]

    monkeypatch.setattr(prediction, "ends_of", left)
    assert max(map(abs, distances(name))) > 5.0


@pytest.mark.parametrize("name", ENDS)
def test_the_gradient_at_the_logits_is_that_of_autograd(name):
    model, x, y, loss = case(name)
    logits = model.head(model.body(x))
    output = model.end(logits)
    at_output, at_logits = torch.autograd.grad(loss(output, y), (output, logits))
    graph = capture(model, x)
    (end,) = ends_of(graph, {graph.outputs[0].path: at_output}, {graph.outputs[0].path: output.detach()})
    assert graph.producer(end.value).name == "linear"
    assert torch.allclose(end.gradient, at_logits, rtol=1e-3, atol=1e-7)
    assert not torch.allclose(at_output.reshape(at_output.shape[0], -1), at_logits, rtol=0.1)
    (kept,) = ends_of(graph, {graph.outputs[0].path: at_output}, {})
    assert kept.gradient is at_output


def test_a_probability_of_zero_leaves_the_gradient_where_it_was_measured():
    model, x, *_ = case("softmax")
    graph = capture(model, x)
    path, p = graph.outputs[0].path, torch.eye(4)[torch.zeros(256, dtype=torch.long)]
    (end,) = ends_of(graph, {path: -1.0 / p}, {path: p})
    assert end.value == graph.outputs[0].value
