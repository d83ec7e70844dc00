"""What the callbacks do inside `model.fit` of Keras: look at its weights, and check what its first step is given."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fanin._version import __version__
from fanin.errors import ArgumentError
from fanin.measure.record import LossRecord, Measurements
from fanin.rules.base import Optimizer
from fanin.rules.config import Config, load_config
from fanin.rules.finding import Severity
from fanin.rules.result import CheckResult, Header
from fanin.watching.arrays import ArrayWatch, Followed
from fanin.watching.judging import because
from fanin.watching.sizes import ENTRIES

if TYPE_CHECKING:
    from fanin.watching.first_batch import FirstBatch

__all__ = ["FirstStep", "KerasWatch", "batch_loss", "begins", "watch_arrays"]

_ADAPTIVE = ("adam", "adagrad", "adadelta", "rmsprop", "lion", "adafactor", "ftrl", "lamb")
_OTHER_BACKEND = "the first batch is checked on Keras' torch backend alone (KERAS_BACKEND=torch); this one is {}"


def begins(model: Any) -> bool:
    """Whether the model has made no step with its optimizer yet."""
    return int(_number(model.optimizer.iterations)) == 0


def batch_loss(batch: int, logs: Mapping[str, Any] | None, mean_before: float) -> tuple[float, float | None]:
    """(mean loss of the epoch so far, loss of the batch), from the mean that Keras gives; batches count the same.

    Example:
        >>> batch_loss(1, {"loss": 1.5}, 2.0)
        (1.5, 1.0)
    """
    if not logs or "loss" not in logs:
        return mean_before, None
    mean = float(logs["loss"])
    return mean, mean * (batch + 1) - mean_before * batch if batch else mean


# ------------------------------------------------------------------ weights
class KerasWatch(ArrayWatch):
    """The first steps of `model.fit`.

    Attributes:
        step: what checks the first batch; None where that was not asked for, or is not possible.
    """

    step: FirstStep | None = None

    def close(self) -> None:
        """End the watch, and leave nothing on the model."""
        super().close()
        if self.step is not None:
            self.step.remove()


def watch_arrays(
    model: Any, steps: int, *, check: bool = True, config: str | Path | Config | None = None, **settings: Any
) -> KerasWatch:
    """Watch the matrices of a model that `fit` trains.

    Args:
        model: compiled and built.
        steps: how many steps to watch.
        check: whether to check the first batch.
        config: a pyproject.toml (or folder) to read [tool.fanin] from, or a `Config`.
        **settings: out, live and fail_on, as `fanin.watch` takes them.

    Raises:
        ArgumentError: several steps are one call of Keras, so that their weights are not seen.
    """
    _assert_single_steps(model)
    known = config if isinstance(config, Config) else load_config(config)
    variables, optimizer = _followed(model), _optimizer(model.optimizer)
    weights = [Followed(v.path, int(np.prod(v.shape[:-1]))) for v in variables]
    owner, header = weakref.ref(model), _header(model)
    step, reason = None, "it was not asked for"
    if check:
        step, reason = _first_step(model, fail_on=settings.get("fail_on"), config=known)
    rate = _Rate(model)

    def entries() -> list[Any]:
        sync = getattr(owner(), "jax_state_sync", None)  # on the JAX backend `fit` keeps the values elsewhere
        if sync is not None:
            sync()
        rate.read()
        return [_entries(v) for v in variables]

    watch = KerasWatch(
        weights,
        entries,
        rate,
        optimizer,
        steps=steps,
        config=known,
        first=lambda: _first_result(header, step, reason, known),
        **settings,
    )
    watch.step = step
    return watch


def _assert_single_steps(model: Any) -> None:
    for name, number in (
        ("steps_per_execution", getattr(model, "steps_per_execution", 1)),
        ("gradient_accumulation_steps", getattr(model.optimizer, "gradient_accumulation_steps", 1)),
    ):
        if (number or 1) != 1:
            raise ArgumentError(f"{name} is {number}: a batch is no step of its own then; watch with {name}=1")


def _followed(model: Any) -> list[Any]:
    """The matrices that are trained; embedding tables only where there is nothing else."""
    matrices = [v for v in model.trainable_variables if len(v.shape) >= 2]
    return [v for v in matrices if not v.path.endswith("/embeddings")] or matrices


def _entries(variable: Any) -> Any:
    import keras

    ops = keras.ops
    flat = ops.reshape(ops.stop_gradient(variable.value), (-1,))
    return ops.convert_to_numpy(flat[:: max(flat.shape[0] // ENTRIES, 1) | 1][:ENTRIES]).astype("float64")


def _number(value: Any) -> float:
    import keras

    return float(keras.ops.convert_to_numpy(value))


class _Rate:
    """The learning rate of each step: of a schedule by the number of the step, a plain one as it was last read."""

    def __init__(self, model: Any) -> None:
        self._model, self._last, self._schedule = weakref.ref(model), 0.0, _schedule(model.optimizer)
        self.read()

    def __call__(self, step: int) -> float:
        """The rate of a step; the first one is 1."""
        return self._last if self._schedule is None else _number(self._schedule(step - 1))

    def read(self) -> None:
        """Look at the rate again; callbacks change a plain one between epochs."""
        model = self._model()
        if model is not None and self._schedule is None:
            self._last = _number(model.optimizer.learning_rate)


def _schedule(optimizer: Any) -> Callable[[int], Any] | None:
    import keras

    own = getattr(optimizer, "_learning_rate", None)
    return own if isinstance(own, keras.optimizers.schedules.LearningRateSchedule) else None


def _peak(optimizer: Any) -> float | None:
    """The largest rate of a schedule: over its first 100 steps, and over powers of two of them."""
    schedule = _schedule(optimizer)
    if schedule is None:
        return None
    return max(_number(schedule(n)) for n in (*range(101), *(1 << k for k in range(7, 21))))


def _optimizer(optimizer: Any) -> Optimizer:
    """What the rules need to know of a Keras optimizer."""
    name, eps = type(optimizer).__name__, getattr(optimizer, "epsilon", None)
    return Optimizer(
        name=name,
        lr=_number(optimizer.learning_rate),
        peak=_peak(optimizer),
        eps=float(eps) if isinstance(eps, float) else None,
        adaptive=any(word in name.lower() for word in _ADAPTIVE),
    )


def _header(model: Any) -> Header:
    import keras

    variables = model.trainable_variables
    return Header(
        model_class=type(model).__name__,
        num_parameters=int(model.count_params()),
        num_trainable=sum(int(np.prod(v.shape)) for v in variables),
        num_modules=len(model.layers),
        batch="not looked at",
        dtype=str(variables[0].dtype) if variables else "none",
        device=str(keras.config.backend()),
        training=True,
        seeds=(),
        versions={"fanin": __version__, "keras": keras.__version__},
    )


def _first_result(header: Header, step: FirstStep | None, reason: str, config: Config) -> CheckResult:
    if step is not None and step.first.report is not None:
        return step.first.report.result
    loss = LossRecord(source="cotangent", value=float("nan"))
    nothing = Measurements(sites=(), parameters=(), inputs=(), loss=loss, training=True)
    plain = CheckResult(header=header, measurements=nothing, fail_on=config.fail_on)
    return because(plain, reason if step is None else step.first.reason or "no step was made")


# ------------------------------------------------------------------ the first batch
def _first_step(model: Any, **settings: Any) -> tuple[FirstStep | None, str]:
    """What checks the first batch, or the reason why there is none."""
    try:
        return FirstStep(model, **settings), ""
    except ArgumentError as error:
        return None, str(error)


class FirstStep:
    """Checks the batch that the first `train_step` of a model gets, before that step.

    Raises:
        ArgumentError: the backend is another than torch, or `fit` compiles the step.

    Attributes:
        first: the check, with its report.
    """

    def __init__(
        self,
        model: Any,
        *,
        fail_on: Severity | None = None,
        out: str | Path | None = None,
        config: Config | None = None,
    ) -> None:
        import keras

        if keras.config.backend() != "torch":
            raise ArgumentError(_OTHER_BACKEND.format(keras.config.backend()))
        if getattr(model, "jit_compile", False):
            raise ArgumentError("fit compiles the step (jit_compile=True), so its batch is not seen")
        from fanin.watching.first_batch import FirstBatch

        known = load_config() if config is None else config
        groups = _Groups.of(_optimizer(model.optimizer))
        self.first: FirstBatch = FirstBatch(model, groups, config=known, fail_on=fail_on, out=out)
        self.first.remove()  # the batch comes through train_step, with its targets
        vars(model)["train_step"] = _Step(model, vars(model).get("train_step"), weakref.ref(self))
        self._finalizer = weakref.finalize(self, _restore, weakref.ref(model))

    def remove(self) -> None:
        """Give the model its own train_step back."""
        self._finalizer()

    def run(self, model: Any, data: Any) -> None:
        """Check the model on a batch.

        Raises:
            CheckFailedError: something was found at or above `fail_on`.
        """
        import keras

        self.remove()
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)

        def loss(output: Any) -> Any:
            return model.compute_loss(x=x, y=y, y_pred=output, sample_weight=weight, training=True)

        with _kept(model.metrics_variables):
            self.first.run(model, x if isinstance(x, dict) else (x,), loss)


class _Step:
    """A train_step that tells its first batch."""

    def __init__(self, model: Any, before: Any, owner: weakref.ref[FirstStep]) -> None:
        self._own, self._model, self.before, self._owner = model.train_step, weakref.ref(model), before, owner

    def __call__(self, data: Any) -> Any:
        owner, model = self._owner(), self._model()
        if owner is not None and model is not None:
            owner.run(model, data)
        return self._own(data)


def _restore(owner: weakref.ref[Any]) -> None:
    model = owner()
    step = None if model is None else vars(model).get("train_step")
    if isinstance(step, _Step):
        if step.before is None:
            del vars(model)["train_step"]
        else:
            vars(model)["train_step"] = step.before


@contextlib.contextmanager
def _kept(variables: list[Any]) -> Iterator[None]:
    """Put the counts of metrics back afterwards."""
    import keras

    before = [keras.ops.copy(v.value) for v in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


class _Groups:
    """A Keras optimizer as the groups of a torch optimizer, which a check asks for its rate."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.param_groups = [{"params": [], "lr": optimizer.lr, "eps": optimizer.eps}]

    @classmethod
    def of(cls, optimizer: Optimizer) -> Any:
        """The groups under the name of the optimizer's class."""
        return type(optimizer.name, (cls,), {})(optimizer)
