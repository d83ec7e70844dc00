"""What theory expects of every site, from the graph and the weights' moments alone, beside what was measured."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fanin.errors import FaninError
from fanin.measure.record import Prediction, Site

if TYPE_CHECKING:
    import torch

    from fanin.graph.moments import MomentMap

__all__ = ["with_predictions"]

_SOURCE = "mean field over the captured graph (Poole et al. 2016, arXiv 1606.05340; width: Hanin and Rolnick 2018)"
_FAR = 5.0  # standard errors from which an assumption is said to fail
_LEAST_SE = 0.02  # a prediction is not better than this: moments of weights are sampled, borders and batches are finite


def with_predictions(
    model: torch.nn.Module, inputs: Any, sites: Sequence[Site], *, copies: bool = False
) -> tuple[tuple[Site, ...], str]:
    """The sites with `predicted` filled in where theory knows them, and why not where it does not.

    The graph is captured without running the model's arithmetic; weights enter by their mean and variance, inputs by
    their moments. A site is matched to the graph by module, operation and call, only where both saw the same number of
    calls.

    Args:
        model: left as found.
        inputs: as `fanin.check` takes them.
        sites: what was measured.
        copies: some weights are copies of others, which theory takes to be independent.

    Returns:
        The sites, and "" or the reason why nothing was predicted.
    """
    from fanin.graph.capture import capture
    from fanin.graph.moments import propagate, read_weights

    try:
        graph = capture(model, inputs)
        moments = propagate(graph, read_weights(model), "example", training=model.training)
    except FaninError as error:
        return tuple(sites), str(error)
    except Exception as error:
        return tuple(sites), f"theory could not follow the model ({type(error).__name__}: {error})"
    expected = _by_call(moments)
    calls: dict[tuple[str, str], list[Site]] = defaultdict(list)
    for site in sites:
        calls[site.path, site.op].append(site)
    found: dict[int, Prediction] = {}
    for key, seen in calls.items():
        outputs = expected.get(key, [])
        if len(outputs) == len(seen):
            for site, output in zip(seen, outputs, strict=True):
                prediction = _prediction(site, moments, output, copies)
                if prediction is not None:
                    found[site.index] = prediction
    return tuple(replace(s, predicted=found.get(s.index)) for s in sites), "" if found else "no operation was matched"


def _by_call(moments: MomentMap) -> Mapping[tuple[str, str], list[int]]:
    """(module path, operation) -> first outputs of its calls, in order."""
    outputs: dict[tuple[str, str], list[int]] = defaultdict(list)
    for op in moments.graph.ops:
        if op.outputs:
            outputs[op.module, op.name].append(op.outputs[0])
    return outputs


def _prediction(site: Site, moments: MomentMap, output: int, copies: bool) -> Prediction | None:
    known = moments.tensors.get(output)
    if known is None or known.moments is None or known.provenance == "unknown" or site.forward.any_nonfinite:
        return None
    rms, measured = known.moments.rms, site.forward.rms
    error = max(known.moments.log_rms_se, _LEAST_SE)
    if not (math.isfinite(rms) and rms > 0 and measured > 0 and math.isfinite(error)):
        return None
    z = math.log(measured / rms) / error
    return Prediction(
        rms=rms,
        log_rms_std=error,
        z=z,
        source=_SOURCE if known.provenance == "theory" else f"{_SOURCE}; an operation before it was sampled",
        assumption=_assumption(site, z, copies),
    )


def _assumption(site: Site, z: float, copies: bool) -> str:
    """Which assumption fails where prediction and measurement are far apart."""
    if abs(z) < _FAR:
        return ""
    if copies:
        return "weights of different layers are independent: some are copies of one another"
    if site.sample_cosine is not None and site.sample_cosine.between_share < 0.05:
        return "averages over units: samples are nearly equal, so that one draw of the weights decides"
    return "weights are independent of what they read, and entries of one tensor are alike"
