"""What theory expects of every site, from the graph and the weights' moments alone, beside what was measured."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fanin.errors import FaninError
from fanin.measure.record import NormRecord, Prediction, Site, TensorStats

if TYPE_CHECKING:
    import torch

    from fanin.graph.ir import Graph
    from fanin.moments import JointMoments, MomentMap, Provenance, TensorMoments
    from fanin.moments.frame import Defect

__all__ = ["with_predictions"]

# Poole et al. 2016 and, for gradients, Schoenholz et al. 2017; errors at this width: Hanin and Rolnick 2018.
_FORWARD = "mean field (arXiv 1606.05340, 1803.01719)"
_BACKWARD = "mean field from the measured gradient at the outputs (arXiv 1611.01232, 1803.01719)"
_FAR = 5.0  # standard errors from which an assumption is said to fail
_LEAST_SE = 0.02  # a prediction is not better than this: moments of weights are sampled, borders and batches are finite
_LEAST_SE_BACKWARD = 0.05  # nor a gradient's: what joins and norms add to its error is not followed
_ALIKE = "weights are independent of what they read, and all entries of one tensor have one law"
_INDEPENDENT = "gradients are independent of the signals that they are multiplied with, and have one law in all places"
_SAMPLED = "operations that theory has no rule for, sampled one at a time, are independent of one another"
_PLEASE = "please report it with this text"
_FEW_VALUES = 32
_SHARED = 0.05  # between-sample share of the energy below which one draw of the weights decides all samples


def with_predictions(
    model: torch.nn.Module,
    graph: Graph,
    sites: Sequence[Site],
    *,
    cotangents: Mapping[str, torch.Tensor] | None = None,
    copies: bool = False,
) -> tuple[tuple[Site, ...], dict[str, str]]:
    """The sites with `predicted` and `predicted_backward` filled in where theory knows them, and why not elsewhere.

    The graph was captured without running the model's arithmetic; weights enter by their mean and variance, inputs and
    the loss' gradient at the outputs by their moments. A site is matched to the graph by module, operation and call,
    only where both saw the same number of calls.

    Args:
        model: left as found.
        graph: its captured forward pass.
        sites: what was measured.
        cotangents: measured gradient at each output, by its path in what the model returned; without any there is no
            backward prediction.
        copies: some weights are copies of others, which theory takes to be independent.

    Returns:
        The sites, and what is missing with its reason: "prediction" where nothing was predicted, "prediction of some
        operations" where a formula of fanin's own raised an error, "prediction of gradients" where a batch norm
        takes its statistics from too few values.
    """
    try:
        moments = _followed(model, graph, cotangents or {})
    except FaninError as error:
        return tuple(sites), {"prediction": str(error)}
    except Exception as error:  # a fault of fanin's own, which must not cost the user the measurements
        return tuple(sites), {"prediction": f"an error in fanin ({type(error).__name__}: {error}); {_PLEASE}"}
    missing = {"prediction of some operations": _faults(moments.defects)} if moments.defects else {}
    expected = _by_call(moments)
    calls: dict[tuple[str, str], list[Site]] = defaultdict(list)
    for site in sites:
        calls[site.path, site.op].append(site)
    doubts = _doubts(sites, copies)
    if doubts.few:
        missing["prediction of gradients"] = (
            f"no formula gives a gradient through a batch norm of so few values: some take their statistics from "
            f"{doubts.few}, and below {_FEW_VALUES} the number that a norm divides by is random. "
            "A larger batch has expected gradients"
        )
    found: dict[int, _Expected] = {}
    for key, seen in calls.items():
        outputs = expected.get(key, [])
        if len(outputs) == len(seen):
            for site, output in zip(seen, outputs, strict=True):
                found[site.index] = _both(site, moments.tensors.get(output), doubts)
    if not any(e.forward or e.backward for e in found.values()):
        return tuple(sites), {**missing, "prediction": "no operation was matched"}
    none = _Expected(None, None)
    both = ((s, found.get(s.index, none)) for s in sites)
    return tuple(replace(s, predicted=e.forward, predicted_backward=e.backward) for s, e in both), missing


def _faults(defects: Sequence[Defect]) -> str:
    """Which formulas raised an error of fanin's own, at most three of them spelled out."""
    shown = [f"the {d.direction} formula for {d.op} in {d.module or 'the model'} raised {d.error}" for d in defects[:3]]
    more = [f"{len(defects) - len(shown)} more"] if len(defects) > len(shown) else []
    return f"an error in fanin: {'; '.join([*shown, *more])}. These were sampled instead; {_PLEASE}"


