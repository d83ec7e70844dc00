"""What was measured, as frozen data: no tensor, no module, nothing that keeps the model alive.

Names: a *site* is one output tensor of one operation, in execution order. `rms` is the root of the mean square, `std`
is taken about the mean, shares lie in [0, 1]. Cosines are between samples (axis 0 of the batch) or between tokens of
one sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fanin.layout import Layout
from fanin.measure.loss import LossRecord
from fanin.measure.stats import Histogram, TensorStats
from fanin.measure.steps import Watched
from fanin.model.operations import SUMS
from fanin.model.roles import Gate, Role, Source
from fanin.model.unregistered import Unregistered
from fanin.text.jsonable import jsonable

__all__ = [
    "SCHEMA_VERSION",
    "Activity",
    "AttentionRecord",
    "BufferRecord",
    "Cosine",
    "Elementwise",
    "GateMean",
    "GradientState",
    "Histogram",
    "InputRecord",
    "JacobianRecord",
    "LossRecord",
    "Measurements",
    "NormRecord",
    "OperationOutput",
    "ParameterRecord",
    "Prediction",
    "RowsApart",
    "SaturationRecord",
    "Site",
    "SiteKind",
    "TensorStats",
    "Values",
]

SCHEMA_VERSION = 1

SiteKind = Literal["weight", "activation", "norm", "attention", "merge", "pool", "loss", "other"]
GradientState = Literal["frozen", "none", "zero", "nonzero", "nonfinite"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Which units of a rectifier-like activation are active for some sample.

    Attributes:
        num_units: channels (or features).
        num_samples: independent samples N (the batch, not the pixels).
        num_positions: samples times positions that share the unit.
        dead_share: share of units with no active position at all.
        expected_dead_share: share that theory expects from N and the sample cosine, or None where it gives no answer.
        active: quantiles (0, 1/32, ..., 1) over units of the share of positions at which the unit is active.
        reads: the operation that made what the activation reads, views aside.
    """

    num_units: int
    num_samples: int
    num_positions: int
    dead_share: float
    expected_dead_share: float | None
    active: tuple[float, ...]
    reads: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaturationRecord:
    """Share of outputs on the flat part of a bounded activation (slope below 6 % of its largest)."""

    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosine:
    """How similar samples are: mean pairwise cosine, between-sample share of the energy, matrix of <= 16 samples.

    `one_minus_mean` is 1 - mean cosine, computed without cancellation. `between_share` is E|h - mean(h)|^2 / E|h|^2.
    """

    num_samples: int
    mean: float
    one_minus_mean: float
    between_share: float
    matrix: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionRecord:
    """Attention logits of one softmax, per head.

    Attributes:
        num_keys: visible keys T (the median over rows, where a mask hides some).
        logit_std: per head, the root mean variance of a row of logits over its visible keys.
        condensation: per head, s^2 / ln T; above 2 a softmax over Gaussian logits puts most of its weight on a few
            keys (random energy model, s = sqrt(2 ln T)). Of the part of the logits that depends on the data: only what
            differs between two samples counts, so a bias added for every position does not.
        entropy: per head, mean row entropy over ln T (1: uniform).
    """

    num_keys: int
    logit_std: tuple[float, ...]
    condensation: tuple[float, ...]
    entropy: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NormRecord:
    """A normalisation: how many values share one statistic, and the variance of its input against its eps."""

    kind: str
    training: bool
    values_per_statistic: int
    input_var: float
    eps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What theory expects of a site, before looking at its values.

    `log_rms_std` is the standard error of ln(rms) at this width (finite-width band); `z` is (ln measured - ln
    predicted) / log_rms_std. `assumption` says what theory assumed and does not hold, where |z| is large.
    """

    rms: float
    log_rms_std: float
    z: float
    source: str
    assumption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationOutput:
    """Which output of which operation a site is.

    Attributes:
        index: position in execution order.
        path: qualified name of the module that runs the operation ("" for the model itself).
        module_class: class name of that module.
        op: name of the operation ("linear", "conv2d", "relu", "add", "scaled_dot_product_attention", ...).
        kind: what the operation is for the rules.
        call: how many times this (path, op) ran before in the same forward (shared modules, several calls of one
            function).
        parameters: qualified names of the parameters that the operation reads.
        inputs: indices of the sites whose outputs it reads; -1 is the model's input.
    """

    index: int
    path: str
    module_class: str
    op: str
    kind: SiteKind
    shape: tuple[int, ...]
    dtype: str
    call: int = 0
    parameters: tuple[str, ...] = ()
    inputs: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Path and operation, with the number of the call where one module runs the operation several times."""
        call = f"#{self.call}" if self.call else ""
        return f"{self.path or self.module_class}:{self.op}{call}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site(OperationOutput):
    """One output of one operation, and what was measured of it.

    Attributes:
        forward: statistics of the output.
        backward: statistics of the gradient at the output; None where no gradient arrives.
        follower: the operation that first reads the output ("relu", "batch_norm", ...), "" at the end.
        follower_factor: the plain number that multiplies the output on its way there (30 in sin(30 W x)).
        follower_bent: whether a function that is no multiple of what it reads (a power, written out) lies between.
        multiplied: another tensor is multiplied by the output, or it goes through exp: a gate, a step or a rate.
        role: role of the operation's weight where the graph gives one ("residual-out", "attention-query", "head", ...).
        constant_channel_share: share of channels that are one number over the batch, of weighted operations.
        predicted: what theory expects of the output.
        predicted_backward: what theory expects of the gradient there, from that measured at the model's outputs.
        unpredicted: why theory expects no value of the output, "" where it does, or where nothing was predicted at all.
        unpredicted_backward: why it expects none of the gradient.
    """

    forward: TensorStats
    backward: TensorStats | None = None
    follower: str = ""
    follower_factor: float = 1.0
    follower_bent: bool = False
    multiplied: bool = False
    role: str = ""
    activity: Activity | None = None
    saturation: SaturationRecord | None = None
    sample_cosine: Cosine | None = None
    token_cosine: float | None = None
    attention: AttentionRecord | None = None
    norm: NormRecord | None = None
    constant_channel_share: float | None = None
    predicted: Prediction | None = None
    predicted_backward: Prediction | None = None
    unpredicted: str = ""
    unpredicted_backward: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """The largest element of a parameter beside the others.

    Attributes:
        largest: largest absolute value of all elements.
        index: where it is.
        rest_rms: rms of the elements up to 100 times the median of the non-zero ones.
        num_beyond: elements beyond 1,000 times `rest_rms` or beyond 1e6.
        subnormal_share: share of the non-zero elements (of a sample) below the smallest normal number of float32.
    """

    largest: float
    index: tuple[int, ...] = ()
    rest_rms: float = 0.0
    num_beyond: int = 0
    subnormal_share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsApart:
    """Rows of a table whose rms is five times that of the median row or more, or a fifth or less.

    Attributes:
        first: index of the first of them.
        last: index of the last.
        count: how many there are; all from `first` to `last` where count = last - first + 1.
        ratio: their median rms over that of all non-zero rows.
    """

    first: int
    last: int
    count: int
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferRecord:
    """One floating buffer.

    Attributes:
        path: qualified name.
        shape: its shape.
        num_nan: NaN elements.
        num_positive_inf: elements that are +infinity.
        num_negative_inf: elements that are -infinity, as masks hold them.
        largest: largest absolute value of the finite elements.
        as_angle: sine or cosine of it is taken.
        as_factor: the signal is multiplied by it, or contracted with it.
        added_to: indices of the sites whose outputs it is added to as it is.
        rms: of the finite elements, where it is added to a signal; 0 elsewhere.
    """

    path: str
    shape: tuple[int, ...]
    num_nan: int = 0
    num_positive_inf: int = 0
    num_negative_inf: int = 0
    largest: float = 0.0
    as_angle: bool = False
    as_factor: bool = False
    added_to: tuple[int, ...] = ()
    rms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Elementwise:
    """How a parameter multiplies a signal number by number.

    Attributes:
        summed: how many of the products are summed (a score vector); 1 where the parameter spreads the signal along an
            axis of its own (a tokenizer of features).
        signal: rms of the signal.
        result: rms of what comes of it.
        beside: parameters that are added to that, or set beside it, as they are.
    """

    summed: int
    signal: float
    result: float
    beside: tuple[str, ...] = ()

    @property
    def amplification(self) -> float:
        """Rms of the result over that of the signal."""
        return self.result / self.signal


