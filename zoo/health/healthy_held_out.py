"""Stock and home-made models that were not looked at while the rules were tuned: name -> callable, as in `public`. No downloads."""
# ruff: noqa: E501, E731, C408

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from zoo.health import public
from zoo.health.public import ce, he, mcase, mlp, timm_case, tv

__all__ = ["HEALTHY_HELD_OUT"]


HEALTHY_HELD_OUT = {}
for n, kw in dict(
    dla34={},
    hrnet_w18_small={},
    ghostnet_100={},
    mnasnet_100={},
    repvgg_a0={},
    resnext50_32x4d={},
    seresnet18={},
    skresnet18={},
    res2net50_14w_8s={},
    xcit_nano_12_p16_224=dict(img_size=96),
    cait_xxs24_224=dict(img_size=96),
    coat_tiny=dict(img_size=96),
    davit_tiny=dict(),
    edgenext_xx_small={},
    fbnetc_100={},
    gcresnext26ts={},
    gmlp_s16_224=dict(img_size=96),
    resmlp_12_224=dict(img_size=96),
    lcnet_050={},
    mobileone_s0={},
    mobilevit_xxs={},
    nfnet_l0={},
    pvt_v2_b0={},
    rexnet_100={},
    swinv2_tiny_window8_256=dict(img_size=128),
    tinynet_e={},
    twins_pcpvt_small=dict(img_size=96),
    eva02_tiny_patch14_224=dict(img_size=98),
    convnextv2_atto={},
    ese_vovnet19b_dw={},
    hardcorenas_a={},
    spnasnet_100={},
    selecsls42={},
    dpn48b={},
    fastvit_t8={},
    mobilenetv4_conv_small={},
    starnet_s1={},
    regnety_002={},
    resnet26d={},
    efficientnet_lite0={},
    tf_efficientnetv2_b0={},
    semnasnet_075={},
    poolformerv2_s12={},
    inception_next_atto={},
    mambaout_femto={},
    test_vit={},
).items():
    if kw is None:
        continue
    sz = kw.get("img_size", 96)
    HEALTHY_HELD_OUT["timm " + n] = timm_case(n, sz=sz, B=16 if sz <= 96 else 8, **kw)


def hf(cls, cfg, kind="lm", **kw):
    def mk():
        import transformers as T

        V = 200
        B = 8
        S = 32
        c = getattr(T, cfg)(**kw)
        m = getattr(T, cls)(c)
        ids = torch.randint(5, V, (B, S))
        if kind == "lm":
            return (
                m,
                dict(input_ids=ids),
                (lambda o: F.cross_entropy(o.logits[:, :-1].reshape(-1, V), ids[:, 1:].reshape(-1))),
                V,
            )
        if kind == "mlm":
            return m, dict(input_ids=ids), (lambda o: F.cross_entropy(o.logits.reshape(-1, V), ids.reshape(-1))), V
        if kind == "cls":
            return m, dict(input_ids=ids), ce(m.config.num_labels, B), 10
        if kind == "img":
            return m, dict(pixel_values=torch.randn(B, 3, 64, 64)), ce(m.config.num_labels, B), 10
        if kind == "s2s":
            return (
                m,
                dict(input_ids=ids, decoder_input_ids=ids),
                (lambda o: F.cross_entropy(o.logits.reshape(-1, V), ids.reshape(-1))),
                V,
            )
        return None

    return mk


