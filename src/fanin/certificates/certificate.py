"""A certificate as data: one entry a parameter, or one for each part of it, and its form as text.

The text is JSON Lines: a first line with the form's name, then one line for each entry. Two certificates of the same
numbers are the same text, so any tool that compares lines can compare them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from fanin.certificates.lanes import Lanes, add
from fanin.errors import CertificateError, InputError
from fanin.text.files import PathLike, write_text
from fanin.text.html import html_table
from fanin.text.names import clean
from fanin.text.numbers import counted
from fanin.text.reading import read_bytes

__all__ = ["FORM", "Certificate", "Difference", "Entry"]

FORM = "fanin-cert/1"
WHOLE = "whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The sums of one parameter, or of the part of it that one process holds.

    Attributes:
        name: of the parameter, without what wrappers add.
        dtype: as in "bfloat16".
        shape: of the whole parameter.
        part: which elements they are, as in "0-8,0-4"; "whole" where they are all.
        count: number of elements summed.
        lanes: two sums modulo 2**64; see `fanin.certificates.lanes`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    part: str = WHOLE
    count: int
    lanes: Lanes

    @property
    def numel(self) -> int:
        """Number of elements of the whole parameter."""
        return math.prod(self.shape)

    @property
    def is_whole(self) -> bool:
        """Whether every element was summed."""
        return self.part == WHOLE

    def line(self) -> str:
        """The entry as one line of text."""
        data: dict[str, object] = {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}
        data |= {"count": self.count, "lanes": "{:016x}{:016x}".format(*self.lanes)}
        if not self.is_whole:
            data["part"] = self.part
        return json.dumps(data, ensure_ascii=True)

    @classmethod
    def of_line(cls, line: str) -> Entry:
        """The entry that `line` gave.

        Raises:
            ValueError: the line is not one of an entry.
        """
        data = json.loads(line)
        if not isinstance(data, dict) or not {"name", "dtype", "shape", "count", "lanes"} <= data.keys():
            raise ValueError("no entry")
        lanes = str(data["lanes"])
        if len(lanes) != 32:
            raise ValueError("lanes are 32 hexadecimal digits")
        return cls(
            name=str(data["name"]),
            dtype=str(data["dtype"]),
            shape=tuple(_size(n) for n in data["shape"]),
            part=str(data.get("part", WHOLE)),
            count=_size(data["count"]),
            lanes=(int(lanes[:16], 16), int(lanes[16:], 16)),
        )


def _size(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("sizes are integers of 0 or more")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One parameter that two certificates do not share.

    Attributes:
        name: of the parameter.
        quantity: "parameter", "dtype", "shape" or "values".
        left: what the first certificate says.
        right: what the second one says.
    """

    name: str
    quantity: str
    left: str
    right: str

    def __str__(self) -> str:
        return f"{clean(self.name)}: {self.quantity} {clean(self.left)} | {clean(self.right)}"


