"""Weights that the forward reads and the model does not own: named by what holds them; meant cases stay silent."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fanin
from fanin.graph.recording.capture import capture
from tests.selection import few

GLOBAL = [nn.Linear(8, 8)]


class Host(nn.Module):
    """A head behind whatever `middle` makes of the module and the signal."""

    def __init__(self, middle, **attributes):
        super().__init__()
        self.middle = middle
        for name, value in attributes.items():
            setattr(self, name, value)
        self.head = nn.Linear(8, 4)

    def forward(self, h):
        return self.head(torch.tanh(self.middle(self, h)))


class Classwide(Host):
    everyones = (nn.Linear(8, 8),)

    def forward(self, h):
        return self.head(self.everyones[0](h))


def each(self, h):
    for layer in self.layers:
        h = torch.tanh(layer(h))
    return h


def closed():
    aside = nn.Linear(8, 8)
    return lambda self, h: aside(h)


def under_no_grad(self, h):
    with torch.no_grad():
        taught = self.teacher[0](h)
    return h + taught


def functional(self, h):
    weights = {n: p * 1.0 for n, p in self.inner.named_parameters()}
    return torch.func.functional_call(self.template[0], weights, (h,))


def linears():
    return [nn.Linear(8, 8), nn.Linear(8, 8)]


LOUD = {
    "list": (lambda: Host(each, layers=linears()), "attribute layers, 2 Linear"),
    "nested lists": (lambda: Host(lambda s, h: s.rows[0][1](h), rows=[linears()]), "attribute rows, 1 Linear"),
    "tuple": (lambda: Host(each, layers=tuple(linears())), "attribute layers, 2 Linear"),
    "dict": (
        lambda: Host(lambda s, h: s.by_name["a"](h), by_name={"a": nn.Linear(8, 8)}),
        "attribute by_name, 1 Linear",
    ),
    "parameters": (
        lambda: Host(lambda s, h: h @ s.ws[0], ws=[nn.Parameter(torch.randn(8, 8))]),
        "attribute ws, 1 tensor",
    ),
    "tensor": (lambda: Host(lambda s, h: h @ s.w, w=torch.randn(8, 8, requires_grad=True)), "attribute w, 1 tensor"),
    "blocks": (
        lambda: Host(each, layers=[nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))]),
        "attribute layers, 1 Linear, 1 LayerNorm",
    ),
    "inner module": (lambda: nn.Sequential(Host(each, layers=linears())), "attribute 0.layers, 2 Linear"),
    "closure": (lambda: Host(closed()), "variable aside, 1 Linear"),
    "global": (lambda: Host(lambda s, h: GLOBAL[0](h)), "variable GLOBAL, 1 Linear"),
    "class": (lambda: Classwide(None), "variable everyones, 1 Linear"),
}
SILENT = {
    "module list": lambda: Host(each, layers=nn.ModuleList(linears())),
    "constant": lambda: Host(lambda s, h: h * s.scale, scale=torch.ones(8)),
    "frozen list": lambda: Host(each, layers=[layer.requires_grad_(False) for layer in linears()]),
    "teacher": lambda: Host(under_no_grad, teacher=[nn.Linear(8, 8)]),
    "detached": lambda: Host(lambda s, h: h + s.teacher[0](h).detach(), teacher=[nn.Linear(8, 8)]),
    "functional call": lambda: Host(functional, inner=nn.Linear(8, 8), template=[nn.Linear(8, 8)]),
    "computed": lambda: Host(lambda s, h: h @ s.made(s.code).view(8, 8), made=nn.Linear(4, 64), code=torch.ones(4)),
    "listed twice": lambda: (lambda m: (setattr(m, "again", [m.inner]), m)[1])(
        Host(lambda s, h: s.again[0](h), inner=nn.Linear(8, 8))
    ),
    "unused": lambda: Host(lambda s, h: h, layers=linears()),
}


def of_graph(model):
    return capture(model, torch.randn(32, 8)).unregistered


def of_check(model, **given):
    report = fanin.check(model, torch.randn(32, 8), torch.randint(0, 4, (32,)), predict=False, trial=False, **given)
    assert ("P512" in [f.code for f in report.findings]) == bool(report.measurements.unregistered)
    return report.measurements.unregistered


@pytest.mark.parametrize("found", [of_graph, of_check])
@pytest.mark.parametrize("kind", few(LOUD, every=2))
def test_weights_that_no_optimizer_gets_are_named(kind, found):
    make, words = LOUD[kind]
    assert [u.words for u in found(make())] == [words]


@pytest.mark.parametrize("found", [of_graph, of_check])
@pytest.mark.parametrize("kind", SILENT)
def test_what_is_meant_is_not_named(kind, found):
    assert found(SILENT[kind]()) == ()


def test_an_optimizer_that_holds_them_quiets_the_rule():
    model = Host(each, layers=linears())
    rest = [p for layer in model.layers for p in layer.parameters()]
    assert of_check(model, optimizer=torch.optim.SGD([*model.parameters(), *rest], lr=1e-3)) == ()
    assert of_check(model, optimizer=torch.optim.SGD(model.parameters(), lr=1e-3))


def test_a_plan_warns_of_what_it_cannot_start():
    said = "forward reads weights that the model does not own (attribute layers, 2 Linear)"
    x = torch.randn(32, 8)
    assert any(w.startswith(said) for w in fanin.plan(Host(each, layers=linears()), x).warnings)
    assert fanin.plan(Host(each, layers=nn.ModuleList(linears())), x).warnings == ()


def test_a_parameter_made_in_every_forward_is_named():
    anew = Host(lambda s, h: h @ nn.Parameter(torch.randn(8, 8)))
    assert [u.words for u in of_check(anew)] == ["1 tensor"]
    assert of_check(Host(lambda s, h: h @ torch.randn(8, 8, requires_grad=True))) == ()


def test_the_inputs_are_no_weights():
    x = torch.randn(32, 8, requires_grad=True)
    report = fanin.check(nn.Linear(8, 4), x, torch.randint(0, 4, (32,)), predict=False)
    assert report.measurements.unregistered == capture(nn.Linear(8, 4), x).unregistered == ()
