"""Twelve models of four JAX libraries, each with its PyTorch port: what a tree's leaf is called there, by pattern."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from tests.integrations.test_jax_models import IMAGES, MODELS, ROWS, SERIES, flax

F = torch.nn.functional


@dataclass(frozen=True)
class Twin:
    """A JAX model, its port, and (pattern, replacement) pairs from paths of leaves to names in the port."""

    make: Any
    port: Any
    names: dict[str, str] = field(default_factory=dict)

    def name(self, path: str) -> str:
        found = [re.sub(f"^{p}$", new, path) for p, new in self.names.items() if re.fullmatch(p, path)]
        return found[0] if found else path


KERNELS = {r"(.*)\.(kernel|scale|w)": r"\1.weight", r"(.*)\.b": r"\1.bias", r"(.*)\.embedding": r"\1.weight"}


# ---------------------------------------------------------------- the six further models
class Pooled(nnx.Module):
    def __init__(self, rngs):
        self.conv, self.norm = nnx.Conv(3, 8, (3, 3), use_bias=False, rngs=rngs), nnx.BatchNorm(8, rngs=rngs)
        self.depthwise = nnx.Conv(8, 8, (3, 3), feature_group_count=8, rngs=rngs)
        self.head = nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.conv(x)))
        return self.head(nnx.relu(self.depthwise(x)).mean((1, 2)))


class Gated(nnx.Module):
    def __init__(self, rngs):
        self.rnn, self.head = nnx.RNN(nnx.GRUCell(3, 8, rngs=rngs)), nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(self.rnn(x)[:, -1])


def of_nnx(kind, x):
    def make():
        graph, params, rest = nnx.split(kind(nnx.Rngs(0)), nnx.Param, ...)
        return lambda p, x: nnx.merge(graph, p, rest, copy=True)(x), params, x

    return make


class Residual(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.Dense(16, name="entry")(x)
        for n in range(2):
            h = linen.Dense(32, name=f"up{n}")(linen.RMSNorm(name=f"norm{n}")(x))
            x = x + linen.Dense(16, name=f"down{n}")(linen.gelu(h))
        return linen.Dense(3, name="head")(linen.LayerNorm(name="last")(x))


class EqxConv(eqx.Module):
    conv: eqx.nn.Conv2d
    head: eqx.nn.Linear

    def __init__(self):
        one, two = jax.random.split(jax.random.key(0))
        self.conv, self.head = eqx.nn.Conv2d(3, 8, 3, stride=2, key=one), eqx.nn.Linear(8, 5, key=two)

    def __call__(self, x):
        return self.head(jax.nn.relu(self.conv(jnp.moveaxis(x, -1, 0))).mean((1, 2)))


class EqxLSTM(eqx.Module):
    cell: eqx.nn.LSTMCell
    head: eqx.nn.Linear

    def __init__(self):
        one, two = jax.random.split(jax.random.key(0))
        self.cell, self.head = eqx.nn.LSTMCell(3, 8, key=one), eqx.nn.Linear(8, 3, key=two)

    def __call__(self, x):
        start = (jnp.zeros(8), jnp.zeros(8))
        (state, _), _ = jax.lax.scan(lambda carry, row: (self.cell(row, carry), None), start, x)
        return self.head(state)


def of_equinox(kind, x):
    def make():
        arrays, static = eqx.partition(kind(), eqx.is_array)
        return lambda p, x: jax.vmap(eqx.combine(p, static))(x), arrays, x

    return make


def haiku_cnn():
    def forward(x):
        x = hk.Conv2D(8, 3, with_bias=False, name="conv")(x)
        x = jax.nn.relu(hk.BatchNorm(True, True, 0.9, name="norm")(x, is_training=True))
        return hk.Linear(5, name="head")(hk.max_pool(x, (2, 2, 1), (2, 2, 1), "VALID").mean((1, 2)))

    net = hk.without_apply_rng(hk.transform_with_state(forward))
    params, state = net.init(jax.random.key(0), IMAGES)
    return lambda p, x: net.apply(p, state, x)[0], params, IMAGES


# ---------------------------------------------------------------- the ports
class Rows(nn.Module):
    """Images with channels last in, rows out."""

    def __init__(self, body, head):
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x):
        return self.head(self.body(x.permute(0, 3, 1, 2)).mean((2, 3)))


class ChannelNorm(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class LastState(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.rnn, self.head = kind(3, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class ResidualPort(nn.Module):
    def __init__(self):
        super().__init__()
        self.entry, self.head, self.last = nn.Linear(4, 16), nn.Linear(16, 3), nn.LayerNorm(16)
        for n in range(2):
            self.add_module(f"norm{n}", nn.RMSNorm(16))
            self.add_module(f"up{n}", nn.Linear(16, 32))
            self.add_module(f"down{n}", nn.Linear(32, 16))

    def forward(self, x):
        x = self.entry(x)
        for n in range(2):
            h = getattr(self, f"up{n}")(getattr(self, f"norm{n}")(x))
            x = x + getattr(self, f"down{n}")(F.gelu(h, approximate="tanh"))
        return self.head(self.last(x))


class RematPort(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.ModuleList([nn.Linear(4, 16), nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 3)])

    def forward(self, x):
        x = self.dense[0](x)
        for layer in self.dense[1:3]:
            x = x + layer(F.silu(x))
        return self.dense[3](x)


def linen_cnn_port():
    body = nn.Sequential()
    layers = {
        "c0": nn.Conv2d(3, 8, 3, padding=1),
        "n0": ChannelNorm(8, eps=1e-6),
        "a0": nn.ReLU(),
        "p0": nn.MaxPool2d(2),
        "same": nn.ZeroPad2d((0, 1, 0, 1)),
        "c1": nn.Conv2d(8, 8, 3, stride=2, groups=8),
        "a1": nn.ReLU(),
        "t0": nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1),
        "a2": nn.ReLU(),
    }
    for name, layer in layers.items():
        body.add_module(name, layer)
    return Rows(body, nn.Linear(6, 5))


def conv_port():
    body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    body += nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU())
    return Rows(body, nn.Linear(8, 5))


def gpt_port():
    from tests.integrations.test_jax_stored import TorchGPT

    return TorchGPT()


def relu_rows(*sizes):
    layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


GATES = {
    r".*\.h[ifgo]\.kernel": "rnn.weight_hh_l0",
    r".*\.i[ifgo]\.kernel": "rnn.weight_ih_l0",
    r".*\.h[ifgo]\.bias": "rnn.bias_ih_l0",
}

TWINS = {
    "nnx gpt": Twin(
        MODELS["nnx gpt"],
        gpt_port,
        {r"(blocks\.\d)\.attention\.(query|key|value)\.kernel": r"\1.qkv.weight"}
        | {r"(blocks\.\d)\.attention\.(query|key|value)\.bias": r"\1.qkv.bias"}
        | {
            r"(blocks\.\d)\.attention\.out\.kernel": r"\1.out.weight",
            r"(blocks\.\d)\.attention\.out\.bias": r"\1.out.bias",
        }
        | KERNELS,
    ),
    "linen cnn": Twin(
        MODELS["linen cnn"],
        linen_cnn_port,
        {
            r"params\.Conv_(\d)\.kernel": r"body.c\1.weight",
            r"params\.Conv_(\d)\.bias": r"body.c\1.bias",
            r"params\.LayerNorm_0\.scale": "body.n0.weight",
            r"params\.LayerNorm_0\.bias": "body.n0.bias",
            r"params\.ConvTranspose_0\.kernel": "body.t0.weight",
            r"params\.ConvTranspose_0\.bias": "body.t0.bias",
            r"params\.Dense_0\.kernel": "head.weight",
            r"params\.Dense_0\.bias": "head.bias",
        },
    ),
    "linen lstm": Twin(
        MODELS["linen lstm"],
        lambda: LastState(nn.LSTM),
        GATES | {r"params\.Dense_0\.kernel": "head.weight", r"params\.Dense_0\.bias": "head.bias"},
    ),
    "linen remat": Twin(
        MODELS["linen remat"],
        RematPort,
        {r"params\.\w*Dense_\d\.kernel": "dense.0.weight", r"params\.\w*Dense_\d\.bias": "dense.0.bias"},
    ),
    "linen residual": Twin(
        lambda: flax(Residual(), ROWS),
        ResidualPort,
        {r"params\.(.*)\.(kernel|scale)": r"\1.weight", r"params\.(.*)": r"\1"},
    ),
    "nnx cnn": Twin(
        of_nnx(Pooled, IMAGES),
        conv_port,
        {
            r"conv\.kernel": "body.0.weight",
            r"norm\.scale": "body.1.weight",
            r"norm\.bias": "body.1.bias",
            r"depthwise\.kernel": "body.3.weight",
            r"depthwise\.bias": "body.3.bias",
        }
        | KERNELS,
    ),
    "nnx gru": Twin(
        of_nnx(Gated, SERIES),
        lambda: LastState(nn.GRU),
        {
            r"rnn\.cell\.dense_i\.kernel": "rnn.weight_ih_l0",
            r"rnn\.cell\.dense_h\.kernel": "rnn.weight_hh_l0",
            r"rnn\.cell\.dense_i\.bias": "rnn.bias_ih_l0",
        }
        | KERNELS,
    ),
    "equinox mlp": Twin(
        MODELS["equinox mlp"],
        lambda: relu_rows(4, 16, 16, 3),
        {rf"layers\.{n}\.(.*)": rf"{2 * n}.\1" for n in range(3)},
    ),
    "equinox cnn": Twin(
        of_equinox(EqxConv, IMAGES),
        lambda: Rows(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU()), nn.Linear(8, 5)),
        {r"conv\.(.*)": r"body.0.\1"},
    ),
    "equinox lstm": Twin(
        of_equinox(EqxLSTM, SERIES),
        lambda: LastState(nn.LSTM),
        {
            r"cell\.weight_ih": "rnn.weight_ih_l0",
            r"cell\.weight_hh": "rnn.weight_hh_l0",
            r"cell\.bias": "rnn.bias_ih_l0",
        },
    ),
    "haiku mlp": Twin(
        MODELS["haiku mlp"],
        lambda: relu_rows(4, 16, 16, 3),
        {rf"mlp/~/linear_{n}\.w": f"{2 * n}.weight" for n in range(3)}
        | {rf"mlp/~/linear_{n}\.b": f"{2 * n}.bias" for n in range(3)},
    ),
    "haiku cnn": Twin(
        haiku_cnn,
        lambda: Rows(
            nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
            nn.Linear(8, 5),
        ),
        {r"conv\.w": "body.0.weight", r"norm\.scale": "body.1.weight", r"norm\.offset": "body.1.bias"}
        | {r"head\.w": "head.weight", r"head\.b": "head.bias"},
    ),
}
