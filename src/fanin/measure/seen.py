"""What a check knows of the parameters beside their numbers: by the captured graph, or by the modules that own them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fanin.errors import FaninError
from fanin.measure.record import ParameterRecord
from fanin.model.roles import Seen

if TYPE_CHECKING:
    import torch

    from fanin.graph.ir import Graph

__all__ = ["captured", "seen_before", "seen_in"]


def captured(model: torch.nn.Module, inputs: Any) -> tuple[Graph | None, str]:
    """The forward pass as a graph, or the reason why there is none."""
    from fanin.graph.recording.capture import capture

    try:
        return capture(model, inputs, training=True), ""
    except FaninError as error:
        return None, str(error)
    except Exception as error:  # the check goes on without
        return None, f"the forward could not be captured ({type(error).__name__}: {error})"


def seen_in(graph: Graph) -> Mapping[str, Seen]:
    """What the forward pass says of each parameter, by first qualified name."""
    from fanin.graph.roles.label import roles

    return {name: role.seen for name, role in roles(graph).parameters.items()}


def seen_before(records: Iterable[ParameterRecord]) -> Mapping[str, Seen]:
    """What an earlier check of the same model found, for a check of its next draw."""
    return {
        p.path: Seen(role=p.role, layout=p.layout, source=p.role_from, gates=tuple(g.gate for g in p.gates))
        for p in records
    }