base = dict(
    vocab_size=200,
    hidden_size=128,
    num_hidden_layers=6,
    num_attention_heads=4,
    intermediate_size=256,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
dec = dict(base, num_key_value_heads=2)
for n, a in {
    "roberta": (
        "RobertaForSequenceClassification",
        "RobertaConfig",
        "cls",
        dict(base, max_position_embeddings=80, num_labels=10),
    ),
    "electra": (
        "ElectraForSequenceClassification",
        "ElectraConfig",
        "cls",
        dict(base, embedding_size=64, num_labels=10),
    ),
    "deberta2": ("DebertaV2ForSequenceClassification", "DebertaV2Config", "cls", dict(base, num_labels=10)),
    "albert": ("AlbertForSequenceClassification", "AlbertConfig", "cls", dict(base, embedding_size=64, num_labels=10)),
    "bert mlm": ("BertForMaskedLM", "BertConfig", "mlm", base),
    "opt": (
        "OPTForCausalLM",
        "OPTConfig",
        "lm",
        dict(
            vocab_size=200,
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            ffn_dim=256,
            word_embed_proj_dim=128,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
        ),
    ),
    "bloom": (
        "BloomForCausalLM",
        "BloomConfig",
        "lm",
        dict(vocab_size=200, hidden_size=128, n_layer=4, n_head=4, bos_token_id=1, eos_token_id=2, pad_token_id=3),
    ),
    "gpt_neo": (
        "GPTNeoForCausalLM",
        "GPTNeoConfig",
        "lm",
        dict(
            vocab_size=200,
            hidden_size=128,
            num_layers=4,
            num_heads=4,
            attention_types=[[["global", "local"], 2]],
            bos_token_id=1,
            eos_token_id=2,
        ),
    ),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", "lm", base),
    "gptj": (
        "GPTJForCausalLM",
        "GPTJConfig",
        "lm",
        dict(vocab_size=200, n_embd=128, n_layer=4, n_head=4, rotary_dim=16, bos_token_id=1, eos_token_id=2),
    ),
    "falcon": (
        "FalconForCausalLM",
        "FalconConfig",
        "lm",
        dict(
            vocab_size=200, hidden_size=128, num_hidden_layers=4, num_attention_heads=4, bos_token_id=1, eos_token_id=2
        ),
    ),
    "mistral": ("MistralForCausalLM", "MistralConfig", "lm", dec),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", "lm", dec),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", "lm", dec),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", "lm", dict(dec, head_dim=32)),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", "lm", dict(dec, head_dim=32)),
    "gemma3": ("Gemma3ForCausalLM", "Gemma3TextConfig", "lm", dict(dec, head_dim=32)),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", "lm", dec),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", "lm", dict(dec, num_local_experts=4)),
    "olmo2": ("Olmo2ForCausalLM", "Olmo2Config", "lm", dec),
    "cohere": ("CohereForCausalLM", "CohereConfig", "lm", dec),
    "stablelm": ("StableLmForCausalLM", "StableLmConfig", "lm", dec),
    "mamba": (
        "MambaForCausalLM",
        "MambaConfig",
        "lm",
        dict(vocab_size=200, hidden_size=64, num_hidden_layers=4, pad_token_id=0, bos_token_id=1, eos_token_id=2),
    ),
    "bart": (
        "BartForConditionalGeneration",
        "BartConfig",
        "s2s",
        dict(
            vocab_size=200,
            d_model=128,
            encoder_layers=3,
            decoder_layers=3,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=256,
            decoder_ffn_dim=256,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
            decoder_start_token_id=2,
            forced_eos_token_id=2,
        ),
    ),
    "mt5": (
        "MT5ForConditionalGeneration",
        "MT5Config",
        "s2s",
        dict(vocab_size=200, d_model=128, d_ff=256, num_layers=4, num_heads=4, d_kv=32, decoder_start_token_id=0),
    ),
    "vit": (
        "ViTForImageClassification",
        "ViTConfig",
        "img",
        dict(
            image_size=64,
            patch_size=8,
            hidden_size=128,
            num_hidden_layers=6,
            num_attention_heads=4,
            intermediate_size=256,
            num_labels=10,
        ),
    ),
    "beit": (
        "BeitForImageClassification",
        "BeitConfig",
        "img",
        dict(
            image_size=64,
            patch_size=8,
            hidden_size=128,
            num_hidden_layers=6,
            num_attention_heads=4,
            intermediate_size=256,
            num_labels=10,
        ),
    ),
    "dinov2": (
        "Dinov2ForImageClassification",
        "Dinov2Config",
        "img",
        dict(image_size=64, patch_size=8, hidden_size=128, num_hidden_layers=6, num_attention_heads=4, num_labels=10),
    ),
    "convnext": (
        "ConvNextForImageClassification",
        "ConvNextConfig",
        "img",
        dict(hidden_sizes=[32, 64, 96, 128], depths=[2, 2, 2, 2], num_labels=10),
    ),
    "resnet": (
        "ResNetForImageClassification",
        "ResNetConfig",
        "img",
        dict(embedding_size=32, hidden_sizes=[32, 64, 96, 128], depths=[1, 1, 1, 1], layer_type="basic", num_labels=10),
    ),
    "segformer": (
        "SegformerForImageClassification",
        "SegformerConfig",
        "img",
        dict(hidden_sizes=[16, 32, 64, 96], depths=[1, 1, 1, 1], num_labels=10),
    ),
    "modernbert": (
        "ModernBertForSequenceClassification",
        "ModernBertConfig",
        "cls",
        dict(base, num_labels=10, cls_token_id=1, sep_token_id=2),
    ),
    "xlnet": (
        "XLNetForSequenceClassification",
        "XLNetConfig",
        "cls",
        dict(vocab_size=200, d_model=128, n_layer=4, n_head=4, d_inner=256, num_labels=10),
    ),
}.items():
    HEALTHY_HELD_OUT["hf " + n] = hf(a[0], a[1], a[2], **a[3])
