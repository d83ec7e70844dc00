"""What theory expects of every site, from the graph and the weights' moments alone, beside what was measured."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fanin.errors import FaninError
from fanin.measure.ends import End, ends_of
from fanin.measure.record import Cosine, NormRecord, Prediction, Site, TensorStats
from fanin.moments.moments import MOST_SE
from fanin.text.numbers import counted

if TYPE_CHECKING:
    import torch

    from fanin.graph.ir import Graph
    from fanin.moments import JointMoments, MomentMap, Provenance
    from fanin.moments.frame import Defect, Direction

__all__ = ["failing_assumption", "with_predictions"]

# Poole et al. 2016 and, for gradients, Schoenholz et al. 2017; errors at this width: Hanin and Rolnick 2018.
_FORWARD = "mean field (arXiv 1606.05340, 1803.01719)"
_BACKWARD = "mean field from the measured gradient at the outputs (arXiv 1611.01232, 1803.01719)"
_FAR = 5.0  # standard errors from which an assumption is said to fail
_LEAST_SE = 0.0045  # added to every error: laws that are not Gaussian, units of unlike sizes behind a bend
_LEAST_SE_EXACT = 0.001  # where a norm sets the size, but for its eps
_ALIKE = "weights are independent of what they read, and all entries of one tensor have one law"
_INDEPENDENT = "gradients are independent of the signals that they are multiplied with, and have one law in all places"
_TOO_WIDE = "its standard error is a factor of e or more"
_PLEASE = "please report it with this text"
_FEW_VALUES = 32
_SHARED = 0.05  # between-sample share of the energy below which one draw of the weights decides all samples


def with_predictions(
    model: torch.nn.Module,
    graph: Graph,
    sites: Sequence[Site],
    *,
    cotangents: Mapping[str, torch.Tensor] | None = None,
    outputs: Mapping[str, torch.Tensor] | None = None,
    along: Mapping[str, float] | None = None,
    copies: Mapping[str, str] | None = None,
) -> tuple[tuple[Site, ...], dict[str, str]]:
    """The sites with `predicted` and `predicted_backward` filled in where theory knows them, and why not elsewhere.

    The graph was captured without running the model's arithmetic; weights enter by their mean and variance, inputs and
    the loss' gradient at the outputs by their moments. A site is matched to the graph by module, operation and call,
    only where both saw the same number of calls, or of those with one output shape.

    Args:
        model: left as found.
        graph: its captured forward pass.
        sites: what was measured.
        cotangents: measured gradient at each output, by its path in what the model returned; without any there is no
            backward prediction.
        outputs: the numbers there, by the same path: a gradient behind a softmax or a sigmoid is taken back over it.
        along: how far that gradient is a multiple of the output itself, by the same path; see `propagate`.
        copies: weights of equal values that are not tied, each with the one that it is a copy of: a way that meets
            both meets one weight twice.

    Returns:
        The sites, and what is missing with its reason: "prediction" where nothing was predicted, "prediction of some
        operations" where a formula of fanin's own raised an error, "prediction of gradients" where a batch norm
        takes its statistics from too few values.
    """
    try:
        ends = ends_of(graph, cotangents or {}, outputs or {})
        moments = _followed(model, graph, ends, along or {}, copies or {})
    except FaninError as error:
        return tuple(sites), {"prediction": str(error)}
    except Exception as error:  # a fault of fanin's own, which must not cost the user the measurements
        return tuple(sites), {"prediction": f"an error in fanin ({type(error).__name__}: {error}); {_PLEASE}"}
    missing = {"prediction of some operations": _faults(moments.defects)} if moments.defects else {}
    expected = _by_call(moments)
    calls: dict[tuple[str, str], list[Site]] = defaultdict(list)
    for site in sites:
        calls[site.path, site.op].append(site)
    doubts = replace(
        _doubts(sites), passed=frozenset().union(*(e.passed for e in ends)), unread=_dropout_left_out(model, graph)
    )
    if doubts.few:
        missing["prediction of gradients"] = (
            f"no formula gives a gradient through a batch norm of so few values: some take their statistics from "
            f"{doubts.few}, and below {_FEW_VALUES} the number that a norm divides by is random. "
            "A larger batch has expected gradients"
        )
    found: dict[int, _Expected] = {}
    for key, seen in calls.items():
        given = expected.get(key, [])
        matched = _matched(graph, seen, given)
        why = f"the graph has {counted(len(given), 'call')} of this operation where {len(seen)} were measured"
        for site in seen:
            value = matched.get(site.index)
            found[site.index] = (
                _Expected(None, None, why, why) if value is None else _both(site, moments, value, doubts)
            )
    if not any(e.forward or e.backward for e in found.values()):
        return tuple(sites), {**missing, "prediction": "no operation was matched"}
    return tuple(_with(s, found[s.index]) for s in sites), missing


def _with(site: Site, expected: _Expected) -> Site:
    """The site with what is expected of it, and why nothing is where values were measured."""
    gradient = site.backward is not None and site.backward.rms > 0.0 and site.kind != "loss"
    return replace(
        site,
        predicted=expected.forward,
        predicted_backward=expected.backward,
        unpredicted="" if expected.forward is not None or site.forward.rms == 0.0 else expected.no_forward,
        unpredicted_backward="" if expected.backward is not None or not gradient else expected.no_backward,
    )


def _faults(defects: Sequence[Defect]) -> str:
    """Which formulas raised an error of fanin's own, at most three of them spelled out."""
    shown = [f"the {d.direction} formula for {d.op} in {d.module or 'the model'} raised {d.error}" for d in defects[:3]]
    more = [f"{len(defects) - len(shown)} more"] if len(defects) > len(shown) else []
    return f"an error in fanin: {'; '.join([*shown, *more])}. These were sampled instead; {_PLEASE}"


