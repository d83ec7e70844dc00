"""Callbacks for the Trainer of transformers: start a model, check its first batch, watch its first steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.integrations.base import base_of, refuse_trained
from fanin.integrations.torch import check_first_batch
from fanin.rules.finding import Severity

if TYPE_CHECKING:
    from fanin.watching.first_batch import FirstBatch
    from fanin.watching.watcher import Watch

__all__ = ["CheckCallback", "InitCallback", "WatchCallback"]

_Base: Any = base_of("transformers", "TrainerCallback", "transformers")


class CheckCallback(_Base):  # type: ignore[misc]
    """Checks the first batch of a training run; a run that is resumed is not checked.

    Args:
        fail_on: severity of a finding that stops training before the first step; None never stops it.
        out: a file for the report; its ending gives the format.
    """

    def __init__(self, fail_on: Severity | None = None, out: str | Path | None = None) -> None:
        self.fail_on, self.out = fail_on, out
        self.first: FirstBatch | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Wait for the first forward."""
        if state.global_step == 0:
            self.first = check_first_batch(kwargs["model"], kwargs.get("optimizer"), fail_on=self.fail_on, out=self.out)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave no hook."""
        if self.first is not None:
            self.first.remove()


class WatchCallback(_Base):  # type: ignore[misc]
    """Checks the first batch and watches the first steps; a run that is resumed is not watched.

    Args:
        steps: how many steps to watch.
        **settings: as `fanin.watch` takes them: out, check, live, fail_on, config.
    """

    def __init__(self, steps: int = 100, **settings: Any) -> None:
        self.steps, self.settings = steps, settings
        self.watched: Watch | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to watch."""
        from fanin.watching.watcher import watch

        if state.global_step == 0:
            self.watched = watch(kwargs["model"], kwargs["optimizer"], steps=self.steps, **self.settings)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave no hook."""
        if self.watched is not None:
            self.watched.close()


class InitCallback(_Base):  # type: ignore[misc]
    """Starts the model by `fanin.init_` when the Trainer is made; a resumed run loads its weights over it.

    With `model_init=` the Trainer makes the model again: pass `InitCallback(...).wrap(model_init)` to it instead.

    Args:
        recipe: as `fanin.init_` takes it.
        seed: of the start.
        force: start a model anew that was loaded from trained weights.
    """

    def __init__(self, recipe: str = "auto", seed: int = 0, *, force: bool = False) -> None:
        self.recipe, self.seed, self.force = recipe, seed, force

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the model."""
        self._start(kwargs["model"])

    def wrap(self, model_init: Callable[..., Any]) -> Callable[..., Any]:
        """A model_init whose models are started."""
        return lambda *trial: self._start(model_init(*trial))

    def _start(self, model: Any) -> Any:
        from fanin.planning.initialise import init_

        refuse_trained(model, self.force)
        init_(model, recipe=self.recipe, seed=self.seed)
        return model
