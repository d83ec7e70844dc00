"""Kinds of models whose predictions need more than independent layers: each is right, or says why it has none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import fanin
from fanin.measure import seen
from tests.selection import few
from zoo.again import again


def checked(build):
    torch.manual_seed(1)
    model, inputs = build()
    return fanin.check(model.train(), inputs, predict=True).measurements.sites


def far(sites):
    """Operations beyond five standard errors, by direction."""
    forward = [s for s in sites if s.predicted and abs(s.predicted.z) > 5]
    return forward, [s for s in sites if s.predicted_backward and abs(s.predicted_backward.z) > 5]


@pytest.mark.parametrize("name", few(list(again()), every=2))
def test_weights_met_again_and_dependent_laws_are_right_or_silent(name):
    sites = checked(again()[name])
    forward, backward = far(sites)
    assert forward == []
    assert len(backward) <= 0.03 * len(sites)
    for s in sites:
        assert s.predicted or s.unpredicted or s.forward.rms == 0
        assert (
            s.predicted_backward or s.unpredicted_backward or s.kind == "loss" or not s.backward or not s.backward.rms
        )


@pytest.mark.parametrize(
    ("name", "weight", "where"),
    [("tied_autoencoder", "one.weight", -1), ("tied_head", "table.weight", -1), ("memory", "rows", 1)],
)
def test_a_transposed_weight_has_no_prediction_and_a_reason(name, weight, where):
    weights = [s for s in checked(again()[name]) if s.kind == "weight"]
    assert weights[where].predicted is None
    assert f"{weight} is met again on the same way, transposed" in weights[where].unpredicted


def dropped(p=0.5):
    layers = [part for _ in range(4) for part in (nn.Linear(64, 64), nn.ReLU(), nn.Dropout(p))]
    return nn.Sequential(*layers, nn.Linear(64, 10)), torch.randn(32, 64)


def test_dropout_is_part_of_what_is_predicted():
    assert far(checked(dropped)) == ([], [])


def test_without_dropout_in_the_graph_gradients_would_be_far_off(monkeypatch):
    from fanin.graph.recording import capture

    plain = capture.capture
    monkeypatch.setattr(capture, "capture", lambda model, inputs, **_: plain(model, inputs))
    assert seen.captured  # it imports the function when called
    assert far(checked(dropped))[1]


class Pooled(nn.Module):
    """Convolutions between poolings of one kind."""

    def __init__(self, pool):
        super().__init__()
        self.pool = pool
        self.convs = nn.ModuleList(nn.Conv2d(a, 32, 3, padding=1) for a in (3, 32, 32))
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        for conv in self.convs:
            x = self.pool(torch.relu(conv(x)))
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize(
    "pool",
    few(
        [
            nn.MaxPool2d(2),
            nn.AvgPool2d(2),
            nn.AvgPool2d(3, 1, 1),
            nn.AvgPool2d(3, 1, 1, count_include_pad=False),
            nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        ],
        every=2,
    ),
    ids=str,
)
def test_pooling_is_predicted_with_its_borders(pool):
    assert far(checked(lambda: (Pooled(pool), torch.randn(8, 3, 16, 16)))) == ([], [])


class Reader(nn.Module):
    """An encoder whose loss is at one token."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.1, batch_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(64, 4)
        for p in self.body.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)

    def forward(self, x):
        return self.head(self.body(x)[:, 0])


@pytest.mark.parametrize("tokens", [8, 64])
def test_gradients_of_queries_count_tokens_that_are_alike(tokens):
    forward, backward = far(checked(lambda: (Reader(), torch.randn(8, tokens, 64))))
    assert (forward, backward) == ([], [])


