"""Callbacks for `model.fit` of Keras: start a model, check its first batch, watch its first steps."""

from __future__ import annotations

from typing import Any

from fanin.integrations.base import CheckSettings, InitSettings, WatchSettings, base_of
from fanin.integrations.keras.given import made_up_inputs
from fanin.integrations.keras.loop import FirstStep, batch_loss, begins, watch_arrays

__all__ = ["CheckCallback", "InitCallback", "WatchCallback"]

_Base: Any = base_of("keras.callbacks", "Callback", "keras")


class CheckCallback(CheckSettings, _Base):  # type: ignore[misc]
    """Checks the first batch that `fit` trains on, on Keras' torch backend; a run that goes on is not checked.

    Args:
        fail_on: severity of a finding that stops training before the first step; None never stops it.
        out: a file for the report; its ending gives the format.
    """

    def on_train_begin(self, logs: Any = None) -> None:
        """Wait for the first step."""
        if begins(self.model):
            self.step = FirstStep(self.model, fail_on=self.fail_on, out=self.out)
            self.first = self.step.first

    def on_train_end(self, logs: Any = None) -> None:
        """Leave nothing on the model."""
        if self.first is not None:
            self.step.remove()


class WatchCallback(WatchSettings, _Base):  # type: ignore[misc]
    """Watches the first steps on every backend; on the torch backend it checks the first batch too.

    Args:
        steps: how many steps to watch.
        **settings: as `fanin.watch` takes them: out, check, live, fail_on, config.
    """

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin to watch."""
        if begins(self.model):
            self.watched = watch_arrays(self.model, self.steps, **self.settings)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Look at the weights."""
        if self.watched is not None and self.watched.active:
            self.watched.before()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Look at the weights, and tell the loss."""
        self.mean, loss = batch_loss(batch, logs, getattr(self, "mean", 0.0))
        if self.watched is not None and self.watched.active:
            self.watched.after(loss)

    def on_train_end(self, logs: Any = None) -> None:
        """Leave nothing on the model."""
        self.release()


class InitCallback(InitSettings, _Base):  # type: ignore[misc]
    """Starts the model by `fanin.init_` when training begins; a run that goes on keeps its weights.

    Args:
        recipe: as `fanin.init_` takes it.
        seed: as `fanin.init_` takes it.
        force: start a model anew that was trained before.
        inputs: what the model is called with; None: made up from `model.inputs`.
    """

    def on_train_begin(self, logs: Any = None) -> None:
        """Start the model."""
        if self.force or begins(self.model):
            self.start(self.model, made_up_inputs(self.model) if self.inputs is None else None)
