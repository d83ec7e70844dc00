"""The experiments that people learn from; one a file, one line each in the table."""

from __future__ import annotations

import importlib
from typing import cast

from fanin.errors import UnknownNameError, did_you_mean
from fanin.lab.experiments.base import Experiment, Outcome, Settings

__all__ = ["EXPERIMENTS", "Experiment", "Outcome", "Settings", "load", "run"]

# name on the command line -> (module, what it shows)
EXPERIMENTS: dict[str, tuple[str, str]] = {
    "three-scales": ("three_scales", "five ReLU layers: activations choked, right, exploding"),
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
    """Carry out the experiment of that name."""
    return load(name).run(settings or Settings())
