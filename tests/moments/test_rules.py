"""Every rule against ensembles of real torch networks: each kind of pair of entries, forward and backward."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fanin.moments import JointMoments
from tests.moments import ensembles
from tests.selection import few


class Fn(nn.Module):
    """A function of the inputs and of the module's own layers."""

    def __init__(self, fn, **layers):
        super().__init__()
        self.fn = fn
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *args):
        return self.fn(self, *args)


def tokens(t=0.3, s=0.1, mean=0.0, shape=(3, 8, 64)):
    """(samples, tokens, features) with correlation t between tokens, s between samples."""
    kernel = np.full((2, 2, 2), mean**2)
    kernel[1, 1, 1] += 1.0
    kernel[1, 0, 1] += t
    kernel[0, :, 1] += s
    return JointMoments(shape=shape, sizes=shape, mean=mean, kernel=kernel)


def images(p=0.4, mean=0.0, shape=(2, 16, 8, 8)):
    """(samples, channels, rows, columns) with correlation p between places of one channel."""
    kernel = np.full((2, 2, 2, 2), mean**2)
    kernel[1, 1] += p
    kernel[1, 1, 1, 1] += 1.0 - p
    return JointMoments(shape=shape, sizes=shape, mean=mean, kernel=kernel)


X = torch.zeros(3, 8, 64)
LINE = torch.zeros(2, 16, 20)
LINE = torch.zeros(2, 16, 20)
LINE = torch.zeros(2, 16, 20)
IMG = torch.zeros(2, 16, 8, 8)
FLAT = JointMoments.iid((12, 64))


def sdpa(m, x, causal=False):
    q, k, v = (f(x).view(3, 8, 4, 16).transpose(1, 2) for f in (m.q, m.k, m.v))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    return out.transpose(1, 2).reshape(3, 8, 64)


def one_pass(m, x):
    """As Flax writes a layer norm: the statistics without their dimension, which is put back afterwards."""
    mean, square = x.mean(-1), x.square().mean(-1)
    var = torch.maximum(torch.zeros(()), square - mean * mean)
    return (x - mean[..., None]) * torch.rsqrt(var[..., None] + 1e-6)


def of_sums(m, x):
    centred = x - (x.sum(-1) / 64).view(3, 8, 1)
    return centred / torch.sqrt(centred.pow(2).sum(-1).view(3, 8, 1) / 64 + 1e-6)


def grouped(m, x):
    """Four query heads, two heads of keys and values."""
    q, k, v = (f(x).view(3, 8, -1, 16).transpose(1, 2) for f in (m.q, m.k, m.v))
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).reshape(3, 8, 64)


def by_hand(m, x):
    q, k, v = m.qkv(x).view(3, 8, 3, 4, 16).unbind(2)
    a = torch.einsum("bqhd,bkhd->bhqk", q, k) / 4.0
    mask = torch.ones(8, 8).tril() == 0
    a = a.masked_fill(mask, float("-inf")).softmax(-1)
    return torch.einsum("bhqk,bkhd->bqhd", a, v).reshape(3, 8, 64)


def qkv():
    return {n: nn.Linear(64, 64, bias=False) for n in "qkv"}


