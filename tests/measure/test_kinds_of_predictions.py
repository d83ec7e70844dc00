"""Kinds of models whose predictions need more than independent layers: each is right, or says why it has none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fanin
from fanin.measure import seen
from zoo.again import again


def checked(build):
    torch.manual_seed(1)
    model, inputs = build()
    return fanin.check(model.train(), inputs, predict=True).measurements.sites


def far(sites):
    """Operations beyond five standard errors, by direction."""
    forward = [s for s in sites if s.predicted and abs(s.predicted.z) > 5]
    return forward, [s for s in sites if s.predicted_backward and abs(s.predicted_backward.z) > 5]


@pytest.mark.parametrize("name", list(again()))
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
    [
        nn.MaxPool2d(2),
        nn.AvgPool2d(2),
        nn.AvgPool2d(3, 1, 1),
        nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    ],
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
