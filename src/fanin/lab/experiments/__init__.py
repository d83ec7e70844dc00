"""The experiments that people learn from; one a file, one line each in the table."""

from __future__ import annotations

import importlib
from typing import cast

from fanin.errors import UnknownNameError, did_you_mean
from fanin.lab.experiments.base import Experiment, Outcome, Settings

__all__ = ["EXPERIMENTS", "Experiment", "Outcome", "Settings", "load", "run"]

# name on the command line -> (module, what it shows)
EXPERIMENTS: dict[str, tuple[str, str]] = {
    "three-scales": ("three_scales", "five ReLU layers: activations vanish, keep their size, explode"),
    "one-third": ("one_third", "tanh under U(±1/√n) and Glorot: the per-layer factor 1/3 against 1"),
    "he-depth": ("he_depth", "22 and 30 ReLU layers: Glorot stalls where He trains"),
    "symmetry": ("symmetry", "zeros and constants: the number of distinct hidden units stays one"),
    "saturation": ("saturation", "logistic units: derivative, share of saturated units, the 1/√d and 4x rules"),
    "too-small": ("too_small", "N(0, 0.01²) by depth: gradients, and steps until the first layer moves"),
    "input-scale": ("input_scale", "raw, standardised and whitened inputs"),
    "batchnorm": ("batchnorm", "init std x depth x learning rate, with and without BatchNorm"),
    "pretraining": ("pretraining", "RBM and autoencoder pre-training against random starts at equal cost"),
    "distance": ("distance", "how far weights travel from init to trained, by init scale"),
    "first-steps": ("first_steps", "six runs, healthy and broken: distance from init over the first 100 steps"),
    "magic-number": ("magic_number", "final loss against one factor on every weight's std"),
    "calibrate": ("calibrate", "one forward pass brings a dead default start to life, and leaves auto as it is"),
    "transfer": ("transfer", "the best learning rate over widths: default, auto, muP, auto with groups"),
    "depth-transfer": ("depth_transfer", "the best learning rate over depths, with a factor on residual branches"),
    "isometry": ("isometry", "100 to 1000 tanh layers: orthogonal against Gaussian at criticality"),
}


def load(name: str) -> Experiment:
    """The experiment of that name.

    Example:
        >>> load("three-scales").TITLE
        'Too small, right, too large: one network at three scales'
    """
    if name not in EXPERIMENTS:
        raise UnknownNameError(f"there is no experiment {name!r}; {did_you_mean(name, EXPERIMENTS)}")
    return cast(Experiment, importlib.import_module(f"{__name__}.{EXPERIMENTS[name][0]}"))


def run(name: str, settings: Settings | None = None) -> Outcome:
    """Run the experiment of that name."""
    return load(name).run(settings or Settings())
