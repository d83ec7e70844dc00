"""Stock models at their own default initialization (HEALTHY), and models with one injected fault each (BROKEN).

name -> callable -> (model, inputs, loss, number of classes); inputs is a tuple of positional or a dict of keyword arguments, loss(output)
is a scalar, the number of classes is None for regression. No downloads. The rules were tuned on these.
"""
# ruff: noqa: E501

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from zoo import make_torchvision_importable

__all__ = ["BROKEN", "HEALTHY"]

make_torchvision_importable()


def lg(o):
    if isinstance(o, torch.Tensor):
        return o
    if hasattr(o, "logits"):
        return o.logits
    return o[0]


def ce(n, B):
    def f(o):
        y = torch.randint(0, n, (B,))
        return F.cross_entropy(lg(o), y)

    return f


def timm_case(name, sz=96, B=16, n=10, **k):
    def mk():
        import timm

        m = timm.create_model(name, pretrained=False, num_classes=n, **k)
        return m, (torch.randn(B, 3, sz, sz),), ce(n, B), n

    return mk


def mlp(widths, act=nn.ReLU, init=None, norm=None):
    L = []
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        layer = nn.Linear(a, b)
        if init:
            init(layer)
        L.append(layer)
        if i < len(widths) - 2:
            if norm:
                L.append(norm(b))
            L.append(act())
    return nn.Sequential(*L)


def he(layer):
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)


def xav(layer):
    nn.init.xavier_uniform_(layer.weight, gain=5 / 3)
    nn.init.zeros_(layer.bias)


def mcase(fn, d=64, B=64, n=10):
    def mk():
        return fn(), (torch.randn(B, d),), ce(n, B), n

    return mk


class RNNClf(nn.Module):
    def __init__(s, kind, d=32, h=64, n=10):
        super().__init__()
        s.r = getattr(nn, kind)(d, h, 2, batch_first=True)
        s.f = nn.Linear(h, n)

    def forward(s, x):
        return s.f(s.r(x)[0][:, -1])


class TE(nn.Module):
    def __init__(s, d=64, L=6, n=10, norm_first=True):
        super().__init__()
        layer = nn.TransformerEncoderLayer(d, 4, 128, dropout=0.0, batch_first=True, norm_first=norm_first)
        s.e = nn.TransformerEncoder(layer, L, enable_nested_tensor=False)
        s.f = nn.Linear(d, n)

    def forward(s, x):
        return s.f(s.e(x).mean(1))


def hf(kind):
    def mk():
        import transformers as T

        V = 200
        B = 8
        S = 32
        ids = torch.randint(5, V, (B, S))
        if kind == "gpt2":
            m = T.GPT2LMHeadModel(
                T.GPT2Config(
                    n_layer=6, n_head=4, n_embd=128, vocab_size=V, n_positions=64, bos_token_id=0, eos_token_id=1
                )
            )
            return (
                m,
                {"input_ids": ids},
                (lambda o: F.cross_entropy(o.logits[:, :-1].reshape(-1, V), ids[:, 1:].reshape(-1))),
                V,
            )
        if kind == "llama":
            m = T.LlamaForCausalLM(
                T.LlamaConfig(
                    num_hidden_layers=6,
                    num_attention_heads=4,
                    hidden_size=128,
                    intermediate_size=256,
                    vocab_size=V,
                    bos_token_id=0,
                    eos_token_id=1,
                    pad_token_id=2,
                )
            )
            return (
                m,
                {"input_ids": ids},
                (lambda o: F.cross_entropy(o.logits[:, :-1].reshape(-1, V), ids[:, 1:].reshape(-1))),
                V,
            )
        if kind == "bert":
            m = T.BertForSequenceClassification(
                T.BertConfig(
                    num_hidden_layers=6,
                    num_attention_heads=4,
                    hidden_size=128,
                    intermediate_size=256,
                    vocab_size=V,
                    num_labels=10,
                )
            )
            return m, {"input_ids": ids}, ce(10, B), 10
        if kind == "t5":
            m = T.T5ForConditionalGeneration(
                T.T5Config(
                    d_model=128, d_ff=256, num_layers=4, num_heads=4, d_kv=32, vocab_size=V, decoder_start_token_id=0
                )
            )
            return (
                m,
                {"input_ids": ids, "decoder_input_ids": ids},
                (lambda o: F.cross_entropy(o.logits.reshape(-1, V), ids.reshape(-1))),
                V,
            )
        if kind == "distilbert":
            m = T.DistilBertForSequenceClassification(
                T.DistilBertConfig(n_layers=4, n_heads=4, dim=128, hidden_dim=256, vocab_size=V, num_labels=10)
            )
            return m, {"input_ids": ids}, ce(10, B), 10
        return None

    return mk


