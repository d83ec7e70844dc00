"""Callbacks for the Trainer of transformers: start a model, check its first batch, watch its first steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fanin.integrations.base import CheckSettings, InitSettings, WatchSettings, base_of
from fanin.integrations.torch import check_first_batch

__all__ = ["CheckCallback", "InitCallback", "WatchCallback"]

_Base: Any = base_of("transformers", "TrainerCallback", "transformers")


class CheckCallback(CheckSettings, _Base):  # type: ignore[misc]
    """Checks the first batch of a training run; a run that is resumed is not checked.

    Args:
        fail_on: severity of a finding that stops training before the first step; None never stops it.
        out: a file for the report; its ending gives the format.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Wait for the first forward."""
        if state.global_step == 0:
            self.first = check_first_batch(kwargs["model"], kwargs.get("optimizer"), fail_on=self.fail_on, out=self.out)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave no hook."""
        self.release()


class WatchCallback(WatchSettings, _Base):  # type: ignore[misc]
    """Checks the first batch and watches the first steps; a run that is resumed is not watched.

    Args:
        steps: how many steps to watch.
        **settings: as `fanin.watch` takes them: out, check, live, fail_on, config.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to watch."""
        if state.global_step == 0:
            self.begin(kwargs["model"], kwargs["optimizer"])

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave no hook."""
        self.release()


class InitCallback(InitSettings, _Base):  # type: ignore[misc]
    """Starts the model by `fanin.init_` when the Trainer is made; a resumed run loads its weights over it.

    With `model_init=` the Trainer makes the model again: pass `InitCallback(...).wrap(model_init)` to it instead.

    Args:
        recipe: as `fanin.init_` takes it.
        seed: as `fanin.init_` takes it.
        force: start a model anew that was loaded from trained weights.
        inputs: what the model is called with; None: its own dummy inputs.
    """

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the model."""
        self.start(kwargs["model"])

    def wrap(self, model_init: Callable[..., Any]) -> Callable[..., Any]:
        """A model_init whose models are started."""
        return lambda *trial: self.start(model_init(*trial))
