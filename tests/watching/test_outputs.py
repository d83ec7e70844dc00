"""The loss of a loop is read from the gradient that it sends into the outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as f

import fanin
from fanin.watching.outputs import FirstOutputs

N, K = 64, 10
LABELS = torch.randint(0, K, (N,), generator=torch.Generator().manual_seed(1))
ADVANTAGE = torch.randn(N, generator=torch.Generator().manual_seed(2))
FAR = 1e5 * torch.rand(N, K, generator=torch.Generator().manual_seed(3))


def outputs(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def read(out, loss, told=True):
    seen = FirstOutputs()
    inner = out.clone().requires_grad_()
    z = 1.0 * inner
    seen.look(z)
    value = loss(z)
    value.backward()
    plain = out.clone().requires_grad_()
    loss(1.0 * plain).backward()
    assert torch.equal(inner.grad, plain.grad)
    return seen.record(value.item() if told else None)


def picked(z):
    return z.log_softmax(1)[torch.arange(N), LABELS]


KNOWN = {
    "logits": (outputs(N, K), lambda z: f.cross_entropy(z, LABELS), ("cross_entropy", "", "", False)),
    "sure answers": (100 * outputs(N, K), lambda z: f.cross_entropy(z, LABELS), ("cross_entropy", "", "", False)),
    "a quarter": (outputs(N, K), lambda z: f.cross_entropy(z, LABELS) / 4, ("cross_entropy", "", "", False)),
    "summed": (outputs(N, K), lambda z: f.cross_entropy(z, LABELS, reduction="sum"), ("cross_entropy", "", "", False)),
    "bfloat16": (outputs(N, K).bfloat16(), lambda z: f.cross_entropy(z, LABELS), ("cross_entropy", "", "", False)),
    "turned": (outputs(N, K), lambda z: -f.cross_entropy(z, LABELS), ("cross_entropy", "", "", True)),
    "twice": (outputs(N, K), lambda z: f.cross_entropy(z.softmax(1), LABELS), ("cross_entropy", "softmax", "", False)),
    "in the model": (
        outputs(N, K).softmax(1),
        lambda z: f.cross_entropy(z, LABELS),
        ("cross_entropy", "softmax", "", False),
    ),
    "over samples": (
        outputs(N, K),
        lambda z: f.nll_loss(z.log_softmax(0), LABELS),
        ("nll_loss", "", "log_softmax", False),
    ),
    "no softmax": (outputs(N, K), lambda z: f.nll_loss(z, LABELS), ("nll_loss", "", "log_softmax", False)),
    "logs": (outputs(N, K).log_softmax(1), lambda z: f.nll_loss(z, LABELS), ("nll_loss", "", "", False)),
    "binary": (
        outputs(N),
        lambda z: f.binary_cross_entropy_with_logits(z, (LABELS < 3).float()),
        ("binary_cross_entropy_with_logits", "", "", False),
    ),
    "binary, twice": (
        outputs(N),
        lambda z: f.binary_cross_entropy_with_logits(z.sigmoid(), (LABELS < 3).float()),
        ("binary_cross_entropy_with_logits", "sigmoid", "", False),
    ),
    "no logarithm": (
        outputs(N, K),
        lambda z: f.nll_loss(z.softmax(1), LABELS),
        ("nll_loss", "", "log_softmax", False),
    ),
    "squared": (outputs(N, K), lambda z: (z - FAR).square().mean(), ("mse_loss", "", "", False)),
    "pictures": (
        outputs(4, 5, 8, 8),
        lambda z: f.cross_entropy(z, LABELS.repeat(4).view(4, 8, 8) % 5),
        ("cross_entropy", "", "", False),
    ),
}
UNKNOWN = {
    "policy": lambda z: -(ADVANTAGE * picked(z)).mean(),
    "policy, all worse": lambda z: (ADVANTAGE.abs() * picked(z)).mean(),
    "entropy": lambda z: -(z.softmax(1) * z.log_softmax(1)).sum(1).mean(),
    "mean": lambda z: -z.mean(),
    "mean of large outputs": lambda z: -(z - 20).mean(),
    "mean of one output": lambda z: -z[:, 0].mean(),
    "variance": lambda z: (z.var(0) - 1).square().mean(),
    "likeness": lambda z: -(f.normalize(z) @ f.normalize(z).T).mean(),
    "counts": lambda z: f.poisson_nll_loss(z[:, 0], LABELS.float()),
    "mixed": lambda z: f.cross_entropy(z, FAR.softmax(1) * 0.5 + 0.05),
    "two parts": lambda z: f.cross_entropy(z, LABELS) + z.square().mean(),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_loss_is_read(name):
    out, loss, wanted = KNOWN[name]
    found = read(out, loss)
    assert (found.op, found.already, found.lacks, found.turned) == wanted


@pytest.mark.parametrize("name", UNKNOWN)
def test_another_loss_is_not_taken_for_a_known_one(name):
    assert read(outputs(N, K), UNKNOWN[name]) is None


def test_small_positive_outputs_are_no_probabilities():
    out = 0.5 + 0.1 * outputs(N, 2)
    found = read(out, lambda z: f.cross_entropy(z, LABELS % 2))
    assert (found.op, found.already) == ("cross_entropy", "")
    seen, z = FirstOutputs(), outputs(N, 2).requires_grad_().sigmoid()
    seen.look(z)
    f.cross_entropy(z, LABELS % 2).backward()
    assert seen.record(None).already == "sigmoid"


def test_a_density_is_no_binary_loss():
    assert read(outputs(N) - 18, lambda z: -z.mean()) is None


def test_targets_are_read_too():
    labels, far = float(LABELS.double().mean()), float(FAR.square().mean().sqrt())
    assert read(outputs(N, K), lambda z: f.cross_entropy(z, LABELS)).targets.mean == pytest.approx(labels)
    assert read(outputs(N, K), lambda z: f.mse_loss(z, FAR)).targets.rms == pytest.approx(far, 1e-4)
    assert read(outputs(N, K), lambda z: f.mse_loss(z, FAR), told=False) is None


def trained(loss, told=True, model=None, given=None):
    model = model or nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, K))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    x = torch.randn(N, 32)
    with fanin.watch(model, optimizer, loss=given) as watched:
        for _ in range(3):
            value = loss(model(x))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            if told:
                watched.step(loss=value)
    return [f.code for f in (*watched.report.findings, *watched.report.consequences)]


def test_faults_of_a_loss_are_found_in_a_loop_that_tells_nothing():
    assert "L803" in trained(lambda z: -f.cross_entropy(z, LABELS), told=False)
    assert "L802" in trained(lambda z: f.cross_entropy(z.softmax(1), LABELS), told=False)
    assert "D105" in trained(lambda z: f.cross_entropy(z, torch.zeros_like(LABELS)), told=False)
    assert "D104" in trained(lambda z: (z - FAR).square().mean())
    assert trained(lambda z: f.cross_entropy(z, LABELS), told=False) == []


def test_a_loop_that_turns_the_sign_of_a_right_function_is_named():
    def right(z):
        return f.cross_entropy(z, LABELS)

    assert "L803" in trained(lambda z: -right(z), given=right)
    assert trained(right, given=right) == []


def test_an_output_is_saved_without_a_warning(tmp_path):
    seen, out = FirstOutputs(), 1.0 * outputs(N, K).requires_grad_()
    seen.look(out)
    torch.save(out, tmp_path / "out.pt")
    assert torch.equal(torch.load(tmp_path / "out.pt"), out)
