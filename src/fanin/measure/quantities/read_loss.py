"""The loss function that a gradient at the outputs belongs to, where that can be told exactly.

Cross-entropy, its binary forms and the squared error leave their mark on the gradient that reaches the outputs: it
names the targets, and no other loss has one of this form. So the loss of a training loop is known without being called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from fanin.measure.quantities.loss import LossCall

__all__ = ["Looked", "SeenOutputs", "read_from", "read_loss"]

_EXACT = 1e-3  # relative error that is left to rounding in float32
_SURE = 1e-5  # relative error of a form, below which no other one is tried
_ROUNDED = 3e-2  # the same in half precision
_NUMBERS = 1 << 18  # of the outputs that are looked at
_ENDS = frozenset(("softmax", "sigmoid"))
_LABELS = 8  # numbers or rows from which on a form is no chance


@dataclass(frozen=True, slots=True)
class SeenOutputs:
    """Outputs of a model and the gradient of the loss in them, float64.

    Attributes:
        rows: (outputs, gradient) of shape (rows, classes), with classes on the last axis or on the second one; rows of
            large outputs are a selection.
        whole: outputs and gradient as they are; None where they are large.
        coarse: whether they were computed in half precision.
        made_by: "softmax" or "sigmoid" where that is the last operation of the model.
    """

    rows: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    whole: tuple[torch.Tensor, torch.Tensor] | None
    coarse: bool = False
    made_by: str = ""

    @property
    def tolerance(self) -> float:
        """Relative error that is left to rounding."""
        return _ROUNDED if self.coarse else _EXACT


@dataclass(frozen=True, slots=True)
class Looked:
    """Copies of outputs, or of the gradient in them, on their device.

    Attributes:
        whole: all of it; None where it is large.
        rows: rows along the last axis, and along the second one of three or more.
    """

    whole: torch.Tensor | None
    rows: tuple[torch.Tensor, ...]

    @classmethod
    def at(cls, x: torch.Tensor) -> Looked:
        """Look at a tensor of one axis or more."""
        axes = (-1,) if x.dim() < 3 else (-1, 1)
        return cls(x.clone() if x.numel() <= _NUMBERS else None, tuple(_some_rows(x.movedim(a, -1)) for a in axes))

    def doubled(self) -> list[torch.Tensor]:
        """Rows, and all of it where it is small, as float64."""
        return [x.cpu().double() for x in (*self.rows, *(() if self.whole is None else (self.whole,)))]


def _some_rows(x: torch.Tensor) -> torch.Tensor:
    """Rows of the last axis, spread over the others; a copy."""
    flat = x.reshape(-1, x.shape[-1])
    step = max(-(-flat.numel() // _NUMBERS), 1) | 1
    return flat[::step].clone()


def read_from(outputs: Looked, gradient: Looked, *, made_by: str, value: float | None) -> LossCall | None:
    """The call of the loss function whose gradient in the outputs this is; None where it cannot be told.

    Args:
        outputs: of the model.
        gradient: of the loss in them.
        made_by: the last operation of the model.
        value: the loss; None where it is not known, or where other outputs have a part in it.
    """
    pairs = list(zip(outputs.doubled(), gradient.doubled(), strict=False))
    if not all(z.shape == g.shape and z.isfinite().all() and g.isfinite().all() and g.any() for z, g in pairs):
        return None
    count = len(outputs.rows)
    whole = pairs[count] if outputs.whole is not None else None
    coarse = outputs.rows[0].dtype in (torch.float16, torch.bfloat16)
    return read_loss(SeenOutputs(tuple(pairs[:count]), whole, coarse, made_by if made_by in _ENDS else ""), value)


def read_loss(seen: SeenOutputs, value: float | None) -> LossCall | None:
    """The call of a loss function whose gradient this is; None where no known one fits.

    Args:
        seen: outputs and the gradient in them.
        value: the loss; None where it is not known, and a squared error cannot be told then.

    Example:
        >>> outputs = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5]] * 4, requires_grad=True)
        >>> labels = torch.tensor([0, 2] * 4)
        >>> torch.nn.functional.cross_entropy(outputs, labels).backward()
        >>> pair = outputs.detach().double(), outputs.grad.double()
        >>> call = read_loss(SeenOutputs((pair,), pair), None)
        >>> call.op, call.targets.tolist()
        ('cross_entropy', [0, 2, 0, 2, 0, 2, 0, 2])
    """
    call = next((call for call in _read(seen, value) if call is not None), None)
    return call if call is None or call.made_by else replace(call, made_by=seen.made_by)


def _read(seen: SeenOutputs, value: float | None) -> Iterator[LossCall | None]:
    for z, g in seen.rows:
        if z.shape[1] > 1:
            yield _picked_behind(z, g, seen.tolerance)
            plain = _entropy(z, g, seen.tolerance)
            sure = plain is not None and plain[0] < _SURE
            yield _better(plain, None if sure else _entropy_behind(z, g, seen.tolerance))
            yield _picked(z, g, seen, value)
    if seen.whole is not None:
        yield _over_samples(*seen.whole, seen.tolerance)
    z, g = seen.whole or seen.rows[0]
    yield _no_smaller(_binary(z, g, seen.tolerance), z, g, value)
    yield _no_smaller(_of_shares(z, g, seen.tolerance), z, g, value)
    yield _binary_behind(z, g, seen.tolerance)
    if seen.whole is not None and value is not None:
        yield _squared(z, g, value)


# ------------------------------------------------------------------ classes
_Fitted = tuple[float, LossCall] | None  # (relative error, call)


def _better(plain: _Fitted, behind: _Fitted) -> LossCall | None:
    """The plain loss, unless the other one fits ten times as well: small logits look alike to both."""
    if plain is None or behind is None:
        found = plain or behind
        return None if found is None else found[1]
    return behind[1] if 10 * behind[0] < plain[0] else plain[1]


def _entropy(z: torch.Tensor, g: torch.Tensor, tolerance: float) -> _Fitted:
    """G = c (softmax(z) - e_y): cross-entropy of logits; c is below zero where it is maximised."""
    z, g = _used(z, g)
    for turned in (False, True):
        labels = (g.argmax if turned else g.argmin)(1) if len(g) else None
        if labels is None:
            return None
        form = z.softmax(1) - _one_hot(labels, z)
        factor = (g * form).sum(1) / form.square().sum(1).clamp_min(1e-12)
        error = _error(g, factor[:, None] * form)
        fits = error <= tolerance and bool(((factor < 0) == turned).all())
        if fits and len(g) >= _LABELS // 2 and (not (turned or z.shape[1] == 2) or _alike(factor, tolerance)):
            return error, _call("cross_entropy", z, labels, torch.nn.functional.cross_entropy(z, labels), turned)
    return None


def _entropy_behind(z: torch.Tensor, g: torch.Tensor, tolerance: float) -> _Fitted:
    """Cross-entropy of the softmax, or of the sigmoid, of the outputs."""
    z, g = _used(z, g)
    if len(g) < _LABELS // 2:
        return None
    for name, squash, slope, through in _SQUASHED:
        t = squash(z)
        guess = through(t, t.softmax(1) - _one_hot(g.argmin(1), z))
        scale = (g * guess).sum(1).div(guess.square().sum(1).clamp_min(1e-30)).median()
        if not scale > 0:
            continue
        labels = ((g / scale - through(t, t.softmax(1))) / slope(t).clamp_min(1e-30)).argmin(1)
        form = through(t, t.softmax(1) - _one_hot(labels, z))
        error = _error(g, scale * form)
        if error <= 10 * tolerance:
            value = torch.nn.functional.cross_entropy(t, labels)
            return error, _call("cross_entropy", t, labels, value, made_by=name)
    return None


_Map = Callable[[torch.Tensor], torch.Tensor]
# name, the function, its own slope, its Jacobian times a vector, both from what it gives
_SQUASHED: tuple[tuple[str, _Map, _Map, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]], ...] = (
    ("softmax", lambda z: z.softmax(1), lambda t: t, lambda t, h: t * (h - (t * h).sum(1, keepdim=True))),
    ("sigmoid", torch.sigmoid, lambda t: t * (1 - t), lambda t, h: t * (1 - t) * h),
)


def _picked(z: torch.Tensor, g: torch.Tensor, seen: SeenOutputs, value: float | None) -> LossCall | None:
    """G = -c e_y, and a loss of g . z: minus the output of the target, as nll_loss computes it.

    A margin loss of small outputs, (m - z_y)^2, has such a gradient, and not that value.
    """
    tolerance = seen.tolerance
    if value is None or (seen.whole is not None and not _is_linear(*seen.whole, value, tolerance)):
        return None
    z, g = _used(z, g)
    if len(g) < _LABELS or bool(((g != 0).sum(1) != 1).any()):
        return None
    picked = g.sum(1)
    labels = g.abs().argmax(1)
    same = bool((labels == labels[0]).all())  # the mean of one output has this form, too
    if same or not _alike(picked.abs(), tolerance) or not bool((picked < 0).all() or (picked > 0).all()):
        return None
    own = torch.nn.functional.nll_loss(z, labels)
    return _call("nll_loss", z, labels, own, turned=bool((picked > 0).all()))


def _picked_behind(z: torch.Tensor, g: torch.Tensor, tolerance: float) -> LossCall | None:
    """nll_loss of the softmax of the outputs, without a logarithm: g = -c p_y (e_y - p)."""
    z, g = _used(z, g)
    if len(g) < _LABELS:
        return None
    p, labels = z.softmax(1), g.argmin(1)
    picked = p.gather(1, labels[:, None])
    form = picked * (p - _one_hot(labels, z))
    factor = (g * form).sum(1) / form.square().sum(1).clamp_min(1e-30)
    fits = bool((factor > 0).all()) and _error(g, factor[:, None] * form) <= tolerance
    if not fits or not _alike(factor, tolerance) or _alike(picked, tolerance):  # of equal shares: cross-entropy, too
        return None
    return _call("nll_loss", p, labels, -picked.mean())


def _over_samples(z: torch.Tensor, g: torch.Tensor, tolerance: float) -> LossCall | None:
    """G = c (n_k softmax over samples - e_y): the classes are mixed up with the samples."""
    if z.dim() != 2 or min(z.shape) < 2 or len(z) < _LABELS:
        return None
    labels = g.argmin(1)
    given = _one_hot(labels, z)
    form = given.sum(0) * z.softmax(0) - given
    factor = (g * form).sum() / form.square().sum().clamp_min(1e-30)
    if not (factor > 0 and _error(g.reshape(1, -1), (factor * form).reshape(1, -1)) <= tolerance):
        return None
    logs = z.log_softmax(0)
    return _call("nll_loss", logs, labels, torch.nn.functional.nll_loss(logs, labels))


# ------------------------------------------------------------------ single numbers
def _binary(z: torch.Tensor, g: torch.Tensor, tolerance: float) -> LossCall | None:
    """G = c (sigmoid(z) - y) for y of 0 and 1."""
    p = z.sigmoid()
    for turned in (False, True):
        h = -g if turned else g
        if _fits_labels(torch.where(h < 0, -h / (1 - p), h / p), tolerance) and not _alike(h, tolerance):
            labels = (h < 0).to(z.dtype)
            value = torch.nn.functional.binary_cross_entropy_with_logits(z, labels)
            return _call("binary_cross_entropy_with_logits", z, labels, value, turned)
    return None


def _no_smaller(call: LossCall | None, z: torch.Tensor, g: torch.Tensor, value: float | None) -> LossCall | None:
    """The call, unless the whole loss is less than what its gradient says of this part of it.

    A margin loss of outputs near zero has the gradient of a binary cross-entropy.
    """
    if call is None or call.targets is None or value is None or call.turned or g.shape != z.shape:
        return call
    used, y = g != 0, call.targets
    logits = call.op == "binary_cross_entropy_with_logits"
    own = torch.nn.functional.binary_cross_entropy_with_logits if logits else torch.nn.functional.binary_cross_entropy
    slope = z.sigmoid() - y if logits else (z - y) / (z * (1 - z))
    part = (g / slope)[used].median() * own(z[used], y[used], reduction="sum")
    return call if value >= (1 - _ROUNDED) * float(part) else None


def _binary_behind(z: torch.Tensor, g: torch.Tensor, tolerance: float) -> LossCall | None:
    """The same loss of the sigmoid of the outputs."""
    p = z.sigmoid()
    call = _binary(p, g / (p * (1 - p)), tolerance)
    return None if call is None or call.turned else replace(call, made_by="sigmoid")


def _of_shares(z: torch.Tensor, g: torch.Tensor, tolerance: float) -> LossCall | None:
    """G = c (p - y) / (p (1 - p)) for outputs p between 0 and 1."""
    if not bool(((z > 0) & (z < 1)).all()):
        return None
    for turned in (False, True):
        h = -g if turned else g
        if _fits_labels(torch.where(h < 0, -h * z, h * (1 - z)), tolerance) and not _alike(h, tolerance):
            labels = (h < 0).to(z.dtype)
            return _call("binary_cross_entropy", z, labels, torch.nn.functional.binary_cross_entropy(z, labels), turned)
    return None


def _squared(z: torch.Tensor, g: torch.Tensor, value: float) -> LossCall | None:
    """G = 2 c (z - y), where the loss is c |z - y|^2 for a usual c: over all numbers, over samples, halved."""
    count, samples = z.numel(), max(len(z), 1)
    for share in (1 / count, 1 / samples, 1.0, 0.5 / count, 0.5 / samples, 0.5):
        own, targets = float(g.square().sum()) / (4 * share), z - math.copysign(1.0, value) * g / (2 * share)
        paired = z.dim() == 2 and z.shape[1] == 1 and value > (1 + _EXACT) * own and _is_one(targets, z)
        if value and (abs(own / abs(value) - 1) < _EXACT or paired):
            value_of = (z - targets).square().mean()
            return replace(_call("mse_loss", z, targets, value_of, turned=value < 0), paired=paired)
    return None


# ------------------------------------------------------------------ parts
def _call(
    op: str, z: torch.Tensor, targets: torch.Tensor, value: torch.Tensor, turned: bool = False, made_by: str = ""
) -> LossCall:
    return LossCall(
        op=op,
        reduction="mean",
        prediction=z,
        targets=targets,
        weighted=False,
        made_by=made_by,
        value=value,
        turned=turned,
    )


def _used(z: torch.Tensor, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows that are more than rounding: ignored targets leave zeros, sure answers hardly more."""
    sizes = g.abs().amax(1)
    kept = sizes > _EXACT * sizes.max() if len(sizes) else sizes > 0
    return z[kept], g[kept]


