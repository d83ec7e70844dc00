"""The healthy runs of the development half: they set the thresholds of the rules on steps."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks.accuracy.watched_runs.loop import (
    Training,
    characters,
    ngrams,
    plain,
    pretrained,
    rows,
    vocabulary,
    warmed,
)
from benchmarks.accuracy.watched_runs.models import (
    ConvNet,
    Gpt,
    Lora,
    PatchFormer,
    Recurrent,
    Residual,
    ResidualConv,
    TextRecurrent,
    mlp,
)

__all__ = ["RUNS"]

PICTURES, TOKENS = (1, 8, 8), (8, 8)


def relu_adam() -> Training:
    model = mlp()
    return plain(model, Adam(model.parameters(), 1e-3), rows())


def deep_gelu() -> Training:
    model = mlp(8, act=nn.GELU, norm=nn.LayerNorm)
    return plain(model, AdamW(model.parameters(), 3e-4), rows())


def tanh_sgd() -> Training:
    model = mlp(act=nn.Tanh)
    return plain(model, SGD(model.parameters(), 0.1), rows())


def momentum() -> Training:
    model = mlp(4)
    return plain(model, SGD(model.parameters(), 0.02, momentum=0.9), rows())


def warm_up() -> Training:
    model = mlp(6, norm=nn.LayerNorm)
    optimizer = AdamW(model.parameters(), 3e-3)
    return plain(model, optimizer, rows(), scheduler=warmed(optimizer, 20), warmup=20)


def conv_batch_norm() -> Training:
    model = ConvNet()
    optimizer = SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    return plain(model, optimizer, rows(shape=PICTURES))


def conv_adam() -> Training:
    model = ConvNet(norm=False)
    return plain(model, Adam(model.parameters(), 1e-3), rows(shape=PICTURES))


def resnet_cosine() -> Training:
    model = ResidualConv()
    optimizer = AdamW(model.parameters(), 2e-3)
    return plain(model, optimizer, rows(shape=PICTURES), scheduler=CosineAnnealingLR(optimizer, 150))


def zero_last() -> Training:
    model = Residual(norm=False, zero=True)
    return plain(model, Adam(model.parameters(), 1e-3), rows())


def layer_scale() -> Training:
    model = Residual(scale=1e-4)
    return plain(model, AdamW(model.parameters(), 1e-3), rows())


def vision_transformer() -> Training:
    model = PatchFormer()
    optimizer = AdamW(model.parameters(), 1e-3)
    return plain(model, optimizer, rows(shape=TOKENS), scheduler=warmed(optimizer, 30), warmup=30)


def lstm() -> Training:
    model = Recurrent()
    return plain(model, Adam(model.parameters(), 3e-3), rows(shape=TOKENS), clip=1.0)


def gru_sgd() -> Training:
    model = Recurrent(nn.GRU)
    return plain(model, SGD(model.parameters(), 0.1, momentum=0.9), rows(shape=TOKENS), clip=1.0)


def gpt_tied() -> Training:
    model = Gpt(vocabulary())
    optimizer = AdamW(model.parameters(), 2e-3, weight_decay=0.1)
    return plain(model, optimizer, characters(), scheduler=warmed(optimizer, 10), warmup=10, clip=1.0)


def gpt_untied() -> Training:
    model = Gpt(vocabulary(), tied=False)
    return plain(model, Adam(model.parameters(), 1e-3), characters())


def text_lstm() -> Training:
    model = TextRecurrent(vocabulary())
    return plain(model, Adam(model.parameters(), 3e-3), characters())


def fine_tuning() -> Training:
    """Trained on the digits 0 to 4, then all ten with a new head and a small rate for the trunk."""
    model = pretrained(mlp(4), rows(only=lambda y: y < 5))
    model[-1] = nn.Linear(64, 10)
    groups = [{"params": model[:-1].parameters(), "lr": 1e-4}, {"params": model[-1].parameters(), "lr": 1e-3}]
    return plain(model, AdamW(groups), rows())


def fine_tuning_whole() -> Training:
    model = pretrained(Residual(), rows(), 150)
    return plain(model, AdamW(model.parameters(), 5e-5), rows())


def frozen_trunk() -> Training:
    model = pretrained(mlp(3), rows(only=lambda y: y < 5))
    model[-1] = nn.Linear(64, 10)
    model[:-1].requires_grad_(False)
    return plain(model, Adam(model[-1].parameters(), 3e-3), rows())


def lora() -> Training:
    model = pretrained(mlp(3), rows(only=lambda y: y < 5))
    model.requires_grad_(False)
    for i in (0, 2, 4):
        model[i] = Lora(model[i])
    model[-1] = nn.Linear(64, 10)
    return plain(model, AdamW([p for p in model.parameters() if p.requires_grad], 2e-3), rows())


def accumulated() -> Training:
    model = ConvNet()
    return plain(model, AdamW(model.parameters(), 2e-3), rows(size=16, shape=PICTURES), accumulate=4)


def mixed_precision() -> Training:
    model = PatchFormer(depth=3)
    return plain(model, AdamW(model.parameters(), 1e-3), rows(shape=TOKENS), autocast=True)


def regression() -> Training:
    model = mlp(2, inputs=10, outputs=1)
    batch = rows("diabetes")
    mean, std = 152.0, 77.0
    return plain(
        model, Adam(model.parameters(), 3e-3), batch, lambda o, y: functional.mse_loss(o[:, 0], (y - mean) / std)
    )


def autoencoder() -> Training:
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 8), nn.Tanh(), nn.Linear(8, 32), nn.Tanh())
    model.append(nn.Linear(32, 64))

    def batch(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        x, _ = rows()(n)
        return x, x

    return plain(model, Adam(model.parameters(), 3e-3), batch, functional.mse_loss)


def adversarial() -> Training:
    """A generator and a discriminator in one module, an optimizer each."""
    model = nn.ModuleDict({"maker": mlp(2, inputs=16, outputs=64), "judge": mlp(2, act=nn.LeakyReLU, outputs=1)})
    maker, judge = (Adam(model[k].parameters(), 1e-3, betas=(0.5, 0.999)) for k in ("maker", "judge"))
    batch = rows()

    def body(n: int) -> torch.Tensor:
        x, _ = batch(n)
        made = model["maker"](torch.randn(len(x), 16))
        judge.zero_grad()
        loss = (
            functional.softplus(-model["judge"](x)).mean() + functional.softplus(model["judge"](made.detach())).mean()
        )
        loss.backward()
        judge.step()
        maker.zero_grad()
        functional.softplus(-model["judge"](made)).mean().backward()
        maker.step()
        return loss

    return Training(model=model, optimizers=[judge, maker], body=body)


def small_batches() -> Training:
    model = mlp(2)
    return plain(model, SGD(model.parameters(), 0.02), rows(size=8))


def slow_lstm() -> Training:
    model = Recurrent()
    return plain(model, Adam(model.parameters(), 1e-3), rows(shape=TOKENS))


def slow_conv() -> Training:
    model = ConvNet(norm=False)
    return plain(model, SGD(model.parameters(), 0.01, momentum=0.9), rows(shape=PICTURES))


def slow_adam() -> Training:
    model = mlp(3)
    return plain(model, Adam(model.parameters(), 1e-4), rows())


def slow_deep() -> Training:
    model = mlp(5)
    return plain(model, Adam(model.parameters(), 1e-3), rows())


class Bags(nn.Module):
    """A table of 20,000 rows, of which a batch reads a few hundred."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.table, self.head = nn.EmbeddingBag(20_000, 32), mlp(1, inputs=32, outputs=classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(x))


