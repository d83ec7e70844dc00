"""Models of many kinds: how people write weights into their forward passes.

name -> callable -> (model, inputs). `EXPECTED` says which weights stay as they are, and with which status.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
import torch.nn.utils.prune
from torch import nn

from tests.calibration.helpers import Fn

M = {}


def case(f):
    M[f.__name__] = f
    return f


def X(*shape):
    return torch.randn(*shape)


@case
def inplace():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.a = nn.Linear(32, 48)
            s.b = nn.Linear(48, 48)
            s.c = nn.Linear(48, 4)

        def forward(s, x):
            h = s.a(x)
            h.relu_()
            h.add_(s.b(h))
            h.mul_(0.5)
            return s.c(F.relu(h, inplace=True))

    return N(), X(64, 32)


@case
def functional_weights():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.p = nn.ParameterDict(
                {"w1": nn.Parameter(X(32, 40)), "w2": nn.Parameter(X(40, 4)), "b": nn.Parameter(X(40))}
            )

        def forward(s, x):
            return torch.addmm(torch.zeros(4), torch.tanh(torch.addmm(s.p["b"], x, s.p["w1"])), s.p["w2"])

    return N(), X(64, 32)


@case
def scaled_at_runtime():  # equalised learning rate
    class L(nn.Module):
        def __init__(s, i, o):
            super().__init__()
            s.w = nn.Parameter(X(o, i))
            s.g = 1 / math.sqrt(i)

        def forward(s, x):
            return F.linear(x, s.w * s.g)

    return nn.Sequential(L(32, 64), nn.LeakyReLU(), L(64, 64), nn.LeakyReLU(), L(64, 3)), X(64, 32)


@case
def moe_loop():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.r = nn.Linear(32, 4)
            s.w1 = nn.Parameter(X(4, 64, 32) * torch.tensor([1.0, 0.2, 3.0, 0.5]).view(4, 1, 1))
            s.w2 = nn.Parameter(X(4, 32, 64))

        def forward(s, x):
            g = s.r(x).softmax(-1)
            y = 0
            for e in range(4):
                y = y + g[:, e : e + 1] * F.linear(F.gelu(F.linear(x, s.w1[e])), s.w2[e])
            return x + y

    return N(), X(64, 32)


@case
def moe_bmm():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.r = nn.Linear(32, 4)
            s.w1 = nn.Parameter(X(4, 32, 64))
            s.w2 = nn.Parameter(X(4, 64, 32))

        def forward(s, x):
            h = torch.bmm(x.expand(4, -1, -1), s.w1).relu()
            y = torch.bmm(h, s.w2)
            return x + torch.einsum("be,ebd->bd", s.r(x).softmax(-1), y)

    return N(), X(64, 32)


@case
def gated_packed():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.n = nn.LayerNorm(32)
            s.up = nn.Linear(32, 128, bias=False)
            s.dn = nn.Linear(64, 32, bias=False)

        def forward(s, x):
            for _ in range(1):
                a, b = s.up(s.n(x)).chunk(2, -1)
                x = x + s.dn(F.silu(a) * b)
            return x

    return N(), X(8, 16, 32)


@case
def rnn_cell_unrolled():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.i = nn.Linear(16, 32)
            s.h = nn.Linear(32, 32)
            s.o = nn.Linear(32, 4)

        def forward(s, x):
            h = x.new_zeros(x.shape[0], 32)
            for t in range(x.shape[1]):
                h = torch.tanh(s.i(x[:, t]) + s.h(h))
            return s.o(h)

    return N(), X(32, 8, 16)


@case
def lstm_cell_module():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.c = nn.LSTMCell(16, 32)
            s.o = nn.Linear(32, 4)

        def forward(s, x):
            h = c = x.new_zeros(x.shape[0], 32)
            for t in range(4):
                h, c = s.c(x[:, t], (h, c))
            return s.o(h)

    return N(), X(32, 4, 16)


@case
def dict_inputs_nested_outputs():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.a = nn.Linear(8, 16)
            s.b = nn.Linear(12, 16)
            s.c = nn.Linear(16, 3)

        def forward(s, left, right=None):
            z = torch.relu(s.a(left) + s.b(right))
            return {"z": [z, (s.c(z),)], "n": None}

    return N(), {"left": X(32, 8), "right": X(32, 12)}


@case
def siamese():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.e = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))

        def forward(s, a, b):
            return (s.e(a) - s.e(b)).pow(2).sum(-1)

    return N(), (X(32, 16), 5 * X(32, 16))


@case
def tied_autoencoder():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.w = nn.Linear(32, 16)
            s.b = nn.Parameter(torch.zeros(32))

        def forward(s, x):
            return F.linear(torch.tanh(s.w(x)), s.w.weight.t(), s.b)

    return N(), X(64, 32)


@case
def wrapped_compiled():
    n = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    return torch.compile(nn.DataParallel(n)), X(32, 32)


@case
def pruned_old():
    n = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    torch.nn.utils.prune.random_unstructured(n[0], "weight", 0.5)
    return n, X(32, 32)


@case
def old_weight_norm():
    n = nn.Sequential(torch.nn.utils.weight_norm(nn.Conv1d(8, 16, 3)), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 6, 4))
    return n, X(16, 8, 8)


def parametrized_by(there, back, start):
    class Sym(nn.Module):
        def forward(s, w):
            return w.triu() + w.triu(1).mT

        def right_inverse(s, w):
            return w.triu()

    class Made(nn.Module):
        def forward(s, w):
            return there(w)

        def right_inverse(s, w):
            return back(w)

    n = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32))
    torch.nn.utils.parametrize.register_parametrization(n[0], "weight", Sym())
    with torch.no_grad():
        start(n[2].weight)
    torch.nn.utils.parametrize.register_parametrization(n[2], "weight", Made())
    return n, X(64, 32)


@case
def custom_param():
    return parametrized_by(torch.exp, torch.log, torch.Tensor.abs_)


@case
def custom_param_of_both_signs():
    return parametrized_by(torch.sinh, torch.asinh, lambda w: w)


@case
def weight_standardised():
    class C(nn.Conv2d):
        def forward(s, x):
            w = s.weight
            w = (w - w.mean((1, 2, 3), keepdim=True)) / w.std((1, 2, 3), keepdim=True)
            return F.conv2d(x, w, s.bias, s.stride, s.padding)

    return nn.Sequential(C(3, 8, 3), nn.ReLU(), C(8, 8, 3), nn.Flatten(), nn.Linear(8 * 16, 3)), X(16, 3, 8, 8)


@case
def hypernet():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.h = nn.Linear(4, 32 * 8)
            s.o = nn.Linear(8, 2)

        def forward(s, x, z):
            w = s.h(z).view(-1, 8, 32)
            return s.o(torch.relu(torch.bmm(w, x.unsqueeze(-1)).squeeze(-1)))

    return N(), (X(32, 32), X(32, 4))


@case
def lora():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.w = nn.Linear(32, 32)
            s.w.requires_grad_(False)
            s.a = nn.Parameter(X(4, 32))
            s.b = nn.Parameter(X(32, 4) * 0.01)
            s.o = nn.Linear(32, 2)

        def forward(s, x):
            return s.o(torch.relu(s.w(x) + x @ s.a.T @ s.b.T))

    return N(), X(64, 32)


@case
def lora_merged():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.w = nn.Parameter(X(32, 32))
            s.a = nn.Parameter(X(4, 32))
            s.b = nn.Parameter(X(32, 4))

        def forward(s, x):
            return F.linear(x, s.w + s.b @ s.a)

    return N(), X(64, 32)


@case
def cat_weights():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.q, s.k, s.v = (nn.Parameter(X(16, 32)) for _ in range(3))
            s.o = nn.Linear(16, 4)

        def forward(s, x):
            q, k, v = F.linear(x, torch.cat([s.q, s.k, s.v])).chunk(3, -1)
            return s.o(F.scaled_dot_product_attention(q, k, v))

    return N(), X(8, 10, 32)


@case
def vmapped():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.a = nn.Linear(16, 16)
            s.o = nn.Linear(16, 2)

        def forward(s, x):
            return s.o(torch.func.vmap(lambda t: torch.tanh(F.linear(t, s.a.weight)))(x))

    return N(), X(32, 16)


@case
def custom_autograd():
    class Fn(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return x @ w.t()

        @staticmethod
        def backward(ctx, g):
            x, w = ctx.saved_tensors
            return g @ w, g.t() @ x

    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.w = nn.Parameter(X(24, 16))
            s.o = nn.Linear(24, 2)

        def forward(s, x):
            return s.o(torch.relu(Fn.apply(x, s.w)))

    return N(), X(32, 16)


@case
def scripted():
    return torch.jit.script(nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))), X(32, 16)


@case
def checkpointed():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.a = nn.Linear(16, 32)
            s.b = nn.Linear(32, 16)

        def forward(s, x):
            return torch.utils.checkpoint.checkpoint(lambda t: s.b(torch.relu(s.a(t))), x, use_reentrant=False)

    return N(), X(32, 16)


@case
def depthwise_1d_unet():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.d = nn.Conv1d(4, 8, 4, 2, 1, groups=4)
            s.m = nn.Conv1d(8, 8, 3, padding=1)
            s.u = nn.ConvTranspose1d(8, 4, 4, 2, 1)
            s.o = nn.Conv1d(8, 2, 1)

        def forward(s, x):
            h = F.relu(s.m(F.relu(s.d(x))))
            return s.o(torch.cat([x, s.u(h)], 1))

    return N(), X(16, 4, 16)


@case
def bilinear_tensordot():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.b = nn.Bilinear(8, 12, 16)
            s.t = nn.Parameter(X(16, 4, 6))
            s.o = nn.Parameter(X(4, 6))

        def forward(s, x, y):
            h = torch.tanh(s.b(x, y))
            z = torch.tensordot(h, s.t, 1)
            return (z * s.o).sum(-1)

    return N(), (X(64, 8), X(64, 12))


@case
def half_model():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)).bfloat16(), X(64, 64).bfloat16()


@case
def fp16():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)).half(), X(64, 64).half()


@case
def float64():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)).double(), X(64, 64).double()


@case
def batch_one_bn():
    return nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)), X(1, 16)


@case
def learned_queries():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.q = nn.Parameter(X(4, 32))
            s.a = nn.MultiheadAttention(32, 4, kdim=16, vdim=16, batch_first=True)
            s.o = nn.Linear(32, 2)

        def forward(s, x):
            return s.o(s.a(s.q.expand(x.shape[0], -1, -1), x, x)[0])

    return N(), X(8, 10, 16)


@case
def data_dependent_branch():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.a = nn.Linear(16, 16)
            s.b = nn.Linear(16, 16)

        def forward(s, x):
            h = s.a(x)
            return s.b(h) if float(h.sum()) > -1e9 else h

    return N(), X(32, 16)


@case
def transformer_layer():
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True), 3), X(
        8, 10, 32
    )


@case
def unused_and_dead_branch():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.a = nn.Linear(16, 16)
            s.u = nn.Linear(16, 16)
            s.d = nn.Linear(16, 16)
            s.o = nn.Linear(16, 2)

        def forward(s, x):
            h = torch.relu(s.a(x))
            s.d(h)
            return s.o(h)

    return N(), X(32, 16)


@case
def complex_weights():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.a = nn.Linear(16, 16)
            s.w = nn.Parameter(torch.randn(16, 16, dtype=torch.cfloat))
            s.o = nn.Linear(16, 2)

        def forward(s, x):
            h = torch.fft.fft(torch.relu(s.a(x))) @ s.w
            return s.o(h.real)

    return N(), X(32, 16)


@case
def embedding_bag_mix():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.e = nn.EmbeddingBag(50, 16, mode="sum")
            s.t = nn.Embedding(10, 16, padding_idx=0)
            s.o = nn.Linear(16, 3)

        def forward(s, a, b):
            return s.o(torch.tanh(s.e(a) + s.t(b).mean(1)))

    return N(), (torch.randint(0, 50, (32, 5)), torch.randint(0, 10, (32, 4)))


@case
def grouped_query_packed():
    def f(s, x):
        b, t, _ = x.shape
        q, k, v = (p.view(b, t, -1, 8).transpose(1, 2) for p in s.qkv(x).split([32, 8, 8], -1))
        a = F.scaled_dot_product_attention(q, k.expand_as(q), v.expand_as(q))
        return x + s.o(a.transpose(1, 2).reshape(b, t, 32))

    return Fn(f, qkv=nn.Linear(32, 48), o=nn.Linear(32, 32)), X(8, 10, 32)


@case
def one_map_in_and_one_out():
    def f(s, x):
        q, k, v, a, b = s.i(s.n(x)).split([32, 32, 32, 64, 64], -1)
        return x + s.o(torch.cat([F.scaled_dot_product_attention(q, k, v), F.silu(a) * b], -1))

    return Fn(f, n=nn.LayerNorm(32), i=nn.Linear(32, 224), o=nn.Linear(96, 32)), X(8, 10, 32)


@case
def weight_norm_used_twice():
    def f(s, x):
        return s.o(s.w(torch.relu(s.w(x))))

    return Fn(f, w=nn.utils.parametrizations.weight_norm(nn.Linear(32, 32)), o=nn.Linear(32, 4)), X(64, 32)


@case
def one_head_over_levels():
    def f(s, x):
        found = []
        for _ in range(3):
            found.append(s.h(F.relu(s.t(x))))
            x = F.avg_pool2d(x, 2)
        return found

    return Fn(f, t=nn.Conv2d(8, 16, 3, padding=1), h=nn.Conv2d(16, 2, 1)), X(4, 8, 16, 16)


@case
def filters_from_the_input():
    def f(s, x):
        k = s.k(x.mean((2, 3))).view(-1, 1, 3, 3)
        y = F.conv2d(x.reshape(1, -1, 8, 8), k, padding=1, groups=len(k)).view_as(x)
        return s.o(F.relu(y).flatten(1))

    return Fn(f, k=nn.Linear(8, 72), o=nn.Linear(512, 4)), X(16, 8, 8, 8)


@case
def straight_through():
    def f(s, x):
        size = s.w.abs().mean()
        ternary = (s.w / size).round().clamp(-1, 1) * size
        return s.o(F.relu(F.linear(x, s.w + (ternary - s.w).detach())))

    return Fn(f, w=nn.Parameter(X(64, 32)), o=nn.Linear(64, 4)), X(64, 32)


@case
def gradient_as_output():
    def f(s, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            return torch.autograd.grad(s.o(torch.tanh(s.a(x))).sum(), x, create_graph=True)[0]

    return Fn(f, a=nn.Linear(32, 64), o=nn.Linear(64, 1)), X(64, 32)


@case
def two_ranges_of_one_weight():
    def f(s, x):
        return s.w.narrow(0, 32, 4) @ F.relu(s.w[:32] @ x.T)

    return Fn(f, w=nn.Parameter(X(36, 32))), X(64, 32)


@case
def patches_by_hand():
    def f(s, x):
        y = (s.w.view(8, -1) @ F.unfold(x, 3, padding=1)).view(-1, 8, 8, 8)
        return s.o(F.relu(y).flatten(1))

    return Fn(f, w=nn.Parameter(X(8, 3, 3, 3)), o=nn.Linear(512, 4)), X(16, 3, 8, 8)


@case
def memory_of_the_caller():
    def f(s, x):
        doubled, y = torch.empty_like(x), x.new_zeros(len(x), 64)
        torch.mul(x, 2.0, out=doubled)
        y.addmm_(doubled, s.w, beta=0.5, alpha=2.0)
        return s.o(y.clamp_(min=0))

    return Fn(f, w=nn.Parameter(X(32, 64)), o=nn.Linear(64, 4)), X(64, 32)


KINDS = M
FUSED = ("c.weight_hh", "c.weight_ih")
# kind -> weight -> status, of those that are not corrected
EXPECTED = {
    "lstm_cell_module": dict.fromkeys(FUSED, "recurrent"),
    "weight_standardised": {"0.weight": "not followed", "2.weight": "not followed"},
    "lora": {"w.weight": "frozen"},
    "lora_merged": dict.fromkeys("abw", "not followed"),
    "cat_weights": dict.fromkeys("qkv", "not followed"),
    "vmapped": {"a.weight": "not followed"},
    "straight_through": {"w": "not followed"},
    "scripted": {"0.weight": "not followed", "2.weight": "not followed"},
    "bilinear_tensordot": {"o": "not followed"},
    "batch_one_bn": {"0.weight": "norm behind"},
    "unused_and_dead_branch": {"d.weight": "no target", "u.weight": "never used"},
    "complex_weights": {"w": "not followed"},
    "custom_param": {"2.parametrizations.weight.original": "kept"},
}
