"""The broken runs of the eighth held set: written when the seventh had been read, before any of these was watched."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR

from benchmarks.accuracy.watched_runs.eighth_healthy import gaussian, itself
from benchmarks.accuracy.watched_runs.eighth_models import (
    Bags,
    Codebook,
    Energy,
    Flow,
    HashGrid,
    Iterated,
    LinearAttention,
    Mixture,
    Process,
    Reverser,
    StateSpace,
    Tagger,
    bags,
    curves,
    kinds,
    of_curves,
    pendulums,
    quantiles,
    reversals,
    ring,
    tagged,
)
from benchmarks.accuracy.watched_runs.fifth_models import looped
from benchmarks.accuracy.watched_runs.held_models import Mixer, RowConv
from benchmarks.accuracy.watched_runs.loop import Training, characters, plain, rows, vocabulary
from benchmarks.accuracy.watched_runs.models import ConvNet, Gpt, PatchFormer, Recurrent, mlp
from benchmarks.accuracy.watched_runs.third_broken import changed
from benchmarks.accuracy.watched_runs.third_healthy import PICTURES, TOKENS, of

__all__ = ["RUNS"]


def decoder_alone() -> Training:
    """The optimizer was given the decoder of an autoencoder of codes."""
    model = Codebook()
    return plain(model, Adam(model.decode.parameters(), 2e-3), rows(), lambda output, _: output)


def squashed(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A softmax before the loss that applies its own, over each character."""
    return tagged(output.softmax(-1), y)


def mixed_in_batch() -> Training:
    """Inputs are shuffled after the targets were taken, in every batch."""
    batch = rows(size=96, shape=TOKENS)

    def stirred(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = batch(n)
        return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(n))], y

    return of(LinearAttention(), AdamW, 3e-3, stirred)


def made_new_each_epoch() -> Training:
    """All weights are drawn again every eighth step, as in a loop that resets its model for each fold."""
    model = RowConv()

    def after(n: int) -> None:
        if n % 8 == 7:
            for module in model.modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()

    return of(model, Adam, 3e-3, rows(shape=TOKENS), after=after)


def warm_down() -> Training:
    """A warm-up that counts the wrong way round: the rate is zero from the sixth step on."""
    model = Bags()
    optimizer = Adam(model.parameters(), 3e-3)
    schedule = LambdaLR(optimizer, lambda n: max(0.0, 1 - n / 5))
    return plain(model, optimizer, bags(), functional.binary_cross_entropy_with_logits, scheduler=schedule)


def halved_each_step() -> Training:
    """A rate that is halved in every step."""
    model = Recurrent(nn.GRU)
    optimizer = AdamW(model.parameters(), 3e-3)
    return plain(model, optimizer, rows(shape=TOKENS), scheduler=ExponentialLR(optimizer, 0.5))


def clipped_values() -> Training:
    """Each number of the gradient is cut at a millionth."""
    model, batch = ConvNet(), rows(shape=PICTURES)
    optimizer = SGD(model.parameters(), 0.05, momentum=0.9)

    def body(n: int) -> torch.Tensor:
        x, y = batch(n)
        value = functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_value_(model.parameters(), 1e-6)
        optimizer.step()
        return value.detach()

    return Training(model=model, optimizers=optimizer, body=body)


def spread_of_zero(output: tuple[torch.Tensor, ...], y: torch.Tensor) -> torch.Tensor:
    """Spreads that may be zero, and their logarithm."""
    shares, means, spreads = output
    spreads = torch.relu(spreads)
    each = -0.5 * ((y - means) / spreads).square() - spreads.log()
    return -(shares.log_softmax(1) + each).logsumexp(1).mean()


def one_sign(model: nn.Module) -> None:
    """Weights without a sign behind inputs that are not negative, and biases far below what they give."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.abs_()
            layer.bias.fill_(-20.0)


def summed(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A sum over all characters at the rate of a mean."""
    return functional.cross_entropy(output.transpose(1, 2), y, reduction="sum")