def few_rows() -> Training:
    model = Bags(vocabulary())
    return plain(model, Adam(model.parameters(), 3e-3), ngrams())


RUNS = {
    "MLP, Adam": relu_adam,
    "MLP of 8 GELU and LayerNorm, AdamW": deep_gelu,
    "tanh MLP, SGD": tanh_sgd,
    "MLP, SGD with momentum": momentum,
    "LayerNorm MLP, AdamW, warm-up 20": warm_up,
    "CNN with batch norm, SGD with momentum": conv_batch_norm,
    "CNN without norm, Adam": conv_adam,
    "ResNet, AdamW, cosine": resnet_cosine,
    "residual, last maps zero, Adam": zero_last,
    "residual, LayerScale 1e-4, AdamW": layer_scale,
    "vision transformer, AdamW, warm-up 30": vision_transformer,
    "LSTM over rows, Adam, clipped": lstm,
    "GRU over rows, SGD with momentum, clipped": gru_sgd,
    "GPT, tied, AdamW, warm-up 10, clipped": gpt_tied,
    "GPT, untied, Adam": gpt_untied,
    "character LSTM, Adam": text_lstm,
    "fine-tuning with a new head": fine_tuning,
    "fine-tuning on the same data": fine_tuning_whole,
    "frozen trunk, new head": frozen_trunk,
    "LoRA with a new head": lora,
    "CNN, accumulation of 4": accumulated,
    "vision transformer, bfloat16 autocast": mixed_precision,
    "regression of diabetes": regression,
    "autoencoder": autoencoder,
    "GAN, two optimizers": adversarial,
    "batches of 8, SGD": small_batches,
    "table of which few rows are read": few_rows,
    "LSTM over rows, Adam at 1e-3": slow_lstm,
    "CNN without norm, momentum at 0.01": slow_conv,
    "MLP, Adam at 1e-4": slow_adam,
    "MLP of 5, Adam": slow_deep,
}
