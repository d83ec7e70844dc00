"""Callbacks for Lightning: start a module, check its first batch, watch its first steps."""

from __future__ import annotations

from typing import Any

from fanin.integrations.base import (
    CheckSettings,
    InitSettings,
    WatchSettings,
    as_model,
    base_of,
    first_of,
    run_step,
)

__all__ = ["CheckCallback", "InitCallback", "WatchCallback"]

_Base: Any = base_of("pytorch_lightning", "Callback", "lightning")


class CheckCallback(CheckSettings, _Base):  # type: ignore[misc]
    """Checks the first batch by its training_step; a run that is resumed is not checked.

    Args:
        fail_on: severity of a finding that stops training before the first step; None never stops it.
        out: a file for the report; its ending gives the format.
    """

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Check the very first batch."""
        if self.first is None and trainer.ckpt_path is None:
            self.first = first_of(trainer, pl_module, fail_on=self.fail_on, out=self.out)
            run_step(self.first, trainer, pl_module, batch, batch_idx)


class WatchCallback(WatchSettings, _Base):  # type: ignore[misc]
    """Checks the first batch by its training_step and watches the first steps; a run that is resumed is not watched.

    Args:
        steps: how many steps to watch.
        **settings: as `fanin.watch` takes them: out, check, live, fail_on, config.
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to watch."""
        if trainer.ckpt_path is None:
            as_model(pl_module)  # manual optimization is refused
            self.begin(pl_module, trainer.optimizers, check=False)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Check the very first batch."""
        if self.watched is not None and self.watched.first is None and self.settings.get("check", True):
            self.watched.first = first_of(trainer, pl_module, **{**self.settings, "out": None})
            run_step(self.watched.first, trainer, pl_module, batch, batch_idx)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Tell the loss."""
        self.tell(outputs)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leave no hook."""
        self.release()


class InitCallback(InitSettings, _Base):  # type: ignore[misc]
    """Starts the module by `fanin.init_` when it is fitted; a run that is resumed keeps what it loads.

    Args:
        recipe: as `fanin.init_` takes it.
        seed: as `fanin.init_` takes it.
        force: start a module anew that was loaded from trained weights.
        inputs: what the module is called with; None: its `example_input_array`.
    """

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the module, after configure_model has made its layers."""
        if trainer.ckpt_path is None:
            self.start(pl_module, pl_module.example_input_array)