for n in [
    "googlenet",
    "mnasnet0_5",
    "mnasnet1_0",
    "shufflenet_v2_x0_5",
    "efficientnet_v2_s",
    "convnext_tiny",
    "regnet_y_400mf",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "densenet121",
    "vgg11_bn",
    "wide_resnet50_2",
]:
    HEALTHY_HELD_OUT["tv " + n] = tv(n)


class R(nn.Module):
    def __init__(s, d=64, L=8):
        super().__init__()
        s.i = nn.Linear(64, d)
        s.b = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d)) for _ in range(L)
        )
        s.o = nn.Linear(d, 10)

    def forward(s, x):
        x = s.i(x)
        for b in s.b:
            x = x + b(x)
        return s.o(x)


class UNet(nn.Module):
    def __init__(s):
        super().__init__()
        c = lambda i, o: nn.Sequential(
            nn.Conv2d(i, o, 3, padding=1, bias=False),
            nn.BatchNorm2d(o),
            nn.ReLU(True),
            nn.Conv2d(o, o, 3, padding=1, bias=False),
            nn.BatchNorm2d(o),
            nn.ReLU(True),
        )
        s.d1, s.d2, s.d3 = c(3, 16), c(16, 32), c(32, 64)
        s.u2 = nn.ConvTranspose2d(64, 32, 2, 2)
        s.c2 = c(64, 32)
        s.u1 = nn.ConvTranspose2d(32, 16, 2, 2)
        s.c1 = c(32, 16)
        s.o = nn.Conv2d(16, 5, 1)

    def forward(s, x):
        a = s.d1(x)
        b = s.d2(F.max_pool2d(a, 2))
        c = s.d3(F.max_pool2d(b, 2))
        y = s.c2(torch.cat([s.u2(c), b], 1))
        return s.o(s.c1(torch.cat([s.u1(y), a], 1)))


def unet():
    y = torch.randint(0, 5, (8, 32, 32))
    return UNet(), (torch.randn(8, 3, 32, 32),), (lambda o: F.cross_entropy(o, y)), 5


class VAE(nn.Module):
    def __init__(s):
        super().__init__()
        s.e = mlp([64, 128])
        s.m, s.v = nn.Linear(128, 16), nn.Linear(128, 16)
        s.d = mlp([16, 128, 64])

    def forward(s, x):
        h = F.relu(s.e(x))
        m, v = s.m(h), s.v(h)
        z = m + torch.randn_like(m) * (v / 2).exp()
        return s.d(z), m, v


def vae():
    x = torch.rand(64, 64)
    return (
        VAE(),
        (x,),
        (
            lambda o: (
                F.binary_cross_entropy_with_logits(o[0], x, reduction="sum") / 64
                - 0.5 * (1 + o[2] - o[1] ** 2 - o[2].exp()).sum(1).mean()
            )
        ),
        None,
    )


class GCN(nn.Module):
    def __init__(s):
        super().__init__()
        s.a, s.b = nn.Linear(32, 64), nn.Linear(64, 7)

    def forward(s, x, A):
        return s.b(A @ F.relu(s.a(A @ x)))


def gcn():
    A = (torch.rand(100, 100) < 0.05).float()
    A = A + A.T + torch.eye(100)
    A = (A > 0).float()
    d = A.sum(1).rsqrt()
    A = d[:, None] * A * d
    y = torch.randint(0, 7, (100,))
    return GCN(), (torch.randn(100, 32), A), (lambda o: F.cross_entropy(o, y)), 7