def minus_quantiles(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The loss with the wrong sign."""
    return -quantiles(output, y)


def taught_away() -> Training:
    """A divergence from a fixed distribution is maximised."""
    model, batch = mlp(2, 48), rows()

    def losses(n: int) -> torch.Tensor:
        x, y = batch(n)
        soft = 0.9 * functional.one_hot(y, 10) + 0.01
        return -functional.kl_div(model(x).log_softmax(1), soft, reduction="batchmean")

    return looped(model, Adam(model.parameters(), 2e-3), losses)


def own_teacher() -> Training:
    """The teacher of a distillation is the network itself."""
    model, batch = PatchFormer(), rows(shape=TOKENS)

    def losses(n: int) -> torch.Tensor:
        x, _ = batch(n)
        soft = (model(x) / 3).softmax(1).detach()
        return functional.kl_div((model(x) / 3).log_softmax(1), soft, reduction="batchmean")

    return looped(model, Adam(model.parameters(), 2e-3), losses)


def old_statistics() -> Training:
    """The running statistics of batch norms are used in training, and they are those of other data."""
    model = ConvNet()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.fill_(40.0)
            module.running_var.fill_(1e4)
            module.eval()
    return of(model, Adam, 1e-3, rows(shape=PICTURES))


def raw_targets(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Targets in thousandths of their unit."""
    return functional.mse_loss(output, 1e3 * y.float().view(-1, 1))


def same_sample(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An index is missing: every row of a batch is its first sample."""
    x, y = rows(shape=TOKENS)(n)
    return x[:1].expand_as(x), y


def one_code(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All characters are looked up under one code."""
    x, y = kinds()(n)
    return torch.zeros_like(x), y


def sharp(model: nn.Module) -> None:
    """Questions and keys thirty times too large."""
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            module.in_proj_weight[:64].mul_(30.0)


def deep_sum(blocks: int = 30) -> nn.Module:
    """Blocks beside a skip, without a norm and without a smaller last map."""

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.entry, self.head = nn.Linear(64, 64), nn.Linear(64, 10)
            self.maps = nn.ModuleList(nn.Linear(64, 64) for _ in range(blocks))
            for layer in self.maps:
                nn.init.normal_(layer.weight, std=(4 / 64) ** 0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.entry(x)
            for layer in self.maps:
                h = h + torch.relu(layer(h))
            return self.head(h)

    return Sum()


def unscaled_loss() -> Training:
    """The loss is multiplied by 65,536 for half precision, and nothing divides the gradients again."""
    return of(Iterated(), SGD, 0.05, rows(), times=65536.0)


def accumulated_sum() -> Training:
    """Sixteen parts of a batch are added up without a division, at a rate for their mean, and never cleared twice."""
    model, batch = Tagger(vocabulary()), kinds()
    optimizer = SGD(model.parameters(), 2.0, momentum=0.9)

    def body(n: int) -> torch.Tensor:
        total = torch.zeros(())
        optimizer.zero_grad()
        for part in range(16):
            x, y = batch(16 * n + part)
            value = tagged(model(x), y)
            value.backward()
            total = total + value.detach() / 16
        optimizer.step()
        return total

    return Training(model=model, optimizers=optimizer, body=body)


RUNS: dict[str, Callable[[], Training]] = {
    "tagger, Adam at 0.5": lambda: of(Tagger(vocabulary()), Adam, 0.5, kinds(), tagged),
    "flow from noise, AdamW at 0.3": lambda: itself(AdamW, Flow(), 0.3, rows(size=128)),
    "hashed grid, SGD at 300": lambda: of(HashGrid(), SGD, 300.0, ring(), functional.mse_loss),
    "energy of pendulums, RMSprop at 1": lambda: of(Energy(), RMSprop, 1.0, pendulums(), functional.mse_loss),
    "momentum of 0.999, SGD at 0.3": lambda: of(
        Mixer(), lambda p, r: SGD(p, r, momentum=0.999), 0.3, rows(shape=TOKENS)
    ),
    "loss times 65,536, SGD": unscaled_loss,
    "sixteen parts added up, momentum": accumulated_sum,
    "sum over characters, SGD at 0.5": lambda: of(
        Tagger(vocabulary()), lambda p, r: SGD(p, r, momentum=0.9), 0.5, kinds(), summed
    ),
    "curves from points, AdamW at 1e-7": lambda: of(Process(), AdamW, 1e-7, of_curves(), gaussian),
    "Adam with eps 100": lambda: of(StateSpace(), lambda p, r: Adam(p, r, eps=100.0), 3e-3, rows(shape=TOKENS)),
    "values clipped at a millionth": clipped_values,
    "warm-up the wrong way round": warm_down,
    "rate halved in every step": halved_each_step,
    "encoder cut off, rows backwards": lambda: of(Reverser(cut=True), AdamW, 3e-3, reversals(), tagged),
    "decoder of codes alone": decoder_alone,
    "softmax twice, tagger": lambda: of(Tagger(vocabulary()), Adam, 5e-3, kinds(), squashed),
    "inputs shuffled after targets": mixed_in_batch,
    "drawn again every eighth step": made_new_each_epoch,
    "logarithm of a spread of zero": lambda: of(Mixture(), Adam, 5e-3, curves(), spread_of_zero),
    "weights of one sign, biases of -20": lambda: changed(mlp(4, 64), one_sign, 1e-3, rows()),
    "quantiles, wrong sign": lambda: of(
        mlp(2, 32, inputs=10, outputs=3), AdamW, 3e-3, rows("diabetes", 64), minus_quantiles
    ),
    "divergence maximised": taught_away,
    "its own teacher": own_teacher,
    "gradients never cleared, flow": lambda: itself(
        lambda p, r: SGD(p, r, momentum=0.9), Flow(), 0.05, rows(size=128), clear=False
    ),
    "Adam with decay 1 in the gradient": lambda: of(
        StateSpace(), lambda p, r: Adam(p, r, weight_decay=1.0), 3e-3, rows(shape=TOKENS)
    ),
    "statistics of other data": old_statistics,
    "pixels up to 4,080, SGD": lambda: of(
        mlp(3, 64), lambda p, r: SGD(p, r, momentum=0.9), 0.01, rows(change=lambda x: 255 * x)
    ),
    "targets of thousands, Adam": lambda: of(
        mlp(2, 32, inputs=10, outputs=1), Adam, 1e-3, rows("diabetes", 64), raw_targets
    ),
    "one sample for all": lambda: of(PatchFormer(), AdamW, 1e-3, same_sample),
    "one code for all characters": lambda: of(Tagger(vocabulary()), Adam, 5e-3, one_code, tagged),
    "questions and keys times 30": lambda: changed(PatchFormer(), sharp, 1e-3, rows(shape=TOKENS)),
    "thirty sums without a norm": lambda: of(deep_sum(), Adam, 1e-3, rows()),
    "GPT, std 0.3 in all tables and maps": lambda: changed(
        Gpt(vocabulary()), lambda m: [p.normal_(0, 0.3) for p in m.parameters() if p.dim() > 1], 1e-3, characters()
    ),
}
