"""Compare a folder of weights with a plan, slice by slice, without loading it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fanin.errors import InputError, PlanError
from fanin.planning.assignment import Assignment
from fanin.planning.slices import drawn_slices
from fanin.planning.tensor_files import INDEX, Header, read_header
from fanin.planning.write import assert_dtype
from fanin.text.files import PathLike
from fanin.text.names import clean
from fanin.text.numbers import counted

if TYPE_CHECKING:
    from fanin.planning.data import PlanData

__all__ = ["FolderVerification", "verify_folder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderVerification:
    """What `Plan.verify` found in a folder.

    Attributes:
        bits: parameters that are the plan's values bit for bit.
        not_checked: tensors that the plan does not draw: kept parameters, and buffers.
        departures: one sentence for each tensor or file that is not as planned.
    """

    bits: tuple[str, ...]
    not_checked: tuple[str, ...]
    departures: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing departs from the plan."""
        return not self.departures

    def raise_for_mismatches(self) -> None:
        """Raise `PlanError` with every departure, if there is one."""
        if self.departures:
            head = f"{counted(len(self.departures), 'departure')} from the plan:"
            raise PlanError("\n  ".join([head, *self.departures[:20]]))

    def __str__(self) -> str:
        head = f"{counted(len(self.bits), 'parameter')} bit for bit, {len(self.not_checked)} not checked, "
        head += counted(len(self.departures), "departure")
        return "\n".join([head, *(f"  {d}" for d in self.departures)])


def verify_folder(plan: PlanData, folder: PathLike, *, dtype: str | None = None) -> FolderVerification:
    """Hold the weights of a folder against a plan; see `Plan.verify`."""
    assert_dtype(dtype)
    headers, departures = _headers(Path(folder))
    where = {name: (path, header) for path, header in headers.items() for name in header.entries}
    bits, skipped = [], []
    for a in plan.assignments.values():
        name = next((n for n in a.names if n in where), None)
        if name is None:
            departures.append(f"{clean(a.name)}: missing")
        elif a.action != "draw" or a.through:
            skipped.append(a.name)
        elif found := _departure(plan, a, name, *where[name], dtype):
            departures.append(f"{clean(name)}: {found}")
        else:
            bits.append(a.name)
    extra = {n for n in where if n not in plan}
    known = {n for _, h in where.values() for n in _buffers(h)} & extra
    departures += [f"{clean(n)}: extra, the plan does not have it" for n in sorted(extra - known)]
    return FolderVerification(bits=tuple(bits), not_checked=(*skipped, *sorted(known)), departures=tuple(departures))


def _headers(folder: Path) -> tuple[dict[Path, Header], list[str]]:
    """The headers of all files of weights; and what is wrong with the files."""
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise InputError(f"no file of weights (*.safetensors) in '{clean(folder)}'. Give the folder of a checkpoint.")
    headers, wrong = {}, []
    for path in paths:
        try:
            headers[path] = read_header(path)
        except InputError as error:
            wrong.append(str(error))
            continue
        size = path.stat().st_size
        if size != headers[path].end:
            wrong.append(f"{clean(path.name)}: {size} bytes, its header says {headers[path].end}")
    return headers, [*wrong, *_index_departures(folder, headers)]


def _index_departures(folder: Path, headers: dict[Path, Header]) -> Iterator[str]:
    index = folder / INDEX
    if not index.exists():
        if len(headers) > 1:
            yield f"{INDEX}: missing"
        return
    try:
        listed = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        yield f"{INDEX}: cannot be read"
        return
    held = {name: path.name for path, header in headers.items() for name in header.entries}
    for name in sorted(held.keys() | listed.keys()):
        if held.get(name) != listed.get(name):
            yield f"{INDEX}: says that {clean(name)} is in {clean(str(listed.get(name)))}, it is in {held.get(name)}"


def _buffers(header: Header) -> list[str]:
    try:
        return [str(n) for n in json.loads(header.metadata.get("fanin_buffers", "[]"))]
    except (ValueError, TypeError):
        return []


def _departure(plan: PlanData, a: Assignment, name: str, path: Path, header: Header, dtype: str | None) -> str:
    """How the tensor in the file departs from the plan; "" where it does not."""
    import torch

    entry = header.entries[name]
    if entry.shape != a.shape:
        return f"shape {entry.shape}, planned {a.shape}"
    if entry.dtype != (dtype or a.dtype):
        return f"dtype {entry.dtype}, planned {dtype or a.dtype}"
    count, where, size = 0, 0, entry.nbytes // max(a.numel, 1)
    with path.open("rb") as file:
        for first, want in drawn_slices(plan, a, entry.dtype):
            file.seek(header.starts[name] + first * size)
            data = file.read(want.numel() * size)
            if len(data) < want.numel() * size:
                return f"the file ends before its number {first + len(data) // size}"
            found = torch.frombuffer(bytearray(data), dtype=torch.uint8).reshape(-1, size)
            wrong = (found != want.view(torch.uint8).reshape(-1, size)).any(1)
            if here := int(wrong.sum()):
                where = where if count else first + int(wrong.nonzero()[0])
                count += here
    return f"{count} of {a.numel} numbers differ, first at {where}" if count else ""