class Siren(nn.Module):
    def __init__(s, w=30):
        super().__init__()
        s.w = w
        s.l = nn.ModuleList([nn.Linear(2, 128)] + [nn.Linear(128, 128) for _ in range(3)])
        s.o = nn.Linear(128, 3)
        nn.init.uniform_(s.l[0].weight, -0.5, 0.5)
        for layer in [*s.l[1:], s.o]:
            nn.init.uniform_(layer.weight, -math.sqrt(6 / 128) / w, math.sqrt(6 / 128) / w)

    def forward(s, x):
        for layer in s.l:
            x = torch.sin(s.w * layer(x))
        return s.o(x)


def siren():
    y = torch.rand(256, 3)
    return Siren(), (torch.rand(256, 2) * 2 - 1,), (lambda o: F.mse_loss(o, y)), None


class Seq2Seq(nn.Module):
    def __init__(s):
        super().__init__()
        s.e = nn.Embedding(50, 32)
        s.r = nn.GRU(32, 64, batch_first=True, bidirectional=True)
        s.q = nn.Linear(128, 64)
        s.o = nn.Linear(128, 50)

    def forward(s, i):
        h, _ = s.r(s.e(i))
        a = torch.softmax(s.q(h) @ s.q(h).transpose(1, 2) / 8, -1)
        return s.o(a @ h)


def s2s():
    i = torch.randint(0, 50, (16, 20))
    return Seq2Seq(), (i,), (lambda o: F.cross_entropy(o.reshape(-1, 50), i.reshape(-1))), 50


class TCN(nn.Module):
    def __init__(s, L=5):
        super().__init__()
        s.c = nn.ModuleList(
            nn.utils.parametrizations.weight_norm(nn.Conv1d(16 if i == 0 else 32, 32, 3, padding=2**i, dilation=2**i))
            for i in range(L)
        )
        s.o = nn.Linear(32, 10)

    def forward(s, x):
        for i, c in enumerate(s.c):
            h = F.relu(c(x))
            x = h + x if i else h
        return s.o(x.mean(-1))


class DQN(nn.Module):
    def __init__(s):
        super().__init__()
        s.m = nn.Sequential(
            nn.Conv2d(4, 32, 8, 4),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, 2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 49, 512),
            nn.ReLU(),
            nn.Linear(512, 6),
        )

    def forward(s, x):
        return s.m(x)


def dqn():
    y = torch.randn(16, 6)
    return DQN(), (torch.rand(16, 4, 84, 84),), (lambda o: F.smooth_l1_loss(o, y)), None


