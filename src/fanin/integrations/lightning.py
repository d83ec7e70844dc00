"""Callbacks for Lightning: start a module, check its first batch, watch its first steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.integrations.base import as_model, base_of, loss_of, refuse_trained
from fanin.rules.config import load_config
from fanin.rules.finding import Severity

if TYPE_CHECKING:
    from fanin.watching.first_batch import FirstBatch
    from fanin.watching.watcher import Watch

__all__ = ["CheckCallback", "InitCallback", "WatchCallback"]

_Base: Any = base_of("pytorch_lightning", "Callback", "lightning")


class CheckCallback(_Base):  # type: ignore[misc]
    """Checks the first batch by its training_step; a run that is resumed is not checked.

    Args:
        fail_on: severity of a finding that stops training before the first step; None never stops it.
        out: a file for the report; its ending gives the format.
    """

    def __init__(self, fail_on: Severity | None = None, out: str | Path | None = None) -> None:
        self.fail_on, self.out = fail_on, out
        self.first: FirstBatch | None = None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Check the very first batch."""
        from fanin.watching.first_batch import FirstBatch

        if self.first is None and trainer.ckpt_path is None:
            model, optimizer = as_model(pl_module), next(iter(trainer.optimizers), None)
            self.first = FirstBatch(model, optimizer, config=load_config(), fail_on=self.fail_on, out=self.out)
            with trainer.precision_plugin.train_step_context():
                self.first.run(model, (batch, batch_idx))


class WatchCallback(_Base):  # type: ignore[misc]
    """Watches the first steps; a run that is resumed is not watched. Put a CheckCallback beside it for the first batch.

    Args:
        steps: how many steps to watch.
        **settings: as `fanin.watch` takes them: out, live, fail_on, config.
    """

    def __init__(self, steps: int = 100, **settings: Any) -> None:
        self.steps, self.settings = steps, settings
        self.watched: Watch | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to watch."""
        from fanin.watching.watcher import watch

        if trainer.ckpt_path is None:
            as_model(pl_module)  # manual optimization is refused
            given = {"check": False, **self.settings}
            self.watched = watch(pl_module, trainer.optimizers, steps=self.steps, **given)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Tell the loss."""
        if self.watched is not None:
            self.watched.step(loss=loss_of(outputs))

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leave no hook."""
        if self.watched is not None:
            self.watched.close()


class InitCallback(_Base):  # type: ignore[misc]
    """Starts the module by `fanin.init_` when it is fitted; a run that is resumed keeps what it loads.

    Args:
        recipe: as `fanin.init_` takes it.
        seed: of the start.
        force: start a model anew that was loaded from trained weights.
    """

    def __init__(self, recipe: str = "auto", seed: int = 0, *, force: bool = False) -> None:
        self.recipe, self.seed, self.force = recipe, seed, force

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the module, after configure_model has made its layers."""
        from fanin.planning.initialise import init_

        if trainer.ckpt_path is None:
            refuse_trained(pl_module, self.force)
            init_(pl_module, pl_module.example_input_array, recipe=self.recipe, seed=self.seed)