# name -> (model, example inputs, moments of the inputs, bias of the prediction relative to the second moment)
# The bias is what a rule leaves out by design (1 / width terms, pairs drawn for sampling); 0 where the rule is exact.
FORWARD = {
    "linear": (nn.Linear(64, 32), (X,), [tokens()], 0.0),
    "linear of a mean": (nn.Linear(64, 32), (X,), [tokens(mean=0.7)], 0.0),
    "conv padded": (nn.Conv2d(16, 8, 3, padding=1), (IMG,), [images(p=0.0)], 0.0),
    "conv correlated": (nn.Conv2d(16, 8, 3, padding=2, stride=2, dilation=2), (IMG,), [images()], 0.0),
    "conv grouped": (nn.Conv2d(16, 32, 3, groups=4), (IMG,), [images()], 0.02),
    "conv depthwise": (nn.Conv2d(16, 16, 5, padding=2, groups=16), (IMG,), [images(mean=0.5)], 0.0),
    "conv transposed": (nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1), (IMG,), [images()], 0.0),
    "conv1d": (nn.Conv1d(16, 8, 3, padding=1), (LINE,), [JointMoments.iid(LINE.shape, mean=0.3)], 0.0),
    "average pool": (nn.AvgPool2d(2), (IMG,), [images()], 0.0),
    "global pool": (nn.AdaptiveAvgPool2d(1), (IMG,), [images()], 0.0),
    "max pool": (nn.MaxPool2d(2), (IMG,), [images(p=0.0)], 0.03),
    "max pool of relu": (nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), (IMG,), [images()], 0.03),
    "relu": (nn.ReLU(), (X,), [tokens()], 0.001),
    "gelu of a mean": (nn.GELU(), (X,), [tokens(mean=-0.5)], 0.001),
    "silu by hand": (Fn(lambda m, x: x * torch.sigmoid(x)), (X,), [tokens()], 0.001),
    "squared relu": (Fn(lambda m, x: F.relu(x).square()), (X,), [tokens()], 0.003),
    "x + gelu(x)": (Fn(lambda m, x: x + F.gelu(x)), (X,), [tokens()], 0.001),
    "gated": (
        Fn(lambda m, x: F.silu(m.a(x)) * m.b(x), a=nn.Linear(64, 48), b=nn.Linear(64, 48)), (X,), [tokens()], 0.0,
    ),
    "chunked gate": (Fn(lambda m, x: F.glu(m.a(x)), a=nn.Linear(64, 96)), (X,), [tokens()], 0.0),
    "residual": (Fn(lambda m, x: x + m.a(F.relu(x)), a=nn.Linear(64, 64)), (X,), [tokens()], 0.001),
    "x + x": (Fn(lambda m, x: x + 0.5 * x), (X,), [tokens()], 0.0),
    "dense skips": (Fn(lambda m, x: (x + m.a(x)) + 2 * x, a=nn.Linear(64, 64)), (X,), [tokens()], 0.0),
    "minus own mean": (Fn(lambda m, x: x - x.mean(-1, keepdim=True)), (X,), [tokens(mean=1.0)], 0.0),
    "minus token mean": (Fn(lambda m, x: x - x.mean(1, keepdim=True)), (X,), [tokens()], 0.0),
    "token mean": (Fn(lambda m, x: x.mean(1)), (X,), [tokens(mean=0.5)], 0.0),
    "sum": (Fn(lambda m, x: x.sum((1, 2))), (X,), [tokens()], 0.0),
    "cumulative sum": (Fn(lambda m, x: x.cumsum(1)), (X,), [tokens()], 0.0),
    "layer norm": (nn.LayerNorm(64, elementwise_affine=False), (X,), [tokens(mean=2.0)], 0.01),
    "layer norm with scale": (nn.LayerNorm(64), (X,), [tokens()], 0.02),
    "rms norm": (nn.RMSNorm(64), (X,), [tokens()], 0.02),
    "rms norm by hand": (
        Fn(lambda m, x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)), (X,), [tokens(t=0.0, s=0.0)], 0.002,
    ),
    "layer norm by hand": (
        Fn(lambda m, x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()),
        (X,), [tokens(mean=1.0)], 0.01,
    ),
    "layer norm in one pass": (Fn(one_pass), (X,), [tokens(mean=1.0)], 0.01),
    "layer norm of sums": (Fn(of_sums), (X,), [tokens(mean=1.0)], 0.01),
    "minus a mean that is put back": (
        Fn(lambda m, x: x - x.mean(-1).unsqueeze(-1).expand_as(x)), (X,), [tokens(mean=1.0)], 0.0,
    ),
    "plus a sum that is put back": (Fn(lambda m, x: x + (0.1 * x.sum(1))[:, None]), (X,), [tokens(mean=0.5)], 0.0),
    "variance in one pass": (
        Fn(lambda m, x: (x * x).mean(-1, keepdim=True) - x.mean(-1, keepdim=True).square()), (X,), [tokens(mean=1.0)],
        0.03,
    ),
    "batch norm": (nn.BatchNorm2d(16, affine=False), (torch.zeros(16, 16, 8, 8),),
        [images(p=0.02, mean=3.0, shape=(16, 16, 8, 8))], 0.02),
    "group norm": (nn.GroupNorm(4, 16, affine=False), (IMG,), [images()], 0.03),
    "instance norm": (nn.InstanceNorm2d(16), (IMG,), [images()], 0.001),
    "attention": (Fn(sdpa, **qkv()), (X,), [tokens(s=0.0)], 0.03),
    "causal attention": (Fn(lambda m, x: sdpa(m, x, True), **qkv()), (X,), [tokens(s=0.0)], 0.04),
    "attention by hand": (Fn(by_hand, qkv=nn.Linear(64, 192, bias=False)), (X,), [tokens(s=0.0)], 0.04),
    "view and back": (
        Fn(lambda m, x: F.relu(x.view(3, 8, 4, 16).transpose(1, 2)).transpose(1, 2).reshape(3, 8, 64)),
        (X,), [tokens()], 0.001,
    ),
    "cat": (Fn(lambda m, x: torch.cat([x, m.a(x)], -1), a=nn.Linear(64, 32)), (X,), [tokens()], 0.0),
    "stack": (Fn(lambda m, x: torch.stack([m.a(x), m.b(x)], 1), a=nn.Linear(64, 8), b=nn.Linear(64, 8)),
        (X,), [tokens()], 0.0),
    "pad": (Fn(lambda m, x: F.pad(x, (0, 0, 2, 0))), (X,), [tokens(mean=0.5)], 0.03),
    "slice": (Fn(lambda m, x: x[:, 2:5, ::2]), (X,), [tokens()], 0.0),
    "unfold": (Fn(lambda m, x: x.unfold(1, 4, 2)), (X,), [tokens()], 0.03),
    "bilinear": (nn.Bilinear(64, 64, 8), (FLAT.mean * torch.zeros(12, 64), torch.zeros(12, 64)), [FLAT, FLAT], 0.0),
    "shared keys": (Fn(grouped, q=nn.Linear(64, 64, bias=False), k=nn.Linear(64, 32, bias=False),
        v=nn.Linear(64, 32, bias=False)), (X,), [tokens(s=0.0)], 0.03),
    "addmm": (Fn(lambda m, x: torch.addmm(m.a.bias, x, m.a.weight.t(), beta=0.5, alpha=2.0), a=nn.Linear(64, 32)),
        (FLAT.mean * torch.zeros(12, 64),), [FLAT], 0.0),
    "x minus half of x": (Fn(lambda m, x: x + torch.neg(0.5 * x)), (X,), [tokens()], 0.0),
    "max pool of one image": (nn.MaxPool2d(2), (IMG[:1],), [JointMoments.iid((1, 16, 8, 8))], 0.03),
    "max pool of lines": (nn.MaxPool1d(2), (LINE,), [JointMoments.iid(LINE.shape)], 0.03),
    "relu of a scaled input": (Fn(lambda m, x: F.relu(x * m.scale), scale=torch.tensor(0.5)), (X,), [tokens()], 0.001),
    "half a table": (Fn(lambda m, x: x * m.table.chunk(2)[1], table=torch.full((16, 64), 3.0)), (X,), [tokens()], 0.0),
    "recurrent": (Fn(lambda m, x: m.r(x)[0], r=nn.LSTM(64, 32, batch_first=True)), (X,), [tokens(s=0.0)], 0.1),
}  # fmt: skip


