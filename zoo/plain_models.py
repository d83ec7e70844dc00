"""Models in plain torch: the ways people write networks without a library."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from zoo.registry import images, numbers, register, token_ids


@register
def mlp_relu():
    L = []
    for _i in range(6):
        L += [nn.Linear(64, 64), nn.ReLU()]
    return nn.Sequential(*L, nn.Linear(64, 10)), {"input": numbers(8, 64)}


@register
def lstm_lm():
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(128, 32)
            self.rnn = nn.LSTM(32, 48, 2, batch_first=True, dropout=0.1)
            self.out = nn.Linear(48, 128)

        def forward(self, ids):
            h, _ = self.rnn(self.emb(ids))
            return self.out(h)

    return M(), {"ids": token_ids()}


@register
def nn_transformer():
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(128, 64)
            self.tr = nn.Transformer(64, 4, 2, 2, 128, batch_first=True)
            self.out = nn.Linear(64, 128)

        def forward(self, src, tgt):
            mask = nn.Transformer.generate_square_subsequent_mask(tgt.shape[1])
            return self.out(self.tr(self.emb(src), self.emb(tgt), tgt_mask=mask))

    return M(), {"src": token_ids(), "tgt": token_ids(2, 8)}


@register
def unet():
    class DC(nn.Sequential):
        def __init__(self, i, o):
            super().__init__(
                nn.Conv2d(i, o, 3, padding=1),
                nn.BatchNorm2d(o),
                nn.ReLU(True),
                nn.Conv2d(o, o, 3, padding=1),
                nn.BatchNorm2d(o),
                nn.ReLU(True),
            )

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.d1 = DC(3, 16)
            self.d2 = DC(16, 32)
            self.d3 = DC(32, 64)
            self.u2 = nn.ConvTranspose2d(64, 32, 2, 2)
            self.c2 = DC(64, 32)
            self.u1 = nn.ConvTranspose2d(32, 16, 2, 2)
            self.c1 = DC(32, 16)
            self.out = nn.Conv2d(16, 1, 1)

        def forward(self, x):
            a = self.d1(x)
            b = self.d2(F.max_pool2d(a, 2))
            c = self.d3(F.max_pool2d(b, 2))
            b = self.c2(torch.cat([self.u2(c), b], 1))
            a = self.c1(torch.cat([self.u1(b), a], 1))
            return self.out(a)

    return M(), {"x": images()}


@register
def dcgan_g():
    return nn.Sequential(
        nn.ConvTranspose2d(32, 64, 4, 1, 0, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(True),
        nn.ConvTranspose2d(64, 32, 4, 2, 1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(True),
        nn.ConvTranspose2d(32, 3, 4, 2, 1, bias=False),
        nn.Tanh(),
    ), {"input": numbers(4, 32, 1, 1)}


@register
def siren():
    class Sine(nn.Module):
        def __init__(self, i, o, w0=30.0):
            super().__init__()
            self.lin = nn.Linear(i, o)
            self.w0 = w0

        def forward(self, x):
            return torch.sin(self.w0 * self.lin(x))

    return nn.Sequential(Sine(2, 64), Sine(64, 64), Sine(64, 64), nn.Linear(64, 3)), {
        "input": numbers(64, 2).clamp(-1, 1)
    }


@register
def gnn_scatter():
    class GC(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.msg = nn.Linear(2 * d, d)
            self.upd = nn.Linear(2 * d, d)

        def forward(self, x, ei):
            m = F.relu(self.msg(torch.cat([x[ei[0]], x[ei[1]]], -1)))
            agg = torch.zeros_like(x).index_add(0, ei[1], m)
            return x + self.upd(torch.cat([x, agg], -1))

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc = nn.Linear(16, 32)
            self.layers = nn.ModuleList(GC(32) for _ in range(3))
            self.out = nn.Linear(32, 4)

        def forward(self, x, edge_index):
            h = F.relu(self.enc(x))
            for layer in self.layers:
                h = layer(h, edge_index)
            return self.out(h.mean(0))

    g = torch.Generator().manual_seed(0)
    return M(), {"x": numbers(20, 16), "edge_index": torch.randint(0, 20, (2, 60), generator=g)}


@register
def functional_raw_params():
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.w1 = nn.Parameter(torch.randn(64, 32) * 0.1)
            self.b1 = nn.Parameter(torch.zeros(64))
            self.w2 = nn.Parameter(torch.randn(64, 64) * 0.1)
            self.g = nn.Parameter(torch.ones(64))
            self.w3 = nn.Parameter(torch.randn(4, 64, 16) * 0.1)
            self.head = nn.Parameter(torch.randn(10, 64) * 0.1)

        def forward(self, x):
            h = F.gelu(F.linear(x, self.w1, self.b1))
            h = torch.tanh(h @ self.w2)
            h = h * self.g / (h.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
            q = torch.einsum("bd,hdk->bhk", h, self.w3)
            q = F.silu(q).flatten(1)
            return q @ self.head.t()

    return M(), {"x": numbers(8, 32)}


@register
def weight_normed():
    from torch.nn.utils.parametrizations import weight_norm

    return nn.Sequential(
        weight_norm(nn.Conv1d(8, 32, 5, padding=2)),
        nn.LeakyReLU(0.2),
        weight_norm(nn.Conv1d(32, 32, 5, padding=2)),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        weight_norm(nn.Linear(32 * 20, 10)),
    ), {"input": numbers(4, 8, 20)}


@register
def shared_twice():
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.inp = nn.Linear(32, 64)
            self.blk = nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64))
            self.out = nn.Linear(64, 10)

        def forward(self, x):
            h = self.inp(x)
            h = h + self.blk(h)
            h = h + self.blk(h)
            return self.out(h)

    return M(), {"x": numbers(8, 32)}


@register
def einsum_attention():
    class M(nn.Module):
        def __init__(self, d=64, h=4):
            super().__init__()
            self.norm = nn.LayerNorm(d)
            self.qkv = nn.Linear(d, 3 * d, bias=False)
            self.o = nn.Parameter(torch.randn(h, d // h, d) * 0.02)
            self.h = h
            self.n2 = nn.LayerNorm(d)
            self.ff1 = nn.Linear(d, 4 * d)
            self.ff2 = nn.Linear(4 * d, d)

        def forward(self, x):
            b, t, d = x.shape
            q, k, v = self.qkv(self.norm(x)).view(b, t, 3, self.h, d // self.h).unbind(2)
            a = torch.einsum("bqhd,bkhd->bhqk", q, k).div(math.sqrt(d // self.h)).softmax(-1)
            x = x + torch.einsum("bhqk,bkhd,hde->bqe", a, v, self.o)
            return x + self.ff2(F.relu(self.ff1(self.n2(x))).square())

    return nn.Sequential(M(), M()), {"input": numbers(2, 10, 64)}


@register
def data_dependent():
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(32, 64)
            self.gate = nn.Linear(64, 4)
            self.ex = nn.ModuleList(nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 64)) for _ in range(4))
            self.out = nn.Linear(64, 10)

        def forward(self, x):
            h = torch.tanh(self.a(x))
            p, idx = self.gate(h).softmax(-1).max(-1)
            y = torch.zeros_like(h)
            for e in range(4):
                r = (idx == e).nonzero().squeeze(-1)
                if r.numel() > 0:
                    y[r] = p[r, None] * self.ex[e](h[r])
            if float(h.abs().mean()) > 100:
                y = y * 0
            return self.out(h + y)

    return M(), {"x": numbers(64, 32)}


@register
def custom_autograd():
    class Swish(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * torch.sigmoid(x)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            s = torch.sigmoid(x)
            return g * (s + x * s * (1 - s))

    class A(nn.Module):
        def forward(self, x):
            return Swish.apply(x)

    return nn.Sequential(nn.Linear(32, 64), A(), nn.Linear(64, 64), A(), nn.Linear(64, 10)), {"input": numbers(8, 32)}


@register
def dlrm():
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.eb = nn.ModuleList(nn.EmbeddingBag(50, 16, mode="sum") for _ in range(3))
            self.bot = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
            self.top = nn.Sequential(nn.Linear(16 + 6, 32), nn.ReLU(), nn.Linear(32, 1), nn.Sigmoid())

        def forward(self, dense, sparse):
            z = self.bot(dense)
            E = [z] + [e(sparse[:, i]) for i, e in enumerate(self.eb)]
            T = torch.stack(E, 1)
            Z = T @ T.transpose(1, 2)
            i, j = torch.tril_indices(4, 4, -1)
            return self.top(torch.cat([z, Z[:, i, j]], 1))

    return M(), {
        "dense": numbers(8, 13),
        "sparse": torch.randint(0, 50, (8, 3, 4), generator=torch.Generator().manual_seed(0)),
    }


@register
def dueling_dqn():
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(nn.Conv2d(4, 16, 8, 4), nn.ReLU(), nn.Conv2d(16, 32, 4, 2), nn.ReLU(), nn.Flatten())
            self.v = nn.Sequential(nn.Linear(32 * 16, 64), nn.ReLU(), nn.Linear(64, 1))
            self.a = nn.Sequential(nn.Linear(32 * 16, 64), nn.ReLU(), nn.Linear(64, 6))

        def forward(self, x):
            h = self.f(x)
            a = self.a(h)
            return self.v(h) + a - a.mean(1, keepdim=True)

    return M(), {"x": numbers(2, 4, 44, 44)}


@register
def lowrank_lora():
    class LoRA(nn.Module):
        def __init__(self, i, o, r=4):
            super().__init__()
            self.base = nn.Linear(i, o)
            self.A = nn.Parameter(torch.randn(r, i) * 0.02)
            self.B = nn.Parameter(torch.zeros(o, r))

        def forward(self, x):
            return self.base(x) + (x @ self.A.t()) @ self.B.t() * 2.0

    return nn.Sequential(LoRA(32, 64), nn.ELU(), LoRA(64, 64), nn.ELU(), LoRA(64, 10)), {"input": numbers(8, 32)}


@register
def wavenet_gated():
    class B(nn.Module):
        def __init__(self, c, d):
            super().__init__()
            self.conv = nn.Conv1d(c, 2 * c, 3, dilation=d, padding=d)
            self.res = nn.Conv1d(c, c, 1)
            self.skip = nn.Conv1d(c, c, 1)

        def forward(self, x):
            a, b = self.conv(x).chunk(2, 1)
            h = torch.tanh(a) * torch.sigmoid(b)
            return x + self.res(h), self.skip(h)

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.i = nn.Conv1d(1, 32, 1)
            self.b = nn.ModuleList(B(32, 2**k) for k in range(4))
            self.o1 = nn.Conv1d(32, 32, 1)
            self.o2 = nn.Conv1d(32, 8, 1)

        def forward(self, x):
            x = self.i(x)
            sk = 0
            for b in self.b:
                x, k = b(x)
                sk = sk + k
            return self.o2(F.relu(self.o1(F.relu(sk))))

    return M(), {"x": numbers(2, 1, 64)}


@register
def gru_classifier():
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.g = nn.GRU(16, 32, 2, bidirectional=True)
            self.o = nn.Linear(64, 5)

        def forward(self, x):
            _y, h = self.g(x)
            return self.o(torch.cat([h[-1], h[-2]], -1))

    return M(), {"x": numbers(12, 4, 16)}


@register
def spectral_normed():
    from torch.nn.utils.parametrizations import spectral_norm

    return nn.Sequential(
        spectral_norm(nn.Conv2d(3, 16, 3, 2, 1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(16, 32, 3, 2, 1)),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        spectral_norm(nn.Linear(32 * 64, 1)),
    ), {"input": images()}


@register
def mha_module():
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln = nn.LayerNorm(32)
            self.mha = nn.MultiheadAttention(32, 4, batch_first=True)
            self.cross = nn.MultiheadAttention(32, 4, kdim=16, vdim=16, batch_first=True)
            self.o = nn.Linear(32, 3)

        def forward(self, x, m):
            h = self.ln(x)
            x = x + self.mha(h, h, h, need_weights=False)[0]
            x = x + self.cross(x, m, m)[0]
            return self.o(x)

    return M(), {"x": numbers(2, 7, 32), "m": numbers(2, 5, 16)}


@register
def autoencoder():
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc = nn.Sequential(nn.Linear(64, 32), nn.SELU(), nn.Linear(32, 8))
            self.dec = nn.Sequential(nn.Linear(8, 32), nn.SELU(), nn.Linear(32, 64), nn.Sigmoid())

        def forward(self, x):
            return self.dec(self.enc(x))

    return M(), {"x": numbers(8, 64)}
