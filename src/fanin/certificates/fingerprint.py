"""`fanin.fingerprint`: the certificate of a live model, also of one that is spread over processes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fanin.certificates.certificate import WHOLE, Certificate, Entry
from fanin.certificates.lanes import lane_key
from fanin.certificates.sums import lanes_of_tensor
from fanin.errors import CertificateError, FaninError
from fanin.model.foreign import as_module
from fanin.model.parameters import Rename, Slot, renamed, slots_in_parts
from fanin.tensors.holdings import Holding, Part, holdings
from fanin.tensors.shards import is_sharded, local_part
from fanin.tensors.values import readable
from fanin.text.names import clean

if TYPE_CHECKING:
    import torch

__all__ = ["fingerprint"]


def fingerprint(model: torch.nn.Module, *, gather: bool | None = None, rename: Rename | None = None) -> Certificate:
    """A short text that two models share exactly where they hold the same numbers.

    Each parameter gives two 64-bit sums over the bits of its elements, weighted by the elements' places in the whole
    parameter (`fanin.certificates.lanes`). Each process sums what it holds, and the sums add up to those of the whole
    model: so certificates from one device, from eight, or from another mesh are equal. Nothing of the model changes.

    Args:
        model: any torch model: plain, or spread by FSDP2, HSDP, tensor parallelism, FSDP1, ZeRO-3, DDP. A tied
            parameter has a line for each of its names.
        gather: exchange the sums between all processes (one ``all_gather_object``, so every process must call), and
            give each the whole certificate; copies of one part that differ are then an error. False gives this
            process's part, for ``fanin cert merge``. Where not given: True for a model with parameters in parts.
        rename: name in this model -> name in the whole one, as in `Plan.apply_`: for pipeline stages.

    Returns:
        The certificate: `text`, `digest`, `diff`, `save`.

    Raises:
        CertificateError: a parameter has no numbers to read (on the meta device, uninitialised, quantised); or the
            parts of all processes contradict each other (named). With `gather` it is raised in every process.

    Accuracy: a single change is always seen; several cancel with a probability near 2**-62. It is no signature.

    Example:
        >>> import fanin, torch
        >>> [(entry.name, entry.count) for entry in fanin.fingerprint(torch.nn.Linear(2, 3)).entries]
        [('bias', 3), ('weight', 6)]
    """
    slots = slots_in_parts(as_module(model).module)
    if gather is None:
        gather = any(slot.part is not None or is_sharded(slot.tensor) for slot in slots.values()) and _in_group()
    if not gather:
        return _of_process(slots, rename)
    if not _in_group():
        raise CertificateError("there are no other processes to gather from: call torch.distributed.init_process_group")
    return _gathered(slots, rename)


def _in_group() -> bool:
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


def _gathered(slots: dict[str, Slot], rename: Rename | None) -> Certificate:
    """The merged certificate; an error in one process is told to all, so that none waits for ever."""
    import torch.distributed as dist

    own: tuple[Certificate | None, str]
    try:
        own = (_of_process(slots, rename), "")
    except Exception as error:
        kind = "" if isinstance(error, FaninError) else f"{type(error).__name__}: "
        own = (None, f"process {dist.get_rank()}: {kind}{error}")
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, own)
    if failed := next((message for _, message in found if message), ""):
        raise CertificateError(failed)
    return Certificate.merge([certificate for certificate, _ in found])


def _of_process(slots: dict[str, Slot], rename: Rename | None) -> Certificate:
    entries = [entry for slot in renamed(slots, rename).values() for entry in _entries(slot)]
    return Certificate(tuple(sorted(entries, key=lambda e: (e.name, e.part))))


def _entries(slot: Slot) -> Iterator[Entry]:
    _assert_filled(slot)
    part = slot.part or holdings(slot.tensor)
    local = local_part(slot.tensor)
    if not readable(local):
        raise CertificateError(f"the numbers of {clean(slot.name)} cannot be read: it is a {type(local).__name__}")
    label, count = _label(part)
    for name in slot.names if label else ():
        lanes = lanes_of_tensor(local, part, lane_key(name, slot.dtype, slot.shape))
        yield Entry(name=name, dtype=slot.dtype, shape=slot.shape, part=label, count=count, lanes=lanes)


def _assert_filled(slot: Slot) -> None:
    from torch.nn.parameter import is_lazy

    lazy = is_lazy(slot.tensor)
    if lazy or slot.tensor.device.type == "meta":
        why = "has no shape yet" if lazy else "is on the meta device and holds no numbers"
        cure = "call the model once with real inputs" if lazy else "plan.materialize(model) gives it weights"
        raise CertificateError(f"{clean(slot.name)} {why}: {cure}.")


def _label(part: Part) -> tuple[str, int]:
    """Which elements of the whole a process holds, as text, and how many; "" where it holds none that it must sum."""
    count = sum(piece.box.size for piece in part.pieces())
    if count == math.prod(part.whole):
        return WHOLE, count
    if not count:
        return "", 0
    if isinstance(part, Holding):
        return ",".join("+".join(f"{first}-{last}" for first, last in axis) for axis in part.runs), count
    start = next(piece.box.start for piece in part.pieces())
    return f"flat {start}-{start + count}", count