# ---------------------------------------------------------------------- an output that other layers read
class Returned(nn.Module):
    """Returns what it hands to its head as well."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.mid = nn.Linear(64, 256), nn.Linear(256, 256)
        self.heads = nn.ModuleList(nn.Linear(256, 256) for _ in range(3))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = self.mid(self.body(x))
        return sum(head(h) for head in self.heads), h


def test_a_gradient_measured_at_a_hidden_output_is_all_that_arrives_there():
    """The loss reads the last output alone: what was measured at the other is what its readers sent back."""
    torch.manual_seed(0)
    report = fanin.check(Returned(), torch.randn(64, 64), loss=lambda out: out[0].square().mean(), predict=True)
    z = {s.path: s.predicted_backward.z for s in report.measurements.sites if s.predicted_backward}
    assert abs(z["body"]) < 5
    assert abs(z["mid"]) < 1  # twice the energy would be seven errors of 5 % away


# ---------------------------------------------------------------------- masks of one number a sample
class Skipped(nn.Module):
    """A branch that a mask leaves out for some samples."""

    def __init__(self, kept: float) -> None:
        super().__init__()
        self.kept, self.stem, self.branch = kept, nn.Linear(64, 256), nn.Linear(256, 256)
        self.norms = nn.ModuleList(nn.LayerNorm(256) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norms[0](self.stem(x))
        mask = torch.empty(len(x), 1).bernoulli_(self.kept) / self.kept
        return x + self.norms[1](self.branch(x)) * mask


def test_a_sum_with_a_branch_that_few_samples_keep_is_as_unsure_as_their_number():
    """Energy of the branch: 1 / kept a sample kept, so that the sum's has the spread of 16 draws."""
    errors = {}
    for kept in (0.5, 0.999):
        torch.manual_seed(0)
        model = Skipped(kept).train()
        (found,) = (
            s for s in fanin.check(model, torch.randn(16, 64), predict=True).measurements.sites if s.op == "add"
        )
        errors[kept] = found.predicted.log_rms_std
        assert abs(found.predicted.z) < 5
    # share 2 / 3 of the energy, times sqrt((1 - kept) / kept / 16) = 1 / 4 of it, over 2 for the rms; one draw of the
    # mask estimates it
    assert 0.04 < errors[0.5] < 0.16
    assert errors[0.999] < 0.03


# ---------------------------------------------------------------------- batch norm of channels below its eps
@pytest.mark.parametrize(("std", "unsure"), [(1.0, False), (0.005, True)])
def test_a_norm_is_sure_of_its_size_only_where_eps_has_no_part_in_it(std, unsure):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 32, 3, padding=1, bias=False)
    nn.init.normal_(conv.weight, std=std)
    model = nn.Sequential(conv, nn.BatchNorm2d(32, eps=1e-3), nn.ReLU(), nn.Conv2d(32, 4, 1))
    (found,) = (
        s for s in fanin.check(model, torch.randn(8, 3, 12, 12), predict=True).measurements.sites if s.kind == "norm"
    )
    assert abs(found.predicted.z) < 5
    assert (found.predicted.log_rms_std > 0.005) == unsure
    assert found.predicted.log_rms_std >= 0.001


# ---------------------------------------------------------------------- dropout that the capture has to leave out
class DecidedByNumpy(nn.Module):
    """Decides by NumPy what runs, as masking of frames does, so that its graph has no dropout."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.one, self.drop, self.two = nn.Linear(64, 256), nn.Dropout(p), nn.Linear(256, 256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.drop(self.one(x))
        return self.two(-x if self.training and np.random.rand() < 0.0 else x)  # noqa: NPY002


def test_dropout_that_is_not_in_the_graph_widens_predictions():
    errors = {}
    for p in (0.0, 0.3):
        torch.manual_seed(0)
        found = fanin.check(DecidedByNumpy(p).train(), torch.randn(64, 64), predict=True).measurements.sites
        errors[p] = [s.predicted.log_rms_std for s in found]
        assert all(abs(s.predicted.z) < 5 for s in found)
    assert all(b > 0.17 > a for a, b in zip(errors[0.0], errors[0.3], strict=True))  # ln(1 / sqrt(.7)) = .178
