"""Weights in files of the safetensors format, slice by slice: never more than one slice of a tensor in memory.

A file is a length (8 bytes), a header (JSON: name -> dtype, shape, place), and the numbers.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanin.errors import ArgumentError, InputError
from fanin.text.names import clean

__all__ = ["DTYPES", "INDEX", "Entry", "Header", "TensorFile", "num_bytes", "read_header", "shards"]

INDEX = "model.safetensors.index.json"
DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "complex64": "C64"} | {
    **{f"int{n}": f"I{n}" for n in (8, 16, 32, 64)},
    **{"uint8": "U8", "bool": "BOOL"},
}
_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "C64": 8, "I8": 1, "I16": 2, "I32": 4, "I64": 8, "U8": 1, "BOOL": 1}
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_LONGEST = 100_000_000  # bytes of a header, as in the format's own reader


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file.

    Attributes:
        name: of the tensor.
        dtype: as torch calls it, or as the file does where torch has no such name.
        shape: of the tensor.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return math.prod(self.shape) * _SIZES.get(DTYPES.get(self.dtype, self.dtype), 1)


@dataclass(frozen=True, slots=True)
class TensorFile:
    """A file to be written.

    Attributes:
        name: of the file.
        entries: its tensors, in order.
    """

    name: str
    entries: tuple[Entry, ...]

    def header(self, metadata: Mapping[str, str]) -> bytes:
        """The bytes before the numbers, a multiple of 8."""
        listed: dict[str, Any] = {"__metadata__": dict(metadata)}
        at = 0
        for e in self.entries:
            listed[e.name] = {"dtype": DTYPES[e.dtype], "shape": list(e.shape), "data_offsets": [at, at + e.nbytes]}
            at += e.nbytes
        text = json.dumps(listed, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text

    @property
    def nbytes(self) -> int:
        """Bytes of all numbers."""
        return sum(e.nbytes for e in self.entries)


def num_bytes(size: str | int) -> int:
    """A size such as "5GB" in bytes.

    Raises:
        ArgumentError: it is no size.

    Example:
        >>> num_bytes("5GB"), num_bytes("1MiB"), num_bytes(7)
        (5000000000, 1048576, 7)
    """
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    text = str(size).upper().replace(" ", "")
    unit = next((u for u in _UNITS if text.endswith(u)), "")
    number = text.removesuffix(unit)
    try:
        found = int(float(number) * _UNITS[unit]) if unit and number.replace(".", "", 1).isdecimal() else 0
    except OverflowError:
        found = 0
    if found < 1:
        raise ArgumentError(f"a size is a number of bytes > 0, or text such as '5GB' or '500MB'; got {size!r}")
    return found


def shards(entries: Sequence[Entry], limit: int) -> list[TensorFile]:
    """The files of a model: tensors in order, as many to a file as fit; a larger tensor has a file of its own.

    Example:
        >>> parts = [Entry("a", "float32", (3,)), Entry("b", "float32", (9,)), Entry("c", "float32", (1,))]
        >>> [(f.name[:11], len(f.entries)) for f in shards(parts, 16)]
        [('model-00001', 1), ('model-00002', 1), ('model-00003', 1)]
    """
    groups: list[list[Entry]] = []
    room = 0
    for entry in entries:
        if not groups or entry.nbytes > room:
            groups.append([])
            room = limit
        groups[-1].append(entry)
        room -= entry.nbytes
    if len(groups) < 2:
        return [TensorFile("model.safetensors", tuple(g)) for g in groups]
    names = [f"model-{i:05d}-of-{len(groups):05d}.safetensors" for i in range(1, len(groups) + 1)]
    return [TensorFile(name, tuple(g)) for name, g in zip(names, groups, strict=True)]


@dataclass(frozen=True, slots=True)
class Header:
    """What the beginning of a file says.

    Attributes:
        entries: name -> tensor.
        starts: name -> place of its first byte in the file.
        metadata: text beside it.
        end: bytes that the file must have.
    """

    entries: Mapping[str, Entry]
    starts: Mapping[str, int]
    metadata: Mapping[str, str]
    end: int


def read_header(path: Path) -> Header:
    """The header of a safetensors file.

    Raises:
        InputError: the file cannot be read, or holds no header.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _LONGEST:
                raise ValueError("its header is longer than 100 MB")
            return _header(json.loads(file.read(length)), 8 + length)
    except OSError as error:
        raise InputError(f"'{clean(path)}' cannot be read: {error.strerror}. Give a folder of weights.") from error
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
        raise InputError(
            f"'{clean(path)}' holds no weights in the safetensors format ({clean(str(error))[:80]}). Write it again."
        ) from error


def _header(data: Mapping[str, Any], start: int) -> Header:
    names = {v: k for k, v in DTYPES.items()}
    metadata = data.get("__metadata__", {})
    listed = {k: v for k, v in data.items() if k != "__metadata__"}
    entries, starts, end = {}, {}, start
    for name, one in listed.items():
        entry = Entry(name, names.get(one["dtype"], str(one["dtype"])), tuple(int(n) for n in one["shape"]))
        first, last = (int(n) for n in one["data_offsets"])
        if first < 0 or min(entry.shape, default=0) < 0 or last - first != entry.nbytes:
            raise ValueError(f"the place of {name!r} does not fit its shape")
        entries[name], starts[name], end = entry, start + first, max(end, start + last)
    return Header(entries, starts, {str(k): str(v) for k, v in metadata.items()}, end)
