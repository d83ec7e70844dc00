"""Small Gaussians for restricted Boltzmann machines."""

from __future__ import annotations

from fanin.initializers.catalogue.normal import Normal

__all__ = ["rbm_gaussian"]


def rbm_gaussian(*, std: float = 0.01) -> Normal:
    """N(0, 0.01^2): weights of a restricted Boltzmann machine, which learns its scale by itself.

    Small enough for all hidden units to start near probability 1/2, random enough to differ. Hidden biases 0, visible
    biases log(p / (1 - p)). The published deep autoencoder code starts from std 0.1. Not for backpropagation through
    many layers: see `glorot_logistic`.

    Args:
        std: 0.01 (the guide) or 0.1 (the autoencoder code).

    Source: Hinton 2010, "A practical guide to training restricted Boltzmann machines" (UTML TR 2010-003, section 8);
    Hinton and Salakhutdinov 2006 (Science 313) for 0.1.

    Example:
        >>> str(rbm_gaussian())
        'Normal(std=0.01)'
    """
    return Normal(std=std)
