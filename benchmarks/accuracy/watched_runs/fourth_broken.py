"""The broken runs of the fourth held set: written after the rules were settled, before any of these was watched."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import LambdaLR, LinearLR

from benchmarks.accuracy.watched_runs.fourth_healthy import padded, pairwise, second_order, triplet, two_views
from benchmarks.accuracy.watched_runs.fourth_models import (
    Padded,
    actor_critic,
    critic_pair,
    denoised,
    own_targets,
    policy,
    q_learning,
)
from benchmarks.accuracy.watched_runs.held_models import Dense, Mixer
from benchmarks.accuracy.watched_runs.loop import Training, characters, plain, pretrained, rows, vocabulary, warmed
from benchmarks.accuracy.watched_runs.models import ConvNet, Gpt, Lora, PatchFormer, Recurrent, Residual, mlp
from benchmarks.accuracy.watched_runs.second_models import Decoder
from benchmarks.accuracy.watched_runs.third_broken import changed
from benchmarks.accuracy.watched_runs.third_healthy import PICTURES, TOKENS, of

__all__ = ["RUNS"]


def tuned(kind: Callable[..., Any], rate: float) -> Training:
    """A trained transformer, tuned on the digits that it was trained on."""
    return of(pretrained(PatchFormer(), rows(shape=TOKENS), 200), kind, rate, rows(shape=TOKENS))


def pairs_left_out() -> Training:
    """The optimizer was made before the low-rank pairs were put in."""
    model = pretrained(mlp(3, 96), rows(), 150)
    optimizer = AdamW(model.parameters(), 5e-3)
    model.requires_grad_(False)
    for i in (0, 2, 4):
        model[i] = Lora(model[i], 2)
    return plain(model, optimizer, rows(change=lambda x: x.flip(1)))


def cleared_too_late() -> Training:
    """zero_grad between backward and step."""
    model = ConvNet()
    optimizer, batch = Adam(model.parameters(), 1e-3), rows(shape=PICTURES)

    def body(n: int) -> torch.Tensor:
        x, y = batch(n)
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()
        return loss.detach()

    return Training(model=model, optimizers=optimizer, body=body)


def rounded_away() -> Training:
    """Weights in bfloat16, whose eight bits are too few for steps of this size."""
    model = mlp(3, 64, nn.GELU).bfloat16()
    return of(model, SGD, 1e-4, rows(change=lambda x: x.bfloat16()))


def unscaled_half() -> Training:
    """The whole model in float16, and a loss that is multiplied without being divided."""
    model = mlp(3, 64, nn.GELU).half()
    return of(model, SGD, 0.01, rows(change=lambda x: x.half()), times=65536.0)


def schedule_never_stepped() -> Training:
    """A warm-up from a ten-thousandth whose scheduler is never called."""
    model = Mixer()
    optimizer = AdamW(model.parameters(), 2e-3)
    LinearLR(optimizer, 1e-4, total_iters=100)
    return plain(model, optimizer, rows(shape=TOKENS))


def down_in_five() -> Training:
    """A linear decay whose length was told in epochs."""
    model = Residual()
    optimizer = AdamW(model.parameters(), 2e-3)
    return plain(model, optimizer, rows(), scheduler=LinearLR(optimizer, 1.0, 1e-6, 5))


def decayed_away() -> Training:
    """A decay that takes two thirds of each weight in every step."""
    model = Mixer()
    return plain(model, AdamW(model.parameters(), 2e-3, weight_decay=330.0), rows(shape=TOKENS))


def far_targets() -> Training:
    """A squared error of targets around 1e5."""

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (output[:, 0] - 1e5 * (1 + y.float().view(-1))).square().mean()

    return of(mlp(2, 32, inputs=10, outputs=1), Adam, 1e-3, rows("diabetes", 32), loss)


def maker_never_cleared() -> Training:
    """A pair of networks, of which only the judge clears its gradients."""
    maker, judge = mlp(2, 64, inputs=16, outputs=64), mlp(2, 64, outputs=1)
    first, second = Adam(maker.parameters(), 1e-3), Adam(judge.parameters(), 1e-3)
    batch = rows()

    def body(n: int) -> torch.Tensor:
        x, _ = batch(n)
        made = maker(torch.randn(len(x), 16))
        loss = functional.softplus(-judge(made)).mean()
        loss.backward()
        first.step()
        second.zero_grad()
        (functional.softplus(-judge(x)) + functional.softplus(judge(made.detach()))).mean().backward()
        second.step()
        return loss.detach()

    return Training(model=nn.ModuleList([maker, judge]), optimizers=[first, second], body=body)


def pieces_without_end() -> Training:
    """The state of a recurrent network is squared at every step and grows without bound."""
    model = Recurrent(nn.RNN)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(8)
    return of(model, Adam, 1e-3, rows(shape=TOKENS))


def empty_texts() -> Training:
    """Some texts are padding alone, and an average over no characters is none."""
    text = padded()

    def batch(n: int) -> Any:
        x, y = text(n)
        x[0] = 0
        return x, y

    return of(Padded(vocabulary()), AdamW, 2e-3, batch)


def frozen_by_mistake() -> Training:
    """All but the last norm is frozen, and its rate is that of the whole network."""
    model = ConvNet().requires_grad_(False)
    for layer in model.body:
        if isinstance(layer, nn.BatchNorm2d):
            layer.requires_grad_(True)
    return of(model, AdamW, 1e-7, rows(shape=PICTURES))


def table_of_large_numbers() -> Training:
    model = Gpt(vocabulary(), tied=False)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.weight.mul_(1000)
    return of(model, SGD, 0.1, characters())


def wrong_axis() -> Training:
    """Targets are those of the batch before."""
    batch = rows()
    return of(mlp(3), Adam, 1e-3, lambda n: (batch(n)[0], batch(n + 1)[1]))


def growing() -> Training:
    model = Dense()
    optimizer = SGD(model.parameters(), 0.05)
    grows = LambdaLR(optimizer, lambda n: 1.5 ** min(n, 40))
    return plain(model, optimizer, rows(shape=PICTURES), scheduler=grows)


def maps() -> nn.Module:
    """Four matrices and nothing else, as Muon takes them."""
    sizes = [64, 64, 64, 64, 10]
    layers = (nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(sizes))
    return nn.Sequential(*itertools.chain.from_iterable((layer, nn.GELU()) for layer in layers))[:-1]


RUNS: dict[str, Callable[[], Training]] = {
    "PPO, Adam at 0.3": lambda: policy(Adam, 0.3, clipped=True),
    "REINFORCE, Adam at 1e-8": lambda: policy(Adam, 1e-8, clipped=False),
    "actor and critic, Adam at 0.5": lambda: actor_critic(Adam, 0.5),
    "Q-learning, Adam at 0.3": lambda: q_learning(Adam, 0.3),
    "NT-Xent, SGD at 300": lambda: of(ConvNet(), SGD, 300.0, two_views(), pairwise),
    "triplets, Adam at 1e-8": lambda: of(mlp(2, 64, outputs=16), Adam, 1e-8, rows(), triplet),
    "the teacher is trained in place of the student": lambda: own_targets(1e-3, wrong=True),
    "Wasserstein pair, judge at 0.5": lambda: critic_pair(5e-4, 0.5),
    "denoiser, warm-up 15 to 0.2": lambda: denoised(AdamW, 0.2, lambda o: warmed(o, 15), 15),
    "L-BFGS, rate 300": lambda: second_order(300.0),
    "tuned transformer, AdamW at 0.1": lambda: tuned(AdamW, 0.1),
    "tuned transformer, SGD at 1e-9": lambda: tuned(SGD, 1e-9),
    "low-rank pairs left out of the optimizer": pairs_left_out,
    "gradients cleared before the step": cleared_too_late,
    "bfloat16 weights, steps rounded away": rounded_away,
    "float16, loss times 65,536": unscaled_half,
    "scheduler of the warm-up never called": schedule_never_stepped,
    "decay to zero in five steps": down_in_five,
    "decay of two thirds a step": decayed_away,
    "targets around 1e5": far_targets,
    "pair, the maker's gradients never cleared": maker_never_cleared,
    "RNN, all weights times 8": pieces_without_end,
    "texts of padding alone": empty_texts,
    "only norms at 1e-7": frozen_by_mistake,
    "table times 1000, GPT": table_of_large_numbers,
    "targets of the batch before": wrong_axis,
    "Muon at 10": lambda: of(maps(), lambda p, r: torch.optim.Muon(list(p), r), 10.0, rows()),
    "DenseNet, rate times 1.5 every step": growing,
    "decoder, gradients never cleared, AdamW": lambda: of(
        Decoder(vocabulary()), AdamW, 3e-3, characters(), clear=False
    ),
    "MLP of 12, weights times 0.1": lambda: changed(
        mlp(12), lambda m: [p.mul_(0.1) for p in m.parameters()], 1e-3, rows()
    ),
}
