"""What the callbacks share: their settings, a base class from a library that may be absent, a Lightning step."""

from __future__ import annotations

import copy
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.errors import ArgumentError, MissingDependencyError
from fanin.rules.config import Config, load_config
from fanin.rules.finding import Severity

if TYPE_CHECKING:
    from fanin.watching.first_batch import FirstBatch

__all__ = [
    "CheckSettings",
    "InitSettings",
    "WatchSettings",
    "as_model",
    "base_of",
    "first_of",
    "loss_of",
    "refuse_trained",
    "run_step",
]


class CheckSettings:
    """Settings of a callback that checks the first batch.

    Args:
        fail_on: severity of a finding that stops training before the first step; None never stops it.
        out: a file for the report; its ending gives the format.

    Attributes:
        first: the check of the first batch; None before training, and where a run is resumed.
    """

    def __init__(self, fail_on: Severity | None = None, out: str | Path | None = None) -> None:
        super().__init__()
        self.fail_on: Severity | None = fail_on
        self.out: str | Path | None = out
        self.first: FirstBatch | None = None

    def release(self) -> None:
        """Leave no hook."""
        if self.first is not None:
            self.first.remove()


class WatchSettings:
    """Settings of a callback that checks the first batch and watches the first steps.

    Args:
        steps: how many steps to watch.
        **settings: as `fanin.watch` takes them: out, check, live, fail_on, config.

    Attributes:
        watched: the watch with its report; None before training, and where a run is resumed.
    """

    def __init__(self, steps: int = 100, **settings: Any) -> None:
        super().__init__()
        self.steps: int = steps
        self.settings: dict[str, Any] = settings
        self.watched: Any = None  # a Watch; with Keras a KerasWatch

    def begin(self, model: Any, optimizer: Any, **changes: Any) -> None:
        """Watch a model and what trains it."""
        from fanin.watching.watcher import watch

        self.watched = watch(model, optimizer, steps=self.steps, **{**self.settings, **changes})

    def tell(self, output: Any) -> None:
        """Tell the loss in what a training_step gave."""
        if self.watched is not None:
            self.watched.step(loss=loss_of(output))

    def release(self) -> None:
        """Leave no hook."""
        if self.watched is not None:
            self.watched.close()


class InitSettings:
    """Settings of a callback that starts a model by `fanin.init_`.

    Args:
        recipe: as `fanin.init_` takes it.
        seed: of the start.
        force: start a model anew that was loaded from trained weights.
        inputs: what the model is called with; None: what its library says of them.
    """

    def __init__(self, recipe: str = "auto", seed: int = 0, *, force: bool = False, inputs: Any = None) -> None:
        super().__init__()
        self.recipe: str = recipe
        self.seed: int = seed
        self.force: bool = force
        self.inputs: Any = inputs

    def start(self, model: Any, inputs: Any = None) -> Any:
        """Start a model.

        Returns:
            The model.

        Raises:
            ArgumentError: it was loaded from trained weights.
        """
        from fanin.planning.initialise import init_

        refuse_trained(model, self.force)
        init_(model, self.inputs if self.inputs is not None else inputs, recipe=self.recipe, seed=self.seed)
        return model


@dataclass(frozen=True)
class StepOutput:
    """What a training_step gives, as a model gives its loss."""

    loss: Any


def base_of(library: str, name: str, extra: str) -> Any:
    """A class of a library; where the library cannot be imported, a class that says why when it is used.

    Args:
        library: module to import.
        name: of the class in it.
        extra: of fanin that installs the library.

    Example:
        >>> base_of("no_such_library", "Callback", "lightning")()
        Traceback (most recent call last):
        ...
        fanin.errors.MissingDependencyError: fanin.integrations needs no_such_library, ... No module named ...
    """
    try:
        return getattr(importlib.import_module(library), name)
    except (ImportError, RuntimeError) as error:  # transformers turns errors of its own imports into RuntimeError
        return _missing(library, extra, error)


def _missing(library: str, extra: str, reason: Exception) -> type:
    def refuse(cls: type, *args: Any, **kwargs: Any) -> Any:
        error = MissingDependencyError.of(library, extra=extra, needed_for="fanin.integrations")
        raise MissingDependencyError(f"{error} The import ended with: {reason}") from reason

    return type("Missing", (), {"__new__": refuse})


def as_model(module: Any) -> Any:
    """A Lightning module whose forward is its training_step, over the same parameters; it logs nothing.

    Raises:
        ArgumentError: the module uses manual optimization.
    """
    if not module.automatic_optimization:
        raise ArgumentError(
            f"{type(module).__name__} uses manual optimization (automatic_optimization = False): its training_step "
            "moves the weights, so it cannot be run to measure. Use fanin.watch(model, optimizer) inside it."
        )

    def nothing(self: Any, *args: Any, **kwargs: Any) -> None:
        """Log nothing."""

    def forward(self: Any, *args: Any) -> Any:
        return StepOutput(loss_of(self.training_step(*args)))

    view = copy.copy(module)
    kind = type(module)
    view.__class__ = type(kind.__name__, (kind,), {"forward": forward, "log": nothing, "log_dict": nothing})
    return view


def first_of(
    trainer: Any,
    module: Any,
    *,
    fail_on: Severity | None = None,
    out: str | Path | None = None,
    config: str | Path | Config | None = None,
    **_: Any,
) -> FirstBatch:
    """The check of a Lightning module's first training_step, which `run_step` makes; settings as for `fanin.watch`.

    Raises:
        ArgumentError: the module uses manual optimization.
    """
    from fanin.watching.first_batch import FirstBatch

    settings = config if isinstance(config, Config) else load_config(config)
    optimizer = next(iter(trainer.optimizers), None)
    return FirstBatch(as_model(module), optimizer, config=settings, fail_on=fail_on, out=out)


def run_step(first: FirstBatch, trainer: Any, module: Any, batch: Any, place: int) -> None:
    """Check a Lightning module on a batch, in the precision that it trains in.

    Raises:
        CheckFailedError: something was found at or above `fail_on`.
    """
    with trainer.precision_plugin.train_step_context():
        first.run(as_model(module), (batch, place))


def loss_of(output: Any) -> Any:
    """The loss in what a training_step gives: itself, or the entry "loss"."""
    return output["loss"] if isinstance(output, dict) else output


def refuse_trained(model: Any, force: bool) -> None:
    """Refuse a model that was loaded from trained weights.

    Raises:
        ArgumentError: its configuration names what it was loaded from, and `force` is False.
    """
    name = getattr(getattr(model, "config", None), "_name_or_path", "")
    if name and not force:
        raise ArgumentError(
            f"{type(model).__name__} was loaded from '{name}', and a new start would replace its trained weights. Make "
            "the model from its configuration, or pass force=True."
        )
