"""Pre-training without labels: one layer at a time, as restricted Boltzmann machines or denoising autoencoders.

Both write the weights and biases of a multilayer perceptron's hidden layers and return the number of updates they
have spent, so that `fanin.lab.compare` can take them from the run's budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fanin import initializers
from fanin.errors import ArgumentError
from fanin.lab.starts import draw_weights_
from fanin.lab.training import batches
from fanin.streams.keys import key

__all__ = ["autoencoder_pretrain_", "rbm_pretrain_"]


def _hidden_layers(model: nn.Module) -> list[nn.Linear]:
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)][:-1]
    if not layers:
        raise ArgumentError("pre-training needs a multilayer perceptron with at least one hidden layer")
    return layers


def _inputs(x: Any, *, size: int, seed: int) -> Iterator[Tensor]:
    return (batch for batch, _ in batches(x, x[:, :1], size=size, seed=seed))


def rbm_pretrain_(
    model: nn.Module, seed: int, *, x: Any, steps_per_layer: int = 200, lr: float = 0.05, batch_size: int = 64
) -> int:
    """Greedy contrastive divergence (CD-1), layer by layer from the input; the output layer keeps its own law.

    Each hidden layer is the weight of a machine with Bernoulli units: h ~ sigma(W v + b), v' = sigma(W^T h + a); the
    update is lr (h v^T - h' v'^T) / batch. Weights begin as N(0, 0.01^2), biases as 0. The first machine reads x scaled
    to [0, 1] as probabilities, the next ones the hidden probabilities below.

    Args:
        model: a multilayer perceptron of logistic units, changed in place.
        seed: of weights, batches and samples.
        x: inputs in [0, 1], shape (n, features).
        steps_per_layer: updates spent on each hidden layer.
        lr: learning rate of the machine.
        batch_size: samples per update.

    Returns:
        Updates spent.

    Source: Hinton 2002 (contrastive divergence); Hinton, Osindero, Teh 2006 (greedy layers); Hinton 2010, "A practical
    guide to training restricted Boltzmann machines", section 8 (N(0, 0.01^2)).
    """
    draw_weights_(model, initializers.glorot_uniform(), seed=seed)
    sampler = torch.Generator().manual_seed(seed)
    below: Callable[[Tensor], Tensor] = _same
    layers = _hidden_layers(model)
    with torch.no_grad():
        for i, layer in enumerate(layers):
            initializers.Normal(std=0.01).fill_(layer.weight, key=key(seed, f"rbm.{i}.weight"))
            visible = torch.zeros(layer.in_features)
            for _, batch in zip(range(steps_per_layer), _inputs(x, size=batch_size, seed=seed), strict=False):
                _contrast(layer, visible, below(batch), lr=lr, sampler=sampler)
            below = _above(below, layer, torch.sigmoid)
    return steps_per_layer * len(layers)


def _same(x: Tensor) -> Tensor:
    return x


def _above(
    below: Callable[[Tensor], Tensor], layer: nn.Linear, activation: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    return lambda x: activation(layer(below(x)))


def _contrast(layer: nn.Linear, visible: Tensor, v0: Tensor, *, lr: float, sampler: torch.Generator) -> None:
    """One CD-1 update of a layer's weight and bias and of the machine's visible bias, in place."""
    h0 = torch.sigmoid(layer(v0))
    drawn = torch.bernoulli(h0, generator=sampler)
    v1 = torch.sigmoid(drawn @ layer.weight + visible)
    h1 = torch.sigmoid(layer(v1))
    step = lr / len(v0)
    layer.weight.add_(h0.T @ v0 - h1.T @ v1, alpha=step)
    layer.bias.add_((h0 - h1).sum(dim=0), alpha=step)
    visible.add_((v0 - v1).sum(dim=0), alpha=step)


def autoencoder_pretrain_(
    model: nn.Module,
    seed: int,
    *,
    x: Any,
    activation: Callable[[Tensor], Tensor] = torch.sigmoid,
    corruption: float = 0.25,
    steps_per_layer: int = 200,
    lr: float = 1e-3,
    batch_size: int = 64,
) -> int:
    """Greedy denoising autoencoders, layer by layer from the input; the output layer keeps its own law.

    Each hidden layer learns to give its input back through a linear decoder, from a copy in which a share
    `corruption` of the entries is set to zero (0: a plain autoencoder); Adam on the mean squared error.

    Args:
        model: a multilayer perceptron, changed in place.
        seed: of weights, batches and corruption.
        x: inputs, shape (n, features).
        activation: the one of the hidden layers.
        corruption: share of entries set to zero, 0 <= corruption < 1.
        steps_per_layer: updates spent on each hidden layer.
        lr: learning rate.
        batch_size: samples per update.

    Returns:
        Updates spent.

    Source: Bengio, Lamblin, Popovici, Larochelle 2007 (greedy autoencoders); Vincent, Larochelle, Bengio, Manzagol 2008
    (denoising).
    """
    if not 0.0 <= corruption < 1.0:
        raise ArgumentError(f"corruption is a share of the inputs, 0 <= corruption < 1; got {corruption}")
    draw_weights_(model, initializers.glorot_uniform(), seed=seed)
    sampler = torch.Generator().manual_seed(seed)
    below: Callable[[Tensor], Tensor] = _same
    layers = _hidden_layers(model)
    for layer in layers:
        decoder = nn.Linear(layer.out_features, layer.in_features)
        with torch.no_grad():
            decoder.weight.copy_(layer.weight.T)
            decoder.bias.zero_()
        optimizer = torch.optim.Adam([*layer.parameters(), *decoder.parameters()], lr=lr)
        for _, batch in zip(range(steps_per_layer), _inputs(x, size=batch_size, seed=seed), strict=False):
            with torch.no_grad():
                clean = below(batch)
                kept = torch.rand(clean.shape, generator=sampler) >= corruption
            optimizer.zero_grad(set_to_none=True)
            restored = decoder(activation(layer(clean * kept)))
            (restored - clean).square().mean().backward()
            optimizer.step()
        below = _above(below, layer, activation)
    for parameter in model.parameters():
        parameter.grad = None
    return steps_per_layer * len(layers)
