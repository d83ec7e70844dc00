"""What can be said of the numbers in one tensor, whatever its class and device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanin.tensors.holdings import Part, holdings
from fanin.tensors.shards import is_sharded, local_part
from fanin.tensors.writable import is_plain

if TYPE_CHECKING:
    import torch

__all__ = ["as_real", "finite", "readable", "why_empty", "wide_enough", "zero_rows_"]

_PIECE = 1 << 22  # elements looked at before the whole tensor is


def why_empty(tensor: torch.Tensor) -> str:
    """Why a tensor holds nothing that could be kept; "" where it holds numbers.

    Example:
        >>> import torch
        >>> why_empty(torch.tensor([1.0, float("nan")])), why_empty(torch.zeros(2)), why_empty(torch.tensor([3]))
        ('holds NaN', '', '')
    """
    if tensor.device.type == "meta":
        return "on the meta device"
    if finite(tensor):
        return ""
    return "holds NaN" if bool(wide_enough(tensor.detach()).isnan().any()) else "holds infinite numbers"


def readable(tensor: torch.Tensor) -> bool:
    """Whether the numbers of a tensor can be read and compared: it is dense, and keeps them as torch does."""
    dense = tensor.layout is not None and str(tensor.layout) == "torch.strided" and not tensor.is_nested
    return dense and not tensor.is_quantized and (is_plain(tensor) or is_sharded(tensor))


def as_real(x: torch.Tensor) -> torch.Tensor:
    """A complex tensor as its real and imaginary parts, on one axis more; any other as it is.

    Example:
        >>> import torch
        >>> as_real(torch.tensor([1 + 2j])).tolist()
        [[1.0, 2.0]]
    """
    import torch

    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x


def wide_enough(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers in a dtype that torch computes with: floats of 8 bits in float32, all others as they are.

    Example:
        >>> import torch
        >>> wide_enough(torch.ones(2, dtype=torch.float8_e4m3fn)).dtype, wide_enough(torch.ones(2).half()).dtype
        (torch.float32, torch.float16)
    """
    narrow = tensor.is_floating_point() and tensor.dtype.itemsize == 1
    return tensor.float() if narrow else tensor


def finite(tensor: torch.Tensor) -> bool:
    """Whether no number is NaN or infinite.

    True for integers, for quantised tensors, for fake ones, and where a tensor's class does not tell.
    """
    from torch._subclasses.fake_tensor import FakeTensor

    floats = tensor.is_floating_point() or tensor.is_complex()
    if not floats or tensor.device.type == "meta" or isinstance(tensor, FakeTensor):
        return True
    flat: Any = tensor
    flat = flat.to_local() if is_sharded(tensor) else flat.detach()
    try:
        flat = wide_enough(flat)
        if flat.numel() > _PIECE and not bool(flat.reshape(-1)[:1024].isfinite().all()):
            return False
        # A finite sum has finite terms, and costs a tenth of asking each of them; one that overflows says nothing.
        return bool(flat.sum().isfinite()) or bool(flat.isfinite().all())
    except (NotImplementedError, RuntimeError, TypeError):  # a class without this operation
        return True


def zero_rows_(tensor: Any, rows: tuple[int, ...], part: Part | None = None) -> None:
    """Set rows of the first axis to zero, in place; of a shard, those that it holds.

    Args:
        tensor: what is written.
        rows: of the whole tensor.
        part: which elements of the whole the tensor is; read off it where not given.

    Example:
        >>> import torch
        >>> x = torch.ones(3, 2)
        >>> zero_rows_(x, (0, 2))
        >>> x.tolist()
        [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    """
    if not rows:
        return
    part, memory = part or holdings(tensor), local_part(tensor).detach()
    for row in rows:
        for here in part.inside([(row, row + 1), *((0, n) for n in part.whole[1:])]):
            memory[here].zero_()
