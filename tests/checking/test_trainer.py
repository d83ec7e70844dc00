"""The header names the loss and the optimizer; an optimizer of another model is refused."""

import functools

import pytest
import torch
from torch import nn

import fanin
from fanin.errors import ArgumentError

functional = nn.functional
X, LABELS = torch.randn(32, 4), torch.randint(0, 2, (32,))
quickly = functools.partial(fanin.check, trial=False, predict=False)


def net(*last):
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1), *last)


def header(*args, **more):
    return quickly(*args, **more).result.header


# ---------------------------------------------------------------------- the optimizer
def test_an_optimizer_of_another_model_is_refused():
    old, new = net(), net()
    for optimizer in (torch.optim.Adam(old.parameters()), torch.optim.SGD(net()[0].parameters(), lr=0.1)):
        with pytest.raises(ArgumentError, match="none of the 4 trainable parameters of this model"):
            quickly(new, X, optimizer=optimizer)


def test_its_own_optimizer_and_a_function_that_makes_one_are_taken():
    model = net()
    before = [p.detach().clone() for p in model.parameters()]
    for optimizer in (torch.optim.Adam(model.parameters()), torch.optim.Adam, lambda ps: torch.optim.Adam(ps, lr=1e-3)):
        assert header(model, X, optimizer=optimizer).optimizer == "Adam, lr 0.001"
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_parameters_that_it_does_not_hold_are_named_and_frozen_ones_are_not():
    model = net()
    head = torch.optim.SGD(model[2].parameters(), lr=0.1)
    said = header(model, X, optimizer=head).optimizer
    assert said == "SGD, lr 0.1, does not hold 2 of 4 trainable parameters: 0.weight, 0.bias"
    model[0].requires_grad_(False)
    assert header(model, X, optimizer=head).optimizer == "SGD, lr 0.1"


def test_beside_a_function_that_builds_the_model_it_lends_its_settings():
    assert header(net, X, optimizer=torch.optim.SGD(net().parameters(), lr=0.1)).optimizer == "SGD, lr 0.1"


@pytest.mark.parametrize("factory", [lambda: None, lambda ps: None, lambda ps: ps, lambda ps: 1 / 0])
def test_a_function_that_makes_no_optimizer_is_named(factory):
    with pytest.raises(ArgumentError, match="optimizer"):
        quickly(net(), X, optimizer=factory)


def test_watch_still_judges_training_with_the_optimizer_of_another_model():
    model = net()
    watched = fanin.watch(model, torch.optim.SGD(net().parameters(), lr=0.1))
    with watched:
        model(X)
    assert "holds none of the 4" in watched.report.result.header.optimizer


# ---------------------------------------------------------------------- the loss
def test_the_loss_is_named_with_where_it_comes_from():
    class Carries(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net()

        def forward(self, x):
            return {"loss": functional.l1_loss(self.net(x), x[:, :1])}

    real, binary = torch.randn(32, 1), LABELS.float()[:, None]
    loss = functional.binary_cross_entropy_with_logits
    several = nn.Linear(4, 2)
    assert header(several, X, LABELS).loss == "cross_entropy (chosen: the targets are whole numbers)"
    assert header(net(), X, real).loss == "mse_loss (chosen: the targets are real numbers)"
    assert "for labels of 0 and 1 give loss=" in header(net(nn.Sigmoid()), X, binary).loss
    assert header(net(), X, binary, loss).loss == "binary_cross_entropy_with_logits (given)"
    assert header(net(), X, real, lambda out, y: (out - y).abs().mean()).loss == "<lambda> (given)"
    assert header(Carries(), X).loss == "l1_loss (the output's own)"
    assert header(net(), X).loss == "none (a random direction of the outputs)"


def test_every_report_shows_it(tmp_path):
    report = quickly(nn.Linear(4, 2), X, LABELS)
    said = report.result.header.loss
    assert said in " ".join(str(report).split())
    for name in ("a.html", "a.md", "a.json"):
        report.save(tmp_path / name)
        assert "chosen: the targets are whole numbers" in (tmp_path / name).read_text()


@pytest.mark.parametrize("shape", [(32,), (32, 1)])
def test_whole_number_labels_of_one_output_name_the_binary_loss(shape):
    with pytest.raises(ArgumentError, match="binary_cross_entropy_with_logits"):
        quickly(net(), X, LABELS.reshape(shape))
    with pytest.raises(ArgumentError, match=r"from 0 to 2(?!.*binary)"):
        quickly(nn.Linear(4, 3), X, LABELS + 5)


def test_float32_copies_of_half_weights_count_as_the_weights():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).bfloat16()
    masters = [p.detach().float().requires_grad_() for p in model.parameters()]
    given = {"inputs": torch.randn(32, 8).bfloat16(), "targets": torch.randint(0, 4, (32,))}
    optimizer = torch.optim.Adam(masters, lr=3.0)
    report = fanin.check(model, **given, optimizer=optimizer)
    assert "copies of the parameters" in report.result.header.optimizer
    assert "O901" in [f.code for f in (*report.findings, *report.consequences)]
    with torch.no_grad():
        masters[0].add_(1.0)
    with pytest.raises(ArgumentError, match="give a function that makes it"):
        fanin.check(model, **given, optimizer=optimizer)