def tv(name, sz=96, B=16, n=10, **k):
    def mk():
        import torchvision.models as M

        return getattr(M, name)(weights=None, num_classes=n, **k), (torch.randn(B, 3, sz, sz),), ce(n, B), n

    return mk


class DCGAN(nn.Module):
    def __init__(s):
        super().__init__()

        def b(i, o, st, p):
            return [nn.ConvTranspose2d(i, o, 4, st, p, bias=False), nn.BatchNorm2d(o), nn.ReLU(True)]

        s.m = nn.Sequential(
            *b(64, 128, 1, 0),
            *b(128, 64, 2, 1),
            *b(64, 32, 2, 1),
            nn.ConvTranspose2d(32, 3, 4, 2, 1, bias=False),
            nn.Tanh(),
        )
        for m in s.modules():
            if isinstance(m, nn.ConvTranspose2d):
                nn.init.normal_(m.weight, 0, 0.02)
            if isinstance(m, nn.BatchNorm2d):
                nn.init.normal_(m.weight, 1, 0.02)

    def forward(s, x):
        return s.m(x)


def dcgan():
    y = torch.rand(16, 3, 32, 32) * 2 - 1
    return DCGAN(), (torch.randn(16, 64, 1, 1),), (lambda o: F.mse_loss(o, y)), None


class AE(nn.Module):
    def __init__(s):
        super().__init__()
        s.m = nn.Sequential(
            nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8), nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64), nn.Sigmoid()
        )

    def forward(s, x):
        return s.m(x)


def ae():
    x = torch.rand(64, 64)
    return AE(), (x,), (lambda o: F.binary_cross_entropy(o, x)), None


def reg():
    y = torch.randn(64, 1)
    return mlp([32, 64, 64, 1]), (torch.randn(64, 32),), (lambda o: F.mse_loss(o, y)), None


HEALTHY = {
    "resnet18(tv)": tv("resnet18"),
    "resnet18 zero_init_residual(tv)": tv("resnet18", zero_init_residual=True),
    "resnet50(timm)": timm_case("resnet50"),
    "vgg11(timm, no BN)": timm_case("vgg11", sz=96),
    "vgg11_bn": timm_case("vgg11_bn", sz=96),
    "alexnet(tv)": tv("alexnet", sz=128),
    "squeezenet1_1(tv)": tv("squeezenet1_1", sz=128),
    "densenet121": timm_case("densenet121"),
    "mobilenetv2_100": timm_case("mobilenetv2_100"),
    "mobilenetv3_small_100": timm_case("mobilenetv3_small_100"),
    "efficientnet_b0": timm_case("efficientnet_b0"),
    "regnetx_002": timm_case("regnetx_002"),
    "convnext_atto": timm_case("convnext_atto"),
    "vit_tiny_patch16": timm_case("vit_tiny_patch16_224", img_size=96),
    "deit3_small(LayerScale)": timm_case("deit3_small_patch16_224", img_size=96),
    "swin_tiny": timm_case("swin_tiny_patch4_window7_224", sz=112, img_size=112),
    "mixer_s32": timm_case("mixer_s32_224", sz=224, B=8),
    "nf_resnet50": timm_case("nf_resnet50"),
    "poolformer_s12": timm_case("poolformer_s12"),
    "resnetv2_50": timm_case("resnetv2_50"),
    "mlp4 relu default": mcase(lambda: mlp([64, 128, 128, 128, 10])),
    "mlp3 relu He": mcase(lambda: mlp([64, 128, 128, 10], init=he)),
    "mlp10 relu He": mcase(lambda: mlp([64] + [128] * 9 + [10], init=he)),
    "mlp6 tanh xavier 5/3": mcase(lambda: mlp([64] + [128] * 5 + [10], act=nn.Tanh, init=xav)),
    "mlp6 relu LN default": mcase(lambda: mlp([64] + [128] * 5 + [10], norm=nn.LayerNorm)),
    "mlp2 sigmoid default": mcase(lambda: mlp([64, 128, 10], act=nn.Sigmoid)),
    "LSTM": lambda: (RNNClf("LSTM"), (torch.randn(32, 20, 32),), ce(10, 32), 10),
    "GRU": lambda: (RNNClf("GRU"), (torch.randn(32, 20, 32),), ce(10, 32), 10),
    "nn.TransformerEncoder preLN": lambda: (TE(), (torch.randn(16, 20, 64),), ce(10, 16), 10),
    "nn.TransformerEncoder postLN": lambda: (TE(norm_first=False), (torch.randn(16, 20, 64),), ce(10, 16), 10),
    "HF gpt2": hf("gpt2"),
    "HF llama": hf("llama"),
    "HF bert": hf("bert"),
    "HF t5": hf("t5"),
    "HF distilbert": hf("distilbert"),
    "DCGAN G": dcgan,
    "autoencoder sigmoid": ae,
    "regression mlp": reg,
}