@dataclass(frozen=True, slots=True)
class Certificate:
    """Which numbers a model holds, in one line a parameter; `fanin.fingerprint` makes it.

    Certificates of models with the same names, shapes, dtypes and bits are equal, whatever the number of processes,
    devices and the way that the model is spread over them. A certificate finds accidents (a shard that was skipped,
    doubled or exchanged, a replica that differs, one flipped bit); it is no signature.

    Attributes:
        entries: sorted by name; one each for a whole certificate, several for one that a single process made of its
            parts.

    Example:
        >>> import fanin, torch
        >>> model = torch.nn.Linear(3, 2)
        >>> one = fanin.fingerprint(model)
        >>> one == fanin.fingerprint(model), one == Certificate.of_text(one.text())
        (True, True)
        >>> _ = torch.nn.init.zeros_(model.bias)
        >>> [difference.name for difference in one.diff(fanin.fingerprint(model))]
        ['bias']
    """

    entries: tuple[Entry, ...]

    # ------------------------------------------------------------------ what it says
    @property
    def is_whole(self) -> bool:
        """Whether it covers all elements of each parameter in it, so that it can be compared."""
        return all(e.is_whole for e in self.entries)

    @property
    def numel(self) -> int:
        """Number of elements of all parameters in it."""
        return sum(math.prod(shape) for shape in {e.name: e.shape for e in self.entries}.values())

    @property
    def digest(self) -> str:
        """32 hexadecimal digits of the whole: BLAKE2b of its lines.

        Raises:
            CertificateError: it is one process's part; `merge` it with the others first.
        """
        self._assert_whole()
        lines = "\n".join(e.line() for e in self.entries)
        return hashlib.blake2b(lines.encode(), digest_size=16, person=b"fanin-cert-1").hexdigest()

    def diff(self, other: Certificate) -> tuple[Difference, ...]:
        """Parameters in which two certificates differ, by name; empty where they agree.

        Raises:
            CertificateError: one of them is a process's part.
        """
        self._assert_whole()
        other._assert_whole()
        left, right = ({e.name: e for e in c.entries} for c in (self, other))
        return tuple(d for name in sorted(left.keys() | right.keys()) for d in _differences(name, left, right))

    def _assert_whole(self) -> None:
        if part := next((e for e in self.entries if not e.is_whole), None):
            raise CertificateError(
                f"the certificate holds a part of {clean(part.name)} alone ({part.part} of {list(part.shape)}). Merge "
                "it with those of the other processes: fanin cert merge, or Certificate.merge."
            )

    # ------------------------------------------------------------------ parts
    @classmethod
    def merge(cls, parts: Sequence[Certificate]) -> Certificate:
        """The whole certificate from those of all processes.

        Args:
            parts: one from each process; the order decides nothing but which process an error names.

        Raises:
            CertificateError: copies of one part differ, or the parts are not the whole of a parameter; all such
                parameters are named.

        Example:
            >>> half = dict(name="w", dtype="float32", shape=(4,), count=2)
            >>> left = Certificate((Entry(**half, part="0-2", lanes=(1, 2)),))
            >>> right = Certificate((Entry(**half, part="2-4", lanes=(3, 4)),))
            >>> Certificate.merge([left, right]).entries[0].lanes
            (4, 6)
        """
        found: dict[str, list[tuple[int, Entry]]] = defaultdict(list)
        for process, part in enumerate(parts):
            for entry in part.entries:
                found[entry.name].append((process, entry))
        wrong = [sentence for name in sorted(found) for sentence in _contradictions(found[name])]
        if wrong:
            head = f"{counted(len(wrong), 'fault')} in the parts of a certificate:"
            raise CertificateError("\n  ".join([head, *wrong[:20]]))
        return cls(tuple(_joined([e for _, e in found[name]]) for name in sorted(found)))

    # ------------------------------------------------------------------ text
    def text(self) -> str:
        """The certificate as JSON Lines, the same text for the same numbers."""
        return "\n".join([json.dumps({"form": FORM}), *(e.line() for e in self.entries), ""])

    @classmethod
    def of_text(cls, text: str) -> Certificate:
        """The certificate that `text` gave.

        Raises:
            CertificateError: it is no certificate, or one of another form.
        """
        head, *lines = text.splitlines() or [""]
        try:
            form = json.loads(head)["form"]
            entries = [Entry.of_line(line) for line in lines if line]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CertificateError("the text is no certificate of fanin, or was cut: make it anew") from error
        if form != FORM:
            raise CertificateError(f"the certificate has the form {clean(str(form))}; this version reads {FORM}")
        return cls(tuple(sorted(entries, key=lambda e: (e.name, e.part))))

    def save(self, path: PathLike) -> None:
        """Write `text` to a file, all or nothing.

        Raises:
            OutputError: the file cannot be written.
        """
        write_text(path, self.text())

    @classmethod
    def load(cls, path: PathLike) -> Certificate:
        """Read what `save` wrote.

        Raises:
            CertificateError: the file cannot be read, or holds no certificate.
        """
        try:
            text = read_bytes(path).decode("utf-8")
        except InputError as error:
            raise CertificateError(str(error)) from error
        except UnicodeDecodeError as error:
            raise CertificateError(
                f"'{clean(path)}' is no certificate of fanin, which is text: certificate.save(path) writes one"
            ) from error
        try:
            return cls.of_text(text)
        except CertificateError as error:
            raise CertificateError(f"'{clean(path)}': {error}") from error

    def __str__(self) -> str:
        names = len({e.name for e in self.entries})
        what = self.digest if self.is_whole else "one process's part"
        return f"certificate of {counted(names, 'parameter')}, {self.numel} numbers: {what}"

    def __repr__(self) -> str:
        return f"<{self}>"

    def _repr_html_(self) -> str:
        rows = [(e.name, e.dtype, "x".join(map(str, e.shape)), str(e.count)) for e in self.entries]
        return html_table(str(self), ("parameter", "dtype", "shape", "numbers"), rows)


def _differences(name: str, left: Mapping[str, Entry], right: Mapping[str, Entry]) -> Iterator[Difference]:
    one, two = left.get(name), right.get(name)
    if one is None or two is None:
        says = ["missing" if e is None else "present" for e in (one, two)]
        yield Difference(name=name, quantity="parameter", left=says[0], right=says[1])
    elif one.shape != two.shape:
        yield Difference(name=name, quantity="shape", left=str(list(one.shape)), right=str(list(two.shape)))
    elif one.dtype != two.dtype:
        yield Difference(name=name, quantity="dtype", left=one.dtype, right=two.dtype)
    elif one != two:
        yield Difference(name=name, quantity="values", left=_short(one), right=_short(two))


def _short(entry: Entry) -> str:
    return f"{entry.lanes[0]:016x}"


def _contradictions(found: Sequence[tuple[int, Entry]]) -> Iterator[str]:
    """What is wrong with the entries of one parameter: (process, entry)."""
    first = found[0][1]
    name = clean(first.name)
    if len({(e.shape, e.dtype) for _, e in found}) > 1:
        kinds = sorted({f"{list(e.shape)} {e.dtype}" for _, e in found})
        yield f"{name}: processes say {' and '.join(kinds)}"
        return
    by_part = sorted(found, key=lambda one: (one[1].part, one[0]))
    for part, copies in groupby(by_part, key=lambda one: one[1].part):
        (process, held), *others = copies
        if odd := [other for other, e in others if e.lanes != held.lanes]:
            where = "" if part == WHOLE else f" of the part {part}"
            yield f"{name}: the copies{where} in process {process} and process {odd[0]} differ"
    count = sum({e.part: e.count for _, e in found}.values())
    if count != first.numel:
        yield f"{name}: the parts hold {count} of its {first.numel} numbers"


def _joined(entries: Iterable[Entry]) -> Entry:
    parts = list({e.part: e for e in entries}.values())
    first = parts[0]
    lanes = add([e.lanes for e in parts])
    return Entry(name=first.name, dtype=first.dtype, shape=first.shape, count=first.numel, lanes=lanes)