def _one_hot(labels: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, like.shape[1]).to(like.dtype)


def _error(g: torch.Tensor, form: torch.Tensor) -> float:
    """How far the worst row is from this form, as a share of the row's largest number."""
    return float(((g - form).abs().amax(1) / g.abs().amax(1)).max())


def _is_one(targets: torch.Tensor, z: torch.Tensor) -> bool:
    """Whether all targets are one number, beside outputs that differ."""
    return len(z) >= _LABELS and bool(targets.std() < _EXACT * z.std())


def _is_linear(z: torch.Tensor, g: torch.Tensor, value: float, tolerance: float) -> bool:
    """Whether the loss is g . z, as one that is linear in the outputs is; a scaled loss, by a power of two, too."""
    own = float((g * z).sum())
    if not own * value > 0:
        return own == value
    powers = math.log2(own / value)
    return abs(powers - round(powers)) <= 2 * tolerance


def _alike(factor: torch.Tensor, tolerance: float) -> bool:
    """Whether all numbers are the same."""
    middle = factor.abs().median()
    return bool(middle > 0) and bool(((factor.abs() / middle - 1).abs() < 10 * tolerance).all())


def _fits_labels(factor: torch.Tensor, tolerance: float) -> bool:
    used = factor[factor != 0]
    return used.numel() >= _LABELS and bool(used.isfinite().all()) and _alike(used, tolerance)