def _followed(
    model: torch.nn.Module,
    graph: Graph,
    ends: Sequence[End],
    along: Mapping[str, float],
    copies: Mapping[str, str],
) -> MomentMap:
    """Moments of everything, forward from the inputs and backward from what the outputs received."""
    from fanin.moments import propagate, read_weights
    from fanin.moments.frame import measured_by_place

    in_whole_last = sorted(ends, key=lambda e: not e.passed)  # a value may be an output and behind another one
    received = {e.value: measured_by_place(e.gradient) for e in in_whole_last}
    return propagate(
        graph,
        read_weights(model),
        "example",
        cotangent=received or None,
        training=model.training,
        copies=copies,
        by_place=True,
        along={o.value: along[o.path] for o in graph.outputs if o.path in along},
    )


def _by_call(moments: MomentMap) -> Mapping[tuple[str, str], list[int]]:
    """(module path, operation) -> first outputs of its calls, in order."""
    outputs: dict[tuple[str, str], list[int]] = defaultdict(list)
    for op in moments.graph.ops:
        if op.outputs:
            outputs[op.module, op.name].append(op.outputs[0])
    return outputs


def _matched(graph: Graph, seen: Sequence[Site], outputs: Sequence[int]) -> dict[int, int]:
    """Site index -> value, of calls of one operation in one module: in order, where both saw as many.

    Where they did not, those of one output shape are matched by themselves.
    """
    if len(seen) == len(outputs):
        return {s.index: v for s, v in zip(seen, outputs, strict=True)}
    found: dict[int, int] = {}
    for shape in {s.shape for s in seen}:
        ours = [s for s in seen if s.shape == shape]
        theirs = [v for v in outputs if graph.value(v).shape == tuple(shape)]
        if len(ours) == len(theirs):
            found.update({s.index: v for s, v in zip(ours, theirs, strict=True)})
    return found


def _both(site: Site, moments: MomentMap, value: int, doubts: _Doubts) -> _Expected:
    """The two predictions of a site, or why there is none."""
    from fanin.moments import LEAST_SE_BACKWARD

    known = moments.tensors.get(value)
    if known is None:
        return _Expected(None, None, _NO_FORMULA, _NO_FORMULA)
    least = _LEAST_SE_EXACT if site.kind == "norm" else math.hypot(_LEAST_SE, doubts.unread)
    least_backward = math.hypot(LEAST_SE_BACKWARD, doubts.unread)
    forward = _prediction(site.forward, known.moments, known.provenance, _FORWARD, least)
    backward = _prediction(site.backward, known.gradient, known.gradient_provenance, _BACKWARD, least_backward)
    why = doubts.why_no_gradient(site, value)
    if why:
        backward = None
    no_forward = "" if forward else _why_none(moments, value, "forward", known.moments)
    no_backward = "" if backward else why or _why_none(moments, value, "backward", known.gradient)
    failing = forward is not None and abs(forward.z) >= _FAR
    if forward is not None and failing and known.provenance == "theory":
        forward = replace(forward, assumption=doubts.of(site) or _ALIKE)
    if backward is not None and abs(backward.z) >= _FAR and known.gradient_provenance == "theory":
        # Where theory fails for the signal itself, its prediction of the gradient fails with it.
        backward = replace(backward, assumption=doubts.of(site) or (_ALIKE if failing else _INDEPENDENT))
    return _Expected(forward, backward, no_forward, no_backward)