class Disc(nn.Module):
    def __init__(s):
        super().__init__()
        S = nn.utils.parametrizations.spectral_norm
        s.m = nn.Sequential(
            S(nn.Conv2d(3, 32, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            S(nn.Conv2d(32, 64, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            S(nn.Conv2d(64, 128, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            S(nn.Linear(128 * 16, 1)),
        )

    def forward(s, x):
        return s.m(x)


def disc():
    return (
        Disc(),
        (torch.randn(16, 3, 32, 32),),
        (lambda o: F.binary_cross_entropy_with_logits(o, torch.ones_like(o))),
        None,
    )


class MoE(nn.Module):
    def __init__(s):
        super().__init__()
        s.g = nn.Linear(64, 4)
        s.e = nn.ModuleList(mlp([64, 128, 64]) for _ in range(4))
        s.o = nn.Linear(64, 10)

    def forward(s, x):
        p = s.g(x).softmax(-1)
        return s.o(x + sum(p[:, i : i + 1] * e(x) for i, e in enumerate(s.e)))


class ALLCNN(nn.Module):
    def __init__(s):
        super().__init__()
        s.m = nn.Sequential(
            nn.Conv2d(3, 48, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(48, 48, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(48, 96, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(96, 10, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    def forward(s, x):
        return s.m(x)


def img(fn, sz=32, B=16):
    return lambda: (fn(), (torch.randn(B, 3, sz, sz),), ce(10, B), 10)


class Dec(nn.Module):
    def __init__(s, L=6, d=64):
        super().__init__()
        s.e = nn.Embedding(100, d)
        s.p = nn.Parameter(torch.randn(32, d) * 0.02)
        s.t = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(d, 4, 4 * d, dropout=0.1, activation="gelu", batch_first=True, norm_first=True),
            L,
            enable_nested_tensor=False,
        )
        s.o = nn.Linear(d, 100, bias=False)
        nn.init.normal_(s.e.weight, std=0.02)
        s.o.weight = s.e.weight

    def forward(s, i):
        return s.o(s.t(s.e(i) + s.p, mask=nn.Transformer.generate_square_subsequent_mask(32), is_causal=True))


def deco():
    i = torch.randint(0, 100, (8, 32))
    return Dec(), (i,), (lambda o: F.cross_entropy(o[:, :-1].reshape(-1, 100), i[:, 1:].reshape(-1))), 100


def nntrans():
    m = nn.Transformer(64, 4, 2, 2, 128, batch_first=True)
    y = torch.randn(8, 10, 64)
    return m, (torch.randn(8, 12, 64), torch.randn(8, 10, 64)), (lambda o: F.mse_loss(o, y)), None


def multi():
    class M(nn.Module):
        def __init__(s):
            super().__init__()
            s.t = mlp([64, 128, 128])
            s.a, s.b = nn.Linear(128, 10), nn.Linear(128, 1)

        def forward(s, x):
            h = F.relu(s.t(x))
            return {"cls": s.a(h), "reg": s.b(h)}

    y = torch.randint(0, 10, (64,))
    z = torch.randn(64, 1)
    return M(), (torch.randn(64, 64),), (lambda o: F.cross_entropy(o["cls"], y) + F.mse_loss(o["reg"], z)), None


HEALTHY_HELD_OUT.update(
    {
        "resmlp preLN": mcase(R),
        "unet bn": unet,
        "vae": vae,
        "gcn": gcn,
        "siren": siren,
        "gru attn": s2s,
        "tcn wn": lambda: (TCN(), (torch.randn(16, 16, 40),), ce(10, 16), 10),
        "dqn": dqn,
        "sn disc": disc,
        "moe": mcase(MoE),
        "allcnn": img(ALLCNN),
        "gpt own tied": deco,
        "nn.Transformer": nntrans,
        "multihead": multi,
        "mlp6 gelu default": mcase(lambda: mlp([64] + [128] * 5 + [10], act=nn.GELU)),
        "mlp6 selu lecun": mcase(
            lambda: mlp(
                [64] + [128] * 5 + [10],
                act=nn.SELU,
                init=lambda layer: nn.init.normal_(layer.weight, 0, layer.in_features**-0.5),
            )
        ),
        "mlp20 relu He": mcase(lambda: mlp([64] + [256] * 19 + [10], init=he)),
        "mlp4 leaky he": mcase(lambda: mlp([64, 64, 64, 64, 10], act=nn.LeakyReLU, init=he)),
        "mlp8 BN": mcase(lambda: mlp([64] + [128] * 7 + [10], norm=nn.BatchNorm1d)),
        "linear reg": lambda: (
            nn.Linear(20, 1),
            (torch.randn(64, 20),),
            (lambda o: F.mse_loss(o, torch.randn(64, 1))),
            None,
        ),
        "logreg": mcase(lambda: nn.Linear(64, 10)),
        "mlp3 tiny width": mcase(lambda: mlp([64, 8, 8, 10])),
        "mlp orth tanh": mcase(
            lambda: mlp(
                [64] + [64] * 9 + [10],
                act=nn.Tanh,
                init=lambda layer: (nn.init.orthogonal_(layer.weight), nn.init.zeros_(layer.bias)),
            )
        ),
        "mlp zero head": mcase(
            lambda: (lambda m: (nn.init.zeros_(m[-1].weight), nn.init.zeros_(m[-1].bias), m)[-1])(
                mlp([64, 128, 128, 10], init=he)
            )
        ),
        "RNN tanh": lambda: (public.RNNClf("RNN"), (torch.randn(32, 20, 32),), ce(10, 32), 10),
        "image 0..1": lambda: (public.HEALTHY["resnet18(tv)"]()[0], (torch.rand(16, 3, 96, 96),), ce(10, 16), 10),
    }
)
