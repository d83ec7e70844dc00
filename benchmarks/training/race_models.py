"""The networks of the race, written as people write them, with the starts their authors give them.

Nothing here knows of fanin: `race.py` calls `fanin.init_` on these models as they are.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

CONTEXT = 32


class ResidualMLP(nn.Module):
    """x + W2 f(W1 f(x)), without any norm."""

    def __init__(self, blocks=20, width=64, inputs=196, classes=10):
        super().__init__()
        self.stem = nn.Linear(inputs, width)
        self.first = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.second = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        h = self.stem(x)
        for first, second in zip(self.first, self.second, strict=True):
            h = h + second(F.relu(first(F.relu(h))))
        return self.head(h)


class ResidualCNN(nn.Module):
    """Residual blocks of two 3 x 3 convolutions, without norm or with BatchNorm."""

    def __init__(self, blocks=20, channels=16, classes=10, batch_norm=False):
        super().__init__()

        def conv():
            return nn.Conv2d(channels, channels, 3, padding=1, bias=not batch_norm)

        def norm():
            return nn.BatchNorm2d(channels) if batch_norm else nn.Identity()

        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Sequential(conv(), norm(), nn.ReLU(), conv(), norm()) for _ in range(blocks))
        self.head = nn.Linear(channels, classes)

    def forward(self, x):
        h = self.stem(x)
        for block in self.blocks:
            h = h + block(h) if isinstance(block[1], nn.Identity) else F.relu(h + block(h))
        return self.head(h.mean((2, 3)))


class EncoderLM(nn.Module):
    """nn.TransformerEncoder as shipped (it deep-copies one layer), as a causal character model."""

    def __init__(self, vocab, norm_first, width=64, depth=12, heads=4):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.position = nn.Embedding(CONTEXT, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=norm_first
        )
        last = nn.LayerNorm(width) if norm_first else None
        self.body = nn.TransformerEncoder(layer, depth, norm=last, enable_nested_tensor=False)
        self.head = nn.Linear(width, vocab)

    def forward(self, ids):
        t = ids.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(t, device=ids.device)
        h = self.embed(ids) + self.position(torch.arange(t, device=ids.device))
        return self.head(self.body(h, mask=mask, is_causal=True))


class Attention(nn.Module):
    """Causal multi-head attention with separate projections."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (p(x).view(b, t, self.heads, -1).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, d))


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, width, hidden):
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaStyle(nn.Module):
    """RMSNorm, SwiGLU, causal attention, untied head; with `norm=False` the same blocks without any norm."""

    def __init__(self, vocab, norm=True, width=64, depth=12, heads=4, hidden=176):
        super().__init__()

        def make_norm():
            return nn.RMSNorm(width) if norm else nn.Identity()

        self.embed = nn.Embedding(vocab, width)
        self.position = nn.Embedding(CONTEXT, width)
        self.attention = nn.ModuleList(Attention(width, heads) for _ in range(depth))
        self.mlp = nn.ModuleList(SwiGLU(width, hidden) for _ in range(depth))
        self.norm1 = nn.ModuleList(make_norm() for _ in range(depth))
        self.norm2 = nn.ModuleList(make_norm() for _ in range(depth))
        self.norm = make_norm()
        self.head = nn.Linear(width, vocab, bias=False)

    def forward(self, ids):
        h = self.embed(ids) + self.position(torch.arange(ids.shape[1], device=ids.device))
        for attention, mlp, norm1, norm2 in zip(self.attention, self.mlp, self.norm1, self.norm2, strict=True):
            h = h + attention(norm1(h))
            h = h + mlp(norm2(h))
        return self.head(self.norm(h))


class SmallViT(nn.Module):
    """A vision transformer on 14 x 14 digits: patches of 2, class token, learned positions."""

    def __init__(self, width=64, depth=6, heads=4, classes=10):
        super().__init__()
        self.patch = nn.Conv2d(1, width, 2, 2)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 50, width) * 0.02)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x):
        h = self.patch(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.cls.expand(len(h), -1, -1), h], 1) + self.position
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h[:, 0]))


class LSTMModel(nn.Module):
    """A character language model."""

    def __init__(self, vocab, width=64):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.head = nn.Linear(width, vocab)

    def forward(self, ids):
        return self.head(self.lstm(self.embed(ids))[0])


