"""What a plan says of the whole network under the laws chosen: copies, residual streams that grow, sizes of streams."""

from __future__ import annotations

import math
from typing import Any

from fanin.recipes.engine.network import Network
from fanin.recipes.engine.settle import Settled
from fanin.tensors.shards import whole_here

__all__ = ["remarks", "stream_sizes"]

_EXPLODES = 10.0  # times its start: a stream of 100 unit branches on a unit start


def remarks(network: Network, settled: Settled, *, predicted: bool = True) -> tuple[str, ...]:
    """Warnings about the whole network.

    Args:
        network: what was captured.
        settled: the laws chosen, and what is predicted under them.
        predicted: whether the predictions mean anything.
    """
    return (*_clones(network, settled), *(_explosions(network, settled) if predicted else ()))


def _clones(network: Network, settled: Settled) -> tuple[str, ...]:
    """A warning that names weights which are equal now and are drawn, as nn.TransformerEncoder makes them."""
    seen: dict[tuple[Any, ...], list[str]] = {}
    for name, found in network.tensors.items():
        role, tensor = network.roles.parameters.get(name), whole_here(found)
        if (
            role is None
            or tensor is None
            or role.role != "weight"
            or tensor.device.type == "meta"
            or tensor.numel() < 16
        ):
            continue
        if name in network.kept or settled.choices[name].action != "draw":
            continue
        head = tensor.detach().reshape(-1)[:16]
        head = (head.real if head.is_complex() else head).float().cpu()
        if float(head.std()) > 0.0:
            seen.setdefault((*tensor.shape, *head.tolist()), []).append(name)
    groups = [names for names in seen.values() if len(names) > 1]
    if not groups:
        return ()
    copies = sum(len(names) - 1 for names in groups)
    are = "weights are copies" if copies > 1 else "weight is a copy"
    return (
        f"{copies} {are} of another now (e.g. {groups[0][1]} of {groups[0][0]}); they are drawn "
        "independently, because equal layers train worse (docs/recipes.md, clones)",
    )


def _explosions(network: Network, settled: Settled) -> tuple[str, ...]:
    """Warnings about residual streams that end far larger than they start."""
    said = []
    for stream in network.roles.streams:
        known = [settled.moments.tensors.get(v) for v in (stream.start, *stream.sums)]
        sizes = [t.moments.rms for t in known if t is not None and t.moments is not None]
        if len(sizes) < 2 or not 0.0 < sizes[0] < math.inf:
            continue
        finite = [s for s in sizes if math.isfinite(s)]
        growth = math.inf if len(finite) < len(sizes) else max(sizes) / sizes[0]
        if growth > _EXPLODES:
            size = "without bound" if math.isinf(growth) else f"{growth:.2g}-fold"
            said.append(
                f"the residual stream grows {size} over its {stream.num_branches} branches (from rms {sizes[0]:.2g}), "
                "and training will hardly begin. Divide what the branches add by the depth, as the recipe auto does, "
                "or normalize inside the branches"
            )
    return tuple(said)


def stream_sizes(network: Network, settled: Settled) -> dict[str, Any]:
    """The predicted size of every residual stream, from its start to its last sum."""
    streams = []
    for stream in network.roles.streams:
        last = [
            r.uses
            for r in network.roles.parameters.values()
            if r.branch is not None and r.branch.stream == stream.number
        ]
        known = settled.moments.tensors.get(stream.start)
        if known is None or known.moments is None or not last or not math.isfinite(known.moments.rms):
            continue
        streams.append({"branches": stream.num_branches, "start_rms": round(known.moments.rms, 6)})
    return {"streams": streams} if streams else {}