@pytest.mark.parametrize("name", few(FORWARD, every=2))
def test_forward(name):
    model, example, given, bias = FORWARD[name]
    predicted, provenance, measured = ensembles.forward_case(model, example, given)
    measured.assert_agrees(predicted, bias=bias, mean_bias=max(bias, 1e-6))
    assert provenance == ("empirical" if name in {"recurrent"} else "theory")


def test_the_check_sees_a_wrong_std():
    model, example, given, bias = FORWARD["conv padded"]
    predicted, _, measured = ensembles.forward_case(model, example, given, weight_factor=1.03)
    with pytest.raises(AssertionError, match="predicted"):
        measured.assert_agrees(predicted, bias=bias)


def test_the_check_sees_a_wrong_correlation():
    model, example, _, bias = FORWARD["token mean"]
    predicted, _, measured = ensembles.forward_case(model, example, [tokens(mean=0.5, t=0.3)])
    wrong = ensembles.forward_case(model, example, [tokens(mean=0.5, t=0.27)], draws=2)[0]
    measured.assert_agrees(predicted, bias=bias)
    with pytest.raises(AssertionError, match="predicted"):
        measured.assert_agrees(wrong, bias=bias)


BACKWARD = {
    "linear": 0.0,
    "conv padded": 0.0,
    "conv correlated": 0.0,
    "conv grouped": 0.0,
    "conv depthwise": 0.0,
    "conv transposed": 0.0,
    "average pool": 0.0,
    "global pool": 0.0,
    "max pool": 0.01,
    "relu": 0.001,
    "gelu of a mean": 0.001,
    "silu by hand": 0.001,
    "x + gelu(x)": 0.001,
    "gated": 0.01,
    "chunked gate": 0.02,
    "residual": 0.01,
    "x + x": 0.0,
    "token mean": 0.0,
    "sum": 0.0,
    "layer norm": 0.05,
    "rms norm": 0.05,
    "batch norm": 0.05,
    "group norm": 0.06,
    "attention": 0.05,
    "causal attention": 0.06,
    "shared keys": 0.05,
    "addmm": 0.0,
    "x minus half of x": 0.0,
    "max pool of one image": 0.01,
    "max pool of lines": 0.01,
    "relu of a scaled input": 0.001,
    "view and back": 0.001,
    "cat": 0.0,
    "stack": 0.0,
    "slice": 0.0,
    "bilinear": 0.0,
}


@pytest.mark.parametrize("name", few(BACKWARD, every=2))
def test_backward(name):
    model, example, given, _ = FORWARD[name]
    predicted, provenance, measured = ensembles.backward_case(model, example, given)
    measured.assert_agrees(predicted, bias=BACKWARD[name], mean_bias=0.02)
    assert provenance == "theory"


def test_the_backward_check_sees_a_wrong_std():
    model, example, given, _ = FORWARD["linear"]
    predicted, _, measured = ensembles.backward_case(model, example, given, cotangent_factor=1.03)
    with pytest.raises(AssertionError, match="predicted"):
        measured.assert_agrees(predicted)