@dataclass(frozen=True, slots=True, kw_only=True)
class GateMean:
    """The mean over the units of the bias of one gate, with what the model adds to it itself."""

    gate: Gate
    mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRecord:
    """One parameter, its gradient, and the gradient after a virtual step.

    Attributes:
        path: first qualified name; `tied` holds the others.
        owner_class: class name of the module that owns it.
        used: an operation of this forward read it.
        weight: statistics of the values.
        gradient: statistics of the gradient, None where there is none.
        effective: root mean square of the weight that its operation read, where the model makes that of this parameter
            alone (a multiple, a mask, the parameter over its own size); None where the operation read it as it is.
        state: what the gradient is at step zero.
        state_after_step: the same after a virtual step of 1 % on a copy; None where the step was not needed.
        grad_over_weight: rms(gradient) / rms(weight), None where undefined.
        identical_rows: share of rows (units) that equal another row, non-zero rows of more than one column only; None
            where not defined.
        stays_equal: of learned tokens and positions: their rows are equal, and get one and the same gradient.
        role: what it does, as a plan of the same model says.
        role_from: who says the role and the layout: "graph", the captured forward pass; where it was not captured,
            "module", the module that owns the parameter, or, of a bare parameter, "call", the operation that reads it.
        layout: what its axes mean; None where it has none, or where they are not known.
        fan_in: terms summed into one output; None without an input axis.
        fan_out: terms summed into one input's gradient.
        op: operation that reads it first, of those that sum over a weight or normalise; "" if none does.
        follower: operation that reads the output of `op` first.
        gate: it multiplied the signal.
        scale: of a parameter of one number (a temperature): what the signal was multiplied by; None for others.
        elementwise: how it multiplies a signal number by number, and is summed or spreads it; None elsewhere.
        added_to: indices of the sites whose outputs it was added to as it is: positions, tokens, offsets.
        reaches_loss: an operation that reads it leads to the loss.
        same_as: an earlier parameter of equal shape and values that is not tied to it, "" if none.
        reader: index of the first weighted operation or norm that reads it, None if there is none.
        values: its largest element beside the others; None for an empty or non-finite parameter.
        rows_apart: rows at another scale than the others of their part, of maps and of tables (looked up, or added to a
            signal).
        gates: of the bias of a recurrent cell, the mean over each of its gates; () where these are not known.
        spectral: R = |W|_2 / sqrt(out / in) of a map, the largest over its parts: a fact of its shape, no verdict. None
            above 4 million elements.
        first_step: U = |dW|_2 / |W|_2 of the first step of the optimizer that was given; None without one or a loss.
        update: rms(dW) / rms(W) of that step; without a loss it tells of optimizers that are `adaptive` alone.
        update_at_peak: the same at the largest rate that the optimizer's group names, that of a schedule included.
    """

    path: str
    owner_class: str
    shape: tuple[int, ...]
    dtype: str
    weight: TensorStats
    requires_grad: bool
    used: bool
    state: GradientState
    gradient: TensorStats | None = None
    state_after_step: GradientState | None = None
    grad_over_weight: float | None = None
    identical_rows: float | None = None
    stays_equal: bool = False
    role: Role = "unknown"
    role_from: Source = "module"
    layout: Layout | None = None
    fan_in: float | None = None
    fan_out: float | None = None
    op: str = ""
    follower: str = ""
    gate: bool = False
    scale: float | None = None
    elementwise: Elementwise | None = None
    added_to: tuple[int, ...] = ()
    reaches_loss: bool = True
    same_as: str = ""
    tied: tuple[str, ...] = ()
    reader: int | None = None
    values: Values | None = None
    rows_apart: RowsApart | None = None
    gates: tuple[GateMean, ...] = ()
    spectral: float | None = None
    first_step: float | None = None
    update: float | None = None
    update_at_peak: float | None = None
    effective: float | None = None

    @property
    def rms_read(self) -> float:
        """Root mean square of the weight that its operation read: its own, or that of what the model makes of it."""
        return self.weight.rms if self.effective is None else self.effective

    @property
    def is_map(self) -> bool:
        """Whether the signal went through it: an operation that sums over it read it, and its fans are known."""
        return self.op in SUMS and len(self.shape) >= 2 and self.fan_in is not None

    @property
    def is_recurrent(self) -> bool:
        """Whether it is a matrix of a recurrent layer: of one of torch, or of a cell written out step by step."""
        return self.role in ("rnn_ih", "rnn_hh")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRecord:
    """One tensor handed to the model.

    Attributes:
        name: "inputs[0]" or the keyword.
        floating: False for ids and masks.
        stats: over all elements (strided sample).
        feature_std_ratio: largest over smallest non-zero standard deviation across features; None below 2 features.
        constant_feature_share: share of features that never change over the batch.
        same_samples: every entry along the first axis is the same as the first one, and there are several.
        integer_valued: floating values that are all whole numbers.
        as_read: of what the weights read of it, farthest from unit scale: what is left where the model divides it.
        normalised_first: every weighted operation that reads it first is followed by, or comes after, a normalisation.
        without_scale: only functions that take no scale from it read it: sin, log, rows of a table, a comparison.
        gradient: statistics of the loss' gradient with respect to it, where it was taken.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    floating: bool
    stats: TensorStats
    as_read: TensorStats
    feature_std_ratio: float | None = None
    constant_feature_share: float | None = None
    same_samples: bool = False
    integer_valued: bool = False
    normalised_first: bool = False
    without_scale: bool = False
    gradient: TensorStats | None = None

    @property
    def is_data(self) -> bool:
        """Whether it holds data of samples; a single number (a count, a temperature) does not."""
        return self.floating and bool(self.shape)

    @property
    def has_scale(self) -> bool:
        """Whether its scale reaches the network."""
        return self.is_data and not self.without_scale


@dataclass(frozen=True, slots=True, kw_only=True)
class JacobianRecord:
    """chi = E|J^T v|^2 / |v|^2 of the outputs with respect to the first floating input, from `num_probes` random v.

    For iid Gaussian v this is the sum of squared singular values over the number of outputs. `relative_error` is its
    standard error over chi.
    """

    chi: float
    relative_error: float
    num_probes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """All that was measured in one pass.

    `missing` says, per quantity, why it could not be measured. `first_nonfinite` is (module path, operation) of the
    first operation that made NaN or infinity and is no site. `unregistered` are weights that the forward reads and the
    model does not own.
    """

    sites: tuple[Site, ...]
    parameters: tuple[ParameterRecord, ...]
    inputs: tuple[InputRecord, ...]
    loss: LossRecord
    output: TensorStats | None = None
    output_cosine: Cosine | None = None
    jacobian: JacobianRecord | None = None
    never_called: tuple[str, ...] = ()
    batch_size: int | None = None
    first_nonfinite: tuple[str, str] | None = None
    buffers: tuple[BufferRecord, ...] = ()
    training: bool = False
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    watched: Watched | None = None
    unregistered: tuple[Unregistered, ...] = ()
    schema_version: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dict(jsonable(self))

    def weight_sites(self) -> tuple[Site, ...]:
        """Outputs of operations that read a parameter of two or more axes, in execution order."""
        return tuple(s for s in self.sites if s.kind == "weight")