def _followed(model: torch.nn.Module, graph: Graph, cotangents: Mapping[str, torch.Tensor]) -> MomentMap:
    """Moments of everything, forward from the inputs and backward from what the outputs received."""
    from fanin.moments import propagate, read_weights
    from fanin.moments.frame import measured

    received = {o.value: measured(cotangents[o.path]) for o in graph.outputs if o.path in cotangents}
    return propagate(graph, read_weights(model), "example", cotangent=received or None, training=model.training)


def _by_call(moments: MomentMap) -> Mapping[tuple[str, str], list[int]]:
    """(module path, operation) -> first outputs of its calls, in order."""
    outputs: dict[tuple[str, str], list[int]] = defaultdict(list)
    for op in moments.graph.ops:
        if op.outputs:
            outputs[op.module, op.name].append(op.outputs[0])
    return outputs


def _both(site: Site, known: TensorMoments | None, doubts: _Doubts) -> _Expected:
    """The two predictions of a site."""
    if known is None:
        return _Expected(None, None)
    forward = _prediction(site.forward, known.moments, known.provenance, _FORWARD, _LEAST_SE)
    backward = _prediction(site.backward, known.gradient, known.gradient_provenance, _BACKWARD, _LEAST_SE_BACKWARD)
    if site.index <= doubts.last_few:
        backward = None
    failing = forward is not None and abs(forward.z) >= _FAR
    if forward is not None and failing:
        why = doubts.of(site) or (_SAMPLED if known.provenance == "empirical" else _ALIKE)
        forward = replace(forward, assumption=why)
    if backward is not None and abs(backward.z) >= _FAR:
        # Where theory fails for the signal itself, its prediction of the gradient fails with it.
        why = doubts.of(site) or (_ALIKE if failing else _INDEPENDENT)
        backward = replace(backward, assumption=_SAMPLED if known.gradient_provenance == "empirical" else why)
    return _Expected(forward, backward)


@dataclass(frozen=True, slots=True)
class _Expected:
    forward: Prediction | None
    backward: Prediction | None


@dataclass(frozen=True, slots=True)
class _Doubts:
    """What is known to fail in a model before anything is compared."""

    copies: bool
    few: int
    last_few: int

    def of(self, site: Site) -> str:
        """The assumption that fails at a site whatever the direction, "" if none is known to."""
        if self.copies:
            return "weights of different layers are independent: some are copies of one another"
        if site.sample_cosine is not None and site.sample_cosine.between_share < _SHARED:
            return "averages over units: samples are nearly equal, so that one draw of the weights decides"
        return ""


def _doubts(sites: Sequence[Site], copies: bool) -> _Doubts:
    few = {s.index: s.norm.values_per_statistic for s in sites if s.norm and s.norm.training and _is_few(s.norm)}
    return _Doubts(copies, min(few.values(), default=0), max(few, default=-1))


def _is_few(norm: NormRecord) -> bool:
    return norm.kind == "batch_norm" and norm.values_per_statistic < _FEW_VALUES


def _prediction(
    measured: TensorStats | None, moments: JointMoments | None, provenance: Provenance, source: str, least: float
) -> Prediction | None:
    if measured is None or measured.any_nonfinite or moments is None or provenance == "unknown":
        return None
    rms, error = moments.rms, max(moments.log_rms_se, least)
    if not (math.isfinite(rms) and rms > 0 and measured.rms > 0 and math.isfinite(error)):
        return None
    return Prediction(
        rms=rms,
        log_rms_std=error,
        z=math.log(measured.rms / rms) / error,
        source=source if provenance == "theory" else f"{source}, an operation sampled",
    )
