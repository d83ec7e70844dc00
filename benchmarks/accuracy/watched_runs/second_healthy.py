"""The healthy runs of the second held set: written after the first was read, before any of these was watched."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.optim import ASGD, SGD, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop
from torch.optim.lr_scheduler import OneCycleLR

from benchmarks.accuracy.watched_runs.held_models import PostNorm
from benchmarks.accuracy.watched_runs.loop import (
    Batch,
    Training,
    characters,
    plain,
    pretrained,
    rows,
    vocabulary,
    warmed,
)
from benchmarks.accuracy.watched_runs.models import ConvNet, Gpt, Lora, PatchFormer, Recurrent, ResidualConv, mlp
from benchmarks.accuracy.watched_runs.second_models import (
    Decoder,
    Highway,
    HourGlass,
    Pooled,
    Squeezed,
    TextConv,
    TwoTasks,
    Waves,
)
from fanin.lab.data import sample_image

__all__ = ["RUNS", "both", "colours", "pictures"]

PICTURES, TOKENS = (1, 8, 8), (8, 8)


def pictures(n: int) -> Batch:
    """Digits that are their own targets."""
    x, _ = rows(shape=PICTURES)(n)
    return x, x


def colours(n: int) -> Batch:
    """Places of a photograph in [-1, 1] and their colours."""
    image = torch.from_numpy(sample_image(32)).reshape(-1, 3)
    grid = torch.linspace(-1, 1, 32)
    chosen = torch.randint(1024, (256,), generator=torch.Generator().manual_seed(n))
    return torch.cartesian_prod(grid, grid)[chosen], image[chosen]


def both(output: dict[str, torch.Tensor], y: torch.Tensor) -> torch.Tensor:
    """The losses of two tasks."""
    return functional.cross_entropy(output["digit"], y) + output["picture"].square().mean()


def decoder() -> Training:
    model = Decoder(vocabulary())
    optimizer = AdamW(model.parameters(), 3e-3, betas=(0.9, 0.95), weight_decay=0.1)
    return plain(model, optimizer, characters(), scheduler=warmed(optimizer, 15), warmup=15, clip=1.0)


def gpt_of_two_sizes() -> Training:
    model = Gpt(vocabulary(), width=64, depth=3, tied=False)
    return plain(model, AdamW(model.parameters(), 2e-3), characters(), clip=1.0)


def highway() -> Training:
    model = Highway()
    return plain(model, NAdam(model.parameters(), 2e-3), rows())


def hour_glass() -> Training:
    model = HourGlass()
    return plain(model, Adam(model.parameters(), 3e-3), pictures, functional.mse_loss)


def pooled() -> Training:
    model = Pooled()
    return plain(model, AdamW(model.parameters(), 3e-3), rows())


def squeezed() -> Training:
    model = Squeezed()
    return plain(model, SGD(model.parameters(), 0.05, momentum=0.9), rows(shape=PICTURES))


def text_conv() -> Training:
    model = TextConv(vocabulary())
    return plain(model, RAdam(model.parameters(), 5e-3), characters())


def two_tasks() -> Training:
    model = TwoTasks()
    return plain(model, Adamax(model.parameters(), 3e-3), rows(), both)


def waves() -> Training:
    model = Waves()
    return plain(model, Adam(model.parameters(), 5e-4), colours, functional.mse_loss)


def one_cycle() -> Training:
    model = ResidualConv()
    optimizer = SGD(model.parameters(), 0.05, momentum=0.9)
    schedule = OneCycleLR(optimizer, max_lr=0.2, total_steps=150)
    return plain(model, optimizer, rows(shape=PICTURES), scheduler=schedule, warmup=45)


def averaged() -> Training:
    model = mlp(2, 96, nn.Softplus)
    return plain(model, ASGD(model.parameters(), 0.1), rows())


def tuned_recurrent() -> Training:
    """An LSTM of some digits, all of it tuned for the others."""
    model = pretrained(Recurrent(), rows(shape=TOKENS, only=lambda y: y < 6), 150)
    return plain(model, Adam(model.parameters(), 1e-3), rows(shape=TOKENS))


def tuned_post_norm() -> Training:
    model = pretrained(PostNorm(), rows(shape=TOKENS), 200, 1e-3)
    return plain(model, AdamW(model.parameters(), 5e-5), rows(shape=TOKENS))


def only_head() -> Training:
    model = pretrained(ConvNet(), rows(shape=PICTURES, only=lambda y: y % 2 == 0), 120)
    model.requires_grad_(False)
    model.head = nn.Linear(model.head.in_features, 10)
    return plain(model, SGD(model.head.parameters(), 0.05, momentum=0.9), rows(shape=PICTURES))


def tuned_biases() -> Training:
    """BitFit: only biases and norms learn to read inverted digits."""
    model = pretrained(PatchFormer(), rows(shape=TOKENS), 200).requires_grad_(False)
    trained = [p for p in model.parameters() if p.dim() == 1]
    for p in trained:
        p.requires_grad_(True)
    return plain(model, Adam(trained, 3e-3), rows(shape=TOKENS, change=lambda x: -x))


def low_rank_attention() -> Training:
    """Low-rank pairs in the feed-forward layers of a transformer, for digits with other names."""
    model = pretrained(PatchFormer(), rows(shape=TOKENS), 200).requires_grad_(False)
    for block in model.blocks:
        block.linear1, block.linear2 = Lora(block.linear1), Lora(block.linear2)
    model.head.requires_grad_(True)
    trained = [p for p in model.parameters() if p.requires_grad]
    batch = rows(shape=TOKENS)

    def renamed(n: int) -> Batch:
        x, y = batch(n)
        return x, (y + 3) % 10

    return plain(model, AdamW(trained, 3e-3), renamed)


def noisy_targets() -> Training:
    """A third of the labels is wrong."""
    model = ConvNet()

    def batch(n: int) -> Batch:
        x, y = rows(shape=PICTURES)(n)
        source = torch.Generator().manual_seed(n)
        wrong = torch.rand(y.shape, generator=source) < 0.33
        return x, torch.where(wrong, torch.randint(0, 10, y.shape, generator=source), y)

    return plain(model, Adam(model.parameters(), 2e-3), batch)


def one_batch() -> Training:
    """One batch, learned by heart."""
    model = mlp(3)
    return plain(model, Adam(model.parameters(), 1e-3), lambda n: rows()(0))


def float_sixteen_loss_scale() -> Training:
    """The loss is multiplied by 1024 and the gradient divided by it again."""
    model = mlp(3, norm=nn.LayerNorm)
    optimizer = AdamW(model.parameters(), 1e-3)
    for p in model.parameters():
        p.register_hook(lambda g: g / 1024)
    return plain(model, optimizer, rows(), times=1024.0)


def rms_prop() -> Training:
    model = Recurrent(nn.GRU)
    return plain(model, RMSprop(model.parameters(), 2e-3, momentum=0.5), rows(shape=TOKENS), clip=5.0)


def leaky_accumulated() -> Training:
    model = mlp(4, act=nn.LeakyReLU)
    return plain(model, SGD(model.parameters(), 0.1, momentum=0.9), rows(size=16), accumulate=8)


def kept_at_unit_norm() -> Training:
    """Rows of one matrix are brought back to their length after every step."""
    model = mlp(2, norm=nn.LayerNorm)
    length = model[0].weight.detach().norm(dim=1, keepdim=True)

    def after(n: int) -> None:
        with torch.no_grad():
            model[0].weight.mul_(length / model[0].weight.norm(dim=1, keepdim=True))

    return plain(model, Adam(model.parameters(), 1e-3), rows(), after=after)


RUNS = {
    "decoder with RMSNorm and gates, warm-up 15": decoder,
    "GPT of 3 layers, untied, AdamW": gpt_of_two_sizes,
    "highway network, NAdam": highway,
    "convolutional autoencoder with a skip": hour_glass,
    "set of pixels, attention pooling": pooled,
    "squeeze and excitation, momentum": squeezed,
    "dilated convolutions over text, RAdam": text_conv,
    "two tasks, Adamax": two_tasks,
    "sines, Adam": waves,
    "ResNet, one cycle": one_cycle,
    "softplus MLP, ASGD": averaged,
    "tuned LSTM": tuned_recurrent,
    "tuned transformer with norms behind": tuned_post_norm,
    "CNN, only the head": only_head,
    "only biases and norms": tuned_biases,
    "low-rank pairs in a transformer, other names": low_rank_attention,
    "a third of the labels wrong": noisy_targets,
    "one batch by heart": one_batch,
    "loss times 1024, gradient over it": float_sixteen_loss_scale,
    "GRU, RMSprop with momentum": rms_prop,
    "leaky MLP, accumulation of 8": leaky_accumulated,
    "rows kept at their length": kept_at_unit_norm,
}