def _dropout_left_out(model: torch.nn.Module, graph: Graph) -> float:
    """What dropout adds to ln(rms) behind it, 1 / (1 - p) on the mean square, where the graph was captured without."""
    if not graph.dropout_off:
        return 0.0
    dropouts = [m for m in model.modules() if m.training and "Dropout" in type(m).__name__]
    rates = [float(vars(m).get("p", 0.0)) for m in dropouts]
    return -0.5 * math.log1p(-min(max(rates, default=0.0), 0.99))


_AT_THE_END = "the gradient is followed from what the functions at the model's end read"
_NO_FORMULA = "theory has no formula for this operation"


def _why_none(moments: MomentMap, value: int, direction: Direction, known: JointMoments | None) -> str:
    """Why a value has no prediction: the nearest reason on the way to it."""
    nearest = moments.why_unknown(value, direction)
    if known is None or nearest:
        return nearest or (_NO_FORMULA if direction == "forward" else "no gradient was followed here")
    return _TOO_WIDE if known.log_rms_se > MOST_SE else "the expected size is zero or no number"


@dataclass(frozen=True, slots=True)
class _Expected:
    forward: Prediction | None
    backward: Prediction | None
    no_forward: str = ""
    no_backward: str = ""


@dataclass(frozen=True, slots=True)
class _Doubts:
    """What is known to fail in a model before anything is compared."""

    few: int
    last_few: int
    passed: frozenset[int] = frozenset()
    unread: float = 0.0  # of ln(rms), by dropout that the graph does not have

    def why_no_gradient(self, site: Site, value: int) -> str:
        """Why nothing is expected of a gradient; "" where something is."""
        if site.index <= self.last_few:
            return self.few_values
        return _AT_THE_END if value in self.passed else ""

    @property
    def few_values(self) -> str:
        """Why there is no gradient before a batch norm of few values."""
        return f"a batch norm behind it takes its statistics from {self.few} values, fewer than {_FEW_VALUES}"

    def of(self, site: Site) -> str:
        """The assumption that fails at a site whatever the direction, "" if none is known to."""
        return _of_equal_samples(site.sample_cosine)


def failing_assumption(cosine: Cosine | None) -> str:
    """The assumption of a prediction that fails where an output is far from it.

    Args:
        cosine: of the samples there.
    """
    return _of_equal_samples(cosine) or _ALIKE


def _of_equal_samples(cosine: Cosine | None) -> str:
    if cosine is not None and cosine.between_share < _SHARED:
        return "averages over units: samples are nearly equal, so that one draw of the weights decides"
    return ""


def _doubts(sites: Sequence[Site]) -> _Doubts:
    few = {s.index: s.norm.values_per_statistic for s in sites if s.norm and s.norm.training and _is_few(s.norm)}
    return _Doubts(min(few.values(), default=0), max(few, default=-1))


def _is_few(norm: NormRecord) -> bool:
    return norm.kind == "batch_norm" and norm.values_per_statistic < _FEW_VALUES


def _prediction(
    measured: TensorStats | None, moments: JointMoments | None, provenance: Provenance, source: str, least: float
) -> Prediction | None:
    if measured is None or measured.any_nonfinite or moments is None or provenance == "unknown":
        return None
    rms, error = moments.rms, math.hypot(moments.log_rms_se, least)
    if not (math.isfinite(rms) and rms > 0 and measured.rms > 0 and error <= MOST_SE):
        return None
    return Prediction(
        rms=rms,
        log_rms_std=error,
        z=math.log(measured.rms / rms) / error,
        source=source if provenance == "theory" else f"{source}, an operation sampled",
    )
