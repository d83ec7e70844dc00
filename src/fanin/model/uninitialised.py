"""Which parameters hold no start at all: on the meta device, poisoned with NaN, or named by the caller as missing."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fanin.errors import PlanError, did_you_mean
from fanin.model.parameters import Slot

if TYPE_CHECKING:
    import torch

__all__ = ["uninitialised"]

_SAMPLE = 1 << 22  # elements looked at before the whole tensor is


def uninitialised(slots: dict[str, Slot], missing: Sequence[str] = ()) -> dict[str, str]:
    """First name -> why it counts as uninitialised ("on the meta device", "holds NaN", "named as missing").

    Args:
        slots: the parameters of the model.
        missing: globs on qualified names, for example the ``missing_keys`` of ``load_state_dict``.

    Raises:
        PlanError: a name in `missing` that matches no parameter.
    """
    names = [n for s in slots.values() for n in (s.name, *s.aliases)]
    for pattern in missing:
        if not any(fnmatch.fnmatchcase(n, pattern) for n in names):
            raise PlanError(f"{pattern!r} in missing matches no parameter; {did_you_mean(pattern, names[:2000])[:300]}")
    found = {}
    for slot in slots.values():
        if any(fnmatch.fnmatchcase(n, p) for n in (slot.name, *slot.aliases) for p in missing):
            found[slot.name] = "named as missing"
        elif slot.tensor.device.type == "meta":
            found[slot.name] = "on the meta device"
        elif _holds_nan(slot.tensor):
            found[slot.name] = "holds NaN"
    return found


def _holds_nan(tensor: torch.Tensor) -> bool:
    flat = tensor.detach()
    if not (flat.is_floating_point() or flat.is_complex()):
        return False
    if flat.numel() > _SAMPLE and bool(flat.reshape(-1)[:1024].isnan().any()):
        return True
    return bool(flat.isnan().any())