# ------- broken zoo
def small(layer):
    nn.init.normal_(layer.weight, 0, 0.01)
    nn.init.zeros_(layer.bias)


def big(layer):
    nn.init.normal_(layer.weight, 0, 1.0)
    nn.init.zeros_(layer.bias)


def const(layer):
    nn.init.constant_(layer.weight, 0.05)
    nn.init.zeros_(layer.bias)


def zero(layer):
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def negb(layer):
    nn.init.kaiming_normal_(layer.weight)
    nn.init.constant_(layer.bias, -6.0)


def wrap(fn, edit):
    def mk():
        r = list(fn())
        r2 = edit(*r)
        return r2 if r2 is not None else tuple(r)

    return mk


def e_x255(m, i, loss, n):
    return m, ((torch.rand_like(i[0]) * 255),), loss, n


def e_tiny(m, i, loss, n):
    for q in m.modules():
        if isinstance(q, nn.Conv2d | nn.Linear):
            nn.init.normal_(q.weight, 0, 0.01)
    return m, i, loss, n


def e_mean(m, i, loss, n):
    return m, ((i[0] * 0.1 + 5),), loss, n


def e_headx100(m, i, loss, n):
    last = [q for q in m.modules() if isinstance(q, nn.Linear)][-1]
    last.weight.data *= 100
    return m, i, loss, n


def e_softmax(m, i, loss, n):
    return nn.Sequential(m, nn.Softmax(-1)), i, loss, n


def e_freeze(m, i, loss, n):
    class D(nn.Module):
        def __init__(s):
            super().__init__()
            s.a = nn.Linear(64, 128)
            s.b = nn.Linear(128, 128)
            s.c = nn.Linear(128, 10)

        def forward(s, x):
            return s.c(F.relu(s.b(F.relu(s.a(x)).detach())))

    return D(), i, loss, n


class Unused(nn.Module):
    def __init__(s):
        super().__init__()
        s.m = mlp([64, 128, 10], init=he)
        s.extra = nn.Linear(3, 3)

    def forward(s, x):
        return s.m(x)


def e_qk(m, i, loss, n):
    for q in m.modules():
        if isinstance(q, nn.MultiheadAttention):
            q.in_proj_weight.data[: 2 * q.embed_dim] *= 10
    return m, i, loss, n


BROKEN = {
    "mlp10 relu N(0,.01)": mcase(lambda: mlp([64] + [128] * 9 + [10], init=small)),
    "mlp10 relu N(0,1)": mcase(lambda: mlp([64] + [128] * 9 + [10], init=big)),
    "mlp10 relu PyTorch default": mcase(lambda: mlp([64] + [128] * 9 + [10])),
    "mlp20 relu PyTorch default": mcase(lambda: mlp([64] + [128] * 19 + [10])),
    "mlp6 relu const": mcase(lambda: mlp([64] + [128] * 5 + [10], init=const)),
    "mlp6 relu zero": mcase(lambda: mlp([64] + [128] * 5 + [10], init=zero)),
    "mlp6 relu bias -6": mcase(lambda: mlp([64] + [128] * 5 + [10], init=negb)),
    "mlp10 sigmoid default": mcase(lambda: mlp([64] + [128] * 9 + [10], act=nn.Sigmoid)),
    "mlp6 tanh N(0,1)": mcase(lambda: mlp([64] + [128] * 5 + [10], act=nn.Tanh, init=big)),
    "mlp3 He input 0..255": wrap(mcase(lambda: mlp([64, 128, 128, 10], init=he)), e_x255),
    "mlp3 He input mean5 std.1": wrap(mcase(lambda: mlp([64, 128, 128, 10], init=he)), e_mean),
    "resnet18 input 0..255": wrap(tv("resnet18"), e_x255),
    "vgg11 N(0,.01) no BN": wrap(timm_case("vgg11", sz=96), e_tiny),
    "resnet18 head x100": wrap(tv("resnet18"), e_headx100),
    "mlp3 softmax+CE": wrap(mcase(lambda: mlp([64, 128, 128, 10], init=he)), e_softmax),
    "mlp detach": wrap(mcase(lambda: mlp([64, 128, 128, 10])), e_freeze),
    "mlp unused layer": mcase(Unused),
    "TransformerEncoder QKx10": wrap(lambda: (TE(), (torch.randn(16, 20, 64),), ce(10, 16), 10), e_qk),
    "plain BN-MLP depth50": mcase(lambda: mlp([64] + [128] * 49 + [10], norm=nn.BatchNorm1d, init=he)),
}