class AddingLSTM(nn.Module):
    """The adding problem (Hochreiter and Schmidhuber 1997): the sum of two marked numbers in a long sequence."""

    def __init__(self, width=64):
        super().__init__()
        self.lstm, self.head = nn.LSTM(2, width, batch_first=True), nn.Linear(width, 1)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])[:, 0]


class Siren(nn.Module):
    """A sine network that fits an image (Sitzmann et al. 2020)."""

    def __init__(self, width=64, hidden=3, w0=30.0):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, width), *(nn.Linear(width, width) for _ in range(hidden))])
        self.head, self.w0 = nn.Linear(width, 3), w0

    def forward(self, x):
        for layer in self.layers:
            x = torch.sin(self.w0 * layer(x))
        return self.head(x)


# ------------------------------------------------------------------ the starts of the authors
def _zero_bias(module):
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def _each(model, kinds):
    return [m for m in model.modules() if isinstance(m, kinds)]


def he_authors(model, seed):
    """He et al. 2015: N(0, 2 / fan_in), biases zero."""
    for m in _each(model, (nn.Linear, nn.Conv2d)):
        nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
        _zero_bias(m)


def glorot_logistic_authors(model, seed):
    """Four times Glorot's bound for logistic units (Glorot and Bengio 2010 and its tutorials)."""
    for m in _each(model, nn.Linear):
        nn.init.xavier_uniform_(m.weight, gain=4.0)
        _zero_bias(m)


def orthogonal_tanh_authors(model, seed):
    """Saxe et al. 2014, Pennington et al. 2017: orthogonal, slightly above gain 1, zero biases."""
    for m in _each(model, nn.Linear):
        nn.init.orthogonal_(m.weight, gain=1.05)
        _zero_bias(m)


def fixup_authors(model, seed):
    """Fixup (Zhang et al. 2019) without its scalars: first maps He x L^-1/2, last maps and head zero."""
    he_authors(model, seed)
    firsts = list(model.first) if hasattr(model, "first") else [b[0] for b in model.blocks]
    lasts = list(model.second) if hasattr(model, "second") else [b[3] for b in model.blocks]
    with torch.no_grad():
        for m in firsts:
            m.weight.mul_(len(firsts) ** -0.5)
        for m in [*lasts, model.head]:
            nn.init.zeros_(m.weight)


def resnet_authors(model, seed):
    """torchvision's ResNet: He fan_out for convolutions, BatchNorm at 1 and 0."""
    for m in _each(model, nn.Conv2d):
        nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")


def gpt2_authors(model, seed):
    """GPT-2: N(0, 0.02), maps that write the stream over sqrt(2L), biases zero."""
    depth = len(model.body.layers) if hasattr(model, "body") else len(model.attention)
    for name, p in model.named_parameters():
        if p.ndim >= 2:
            writes = any(s in name for s in ("out_proj", "linear2", "o_proj", "down_proj"))
            nn.init.normal_(p, std=0.02 / math.sqrt(2 * depth) if writes else 0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(p)


def flat_02_authors(model, seed):
    """BERT, and Llama in transformers: N(0, 0.02) for every matrix and embedding, biases zero."""
    for name, p in model.named_parameters():
        if p.ndim >= 2:
            nn.init.normal_(p, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(p)


def vit_authors(model, seed):
    """timm's ViT: truncated N(0, 0.02) for matrices, zero biases, LeCun patches."""
    for name, p in model.named_parameters():
        if p.ndim >= 2 and "cls" not in name:
            nn.init.trunc_normal_(p, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(p)
    nn.init.trunc_normal_(model.patch.weight, std=math.sqrt(1 / model.patch.weight[0].numel()))


def lstm_authors(model, seed):
    """Keras' LSTM: Glorot inputs, orthogonal recurrence, forget bias 1, other biases 0."""
    for name, p in model.lstm.named_parameters():
        if "weight_ih" in name:
            nn.init.xavier_uniform_(p)
        elif "weight_hh" in name:
            nn.init.orthogonal_(p)
        else:
            nn.init.zeros_(p)
    hidden = model.lstm.hidden_size
    with torch.no_grad():
        model.lstm.bias_ih_l0[hidden : 2 * hidden] = 1.0


def siren_authors(model, seed):
    """Sitzmann et al. 2020, as in their code: first U(+-1/n), later U(+-sqrt(6/n)/w0)."""
    with torch.no_grad():
        for i, m in enumerate([*model.layers, model.head]):
            n = m.in_features
            bound = 1 / n if i == 0 else math.sqrt(6 / n) / model.w0
            m.weight.uniform_(-bound, bound)
