"""How every file is written: complete, or not at all; the old file is kept until the new one is on the disk.

A regular file is written to a temporary file beside it, flushed to the disk, and renamed. What is no regular file (a
pipe, a terminal, ``/dev/stdout``) is written to as it is, and a symbolic link stays a link: the file it leads to is
replaced. Every failure is one sentence, an `OutputError`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Protocol

from fanin.errors import ArgumentError, OutputError
from fanin.text.leftovers import hold, remove_leftovers, temporary_name
from fanin.text.names import clean, shorten

__all__ = [
    "PathLike",
    "assert_folder",
    "assert_place",
    "figure_format",
    "make_folder",
    "named_file",
    "refusal",
    "sync_folder",
    "whole_file",
    "write_bytes",
    "write_figure",
    "write_text",
]

PathLike = str | os.PathLike[str]

_FIGURES = ("png", "svg", "pdf")
_OF_FILES = frozenset({".png", ".svg", ".pdf", ".json", ".html", ".txt", ".md", ".csv", ".safetensors"})
_NOT_SYNCED = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EROFS, errno.EACCES, errno.EPERM})

# errno -> what is wrong, what to do. {folder} is the folder of the file, {file} what is in its place.
_WHY = MappingProxyType(
    {
        errno.ENOSPC: ("the disk of {folder} is full", "Free some space, or give a place on another disk"),
        errno.EDQUOT: ("your quota on the disk of {folder} is used up", "Free some space, or give another place"),
        errno.EFBIG: (
            "it is larger than a file may be here",
            "Raise the limit (ulimit -f), or give another place",
        ),
        errno.ENOENT: ("there is no folder {folder}", "Make the folder, or give a file in one that exists"),
        errno.ENOTDIR: ("{file} is a file, not a folder", "Give a file in a folder that exists"),
        errno.EISDIR: ("it is a folder", "Give the name of a file in it"),
        errno.EACCES: ("you are not allowed to write there", "Change the permissions, or give another place"),
        errno.EPERM: ("you are not allowed to write there", "Change the permissions, or give another place"),
        errno.EROFS: ("the disk of {folder} can only be read", "Give a place on another disk"),
        errno.ENAMETOOLONG: ("its name is too long", "Give a shorter name"),
        errno.ELOOP: ("its symbolic links lead round in a circle", "Give the name of a file, or fix the link"),
        errno.EBUSY: ("it is in use as a mount and cannot be replaced", "Give another name"),
        errno.EPIPE: ("whoever read from it has stopped", "Start the reader again, or give the name of a file"),
        errno.ENXIO: ("nothing reads from it", "Give the name of a file or of a pipe"),
        errno.ENOTBLK: ("it is a disk, and writing would destroy what is on it", "Give the name of a file"),
    }
)


def refusal(path: PathLike, error: OSError) -> OutputError:
    """The sentence that says why a file cannot be written, and what to do.

    Args:
        path: the file, as the user named it.
        error: what the operating system said.

    Returns:
        The error to raise; its `errno` is that of `error`.

    Example:
        >>> print(refusal("a/plan.json", FileNotFoundError(errno.ENOENT, "No such file or directory")))
        'a/plan.json' cannot be written: there is no folder 'a'. Make the folder, or give a file in one that exists.
    """
    folder = _folder(Path(os.fsdecode(path)))
    file = _file_among(folder) if error.errno == errno.ENOTDIR else folder
    known = None if error.errno == errno.ENOENT and folder.is_dir() else _WHY.get(error.errno or 0)
    why, what_to_do = known or (error.strerror or str(error), "Give another place")
    if known:
        why = why.format(folder=_quoted(folder), file=_quoted(file))
    made = OutputError(f"{_quoted(path)} cannot be written: {clean(why)}. {what_to_do}.")
    made.errno = error.errno
    return made


def _quoted(path: PathLike) -> str:
    return f"'{shorten(clean(os.fsdecode(path)), 300)}'"


def _folder(path: Path) -> Path:
    """The folder of a file, as the user named it; of a link that of the file that it leads to."""
    try:
        return path.resolve().parent if path.is_symlink() else path.parent
    except (OSError, ValueError, RuntimeError):  # too long, or round in a circle
        return path.parent


def _file_among(folder: Path) -> Path:
    """The file that is where a folder should be."""
    return next((p for p in (folder, *folder.parents) if p.exists() and not p.is_dir()), folder)


def assert_place(path: PathLike, num_bytes: int = 1) -> None:
    """Check that a file can be written, as far as this can be known before; nothing on the disk changes.

    Args:
        path: the file that is to be written.
        num_bytes: how many bytes it will hold at least.

    Raises:
        OutputError: it is a folder, its folder is missing or may not be written to, or the disk has no such space.

    Example:
        >>> assert_place("no/such/folder/plan.json")
        Traceback (most recent call last):
        ...
        fanin.errors.OutputError: 'no/such/folder/plan.json' cannot be written: there is no folder 'no/such/folder'. ...
    """
    with _said_about(path):
        target = _target(path)
        if isinstance(target, _Open):
            return
        if not os.access(target.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "the folder cannot be written to")
        if _free_bytes(target.parent) < num_bytes:
            raise OSError(errno.ENOSPC, "the disk is full")


@contextlib.contextmanager
def whole_file(path: PathLike) -> Iterator[Path]:
    """A file to write to in the block; it becomes `path` when the block has ended without an exception.

    It is for libraries that take a name and not bytes. After an exception, Ctrl-C included, the old file is kept and
    nothing else is left.

    Args:
        path: what to write. A pipe or a device gets the bytes when the block has ended.

    Yields:
        The name of an empty file in the same folder.

    Raises:
        OutputError: `path` cannot be written.
    """
    with _said_about(path):
        target = _target(path)
        if isinstance(target, Path):
            with _beside(target) as place:
                yield place
            return
        with tempfile.TemporaryDirectory(prefix="fanin-") as folder:
            place = Path(folder) / "whole"
            place.touch()
            yield place
            with place.open("rb") as made, _opened(target) as out:
                shutil.copyfileobj(made, out, 1 << 20)


def write_bytes(path: PathLike, data: bytes) -> None:
    """Write a file: it holds all of `data`, or what it held before.

    A new file gets the mode that the umask leaves; one that is replaced keeps its own. Other hard links to the old
    file keep the old content.

    Args:
        path: the file. Its folder must exist.
        data: the content.

    Raises:
        OutputError: the file cannot be written; the old file is unchanged.
    """
    with _said_about(path):
        target = _target(path)
        if isinstance(target, Path):
            with _beside(target) as place:
                place.write_bytes(data)
        else:
            with _opened(target) as out:
                out.write(data)


def write_text(path: PathLike, text: str) -> None:
    r"""Write text as UTF-8 with ``\n`` at the end of lines, as `write_bytes` does.

    A lone surrogate, which UTF-8 has no bytes for, is written as the six characters ``\udXXX``; JSON reads them back.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


class _Figure(Protocol):
    def savefig(self, fname: Any, **options: Any) -> None: ...


def figure_format(path: PathLike) -> str:
    """The format that the ending of a figure's name says: "png", "svg" or "pdf".

    Raises:
        ArgumentError: another ending.

    Example:
        >>> figure_format("flow.PNG")
        'png'
    """
    ending = Path(path).suffix.lower().removeprefix(".")
    if ending not in _FIGURES:
        raise ArgumentError(f"the ending of {_quoted(path)} names no format of figures; use one of .png, .svg, .pdf")
    return ending


def write_figure(path: PathLike, figure: _Figure, **options: Any) -> None:
    """Draw a matplotlib figure at 150 dots per inch and write it, as `write_bytes` does.

    Args:
        path: its ending says the format (`figure_format`).
        figure: what to draw.
        **options: passed on to ``figure.savefig``.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format=figure_format(path), dpi=150, **options)
    write_bytes(path, drawn.getvalue())


def assert_folder(path: PathLike) -> Path:
    """Check that a folder is there and can be written to, or can be made; nothing on the disk changes.

    Raises:
        OutputError: its name is that of a file, there is a file of that name, or nothing may be written there.

    Example:
        >>> assert_folder("report.html")
        Traceback (most recent call last):
        ...
        fanin.errors.OutputError: 'report.html' is the name of a file, and a folder is needed. Give the name of a ...
    """
    folder = Path(named_file(path))
    with _said_about(folder):
        near = next((p for p in (folder, *folder.parents) if p.exists()), Path())
        if folder.suffix.lower() in _OF_FILES and near != folder:
            raise OutputError(
                f"{_quoted(folder)} is the name of a file, and a folder is needed. Give the name of a folder."
            )
        if not near.is_dir():
            raise OutputError(f"{_quoted(near)} is a file, not a folder. Give the name of a folder.")
        if not os.access(near, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "the folder cannot be written to")
    return folder


def make_folder(path: PathLike) -> Path:
    """The folder, made with those above it where it does not exist.

    Raises:
        OutputError: it cannot be made, its name is that of a file, or there is a file of that name.
    """
    folder = assert_folder(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(folder, error) from error
    return folder


def sync_folder(folder: Path) -> None:
    """Let the disk know a folder's new names, where the system can be asked to."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with _where_it_can_be_synced():
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# ------------------------------------------------------------------ what a name leads to
@dataclass(frozen=True, slots=True)
class _Open:
    """What is written to as it is: a pipe or a device by its name, or a file that this process has open already."""

    place: str | int


def named_file(path: PathLike) -> str:
    """The name as text that a file can have.

    Raises:
        ArgumentError: it can name no file.
    """
    try:
        name = os.fsdecode(path)
        os.fsencode(name)
    except (TypeError, UnicodeError):
        raise ArgumentError(f"a file is named by text or a path; got {clean(repr(path))}") from None
    if "\0" in name or not name:
        raise ArgumentError(f"a file's name is not empty and holds no NUL character; got {clean(repr(name))}")
    return name


def _target(path: PathLike) -> Path | _Open:
    """Where the bytes go, links followed: a file to make or to replace, or something to write to as it is.

    Raises:
        OSError: nothing can be written there.
    """
    name = named_file(path)
    if (number := _open_number(name)) is not None:
        return _Open(number)
    try:
        found = os.stat(name)  # noqa: PTH116 - Path drops a slash at the end, which says that this is a folder
    except FileNotFoundError:
        return _new_file(name)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a folder")
    if stat.S_ISBLK(found.st_mode):
        raise OSError(errno.ENOTBLK, "a disk")
    if stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.ENXIO, "a socket")
    if not os.access(name, os.W_OK):
        raise PermissionError(errno.EACCES, "may not be written to")
    return Path(name).resolve() if stat.S_ISREG(found.st_mode) else _Open(name)


def _new_file(name: str) -> Path:
    """The file that is to be made; where a link leads nowhere yet, the file that it names."""
    if name.endswith(("/", os.sep)):
        raise IsADirectoryError(errno.EISDIR, "a folder")
    target = Path(name).resolve()
    if not (Path(name).parent.exists() and target.parent.exists()):  # the system follows "missing/.." nowhere
        raise FileNotFoundError(errno.ENOENT, "no folder")
    return target


def _open_number(name: str) -> int | None:
    """The number of the open file that a name such as ``/dev/stdout`` leads to; None for all others.

    It is not opened again, which would begin at its start and cut off what it holds.
    """
    own = re.compile(rf"(?:/dev|/proc/{os.getpid()}(?:/task/\d+)?)/fd/(\d+)")
    place = Path(name)
    for _ in range(40):  # as many links as Linux follows
        place = Path(os.path.realpath(place.parent)) / place.name
        if found := own.fullmatch(str(place)):
            return int(found[1])
        if not place.is_symlink():
            return None
        place = place.parent / place.readlink()
    return None


def _free_bytes(folder: Path) -> float:
    """Bytes that may still be written there; inf where the system does not say."""
    if not hasattr(os, "statvfs"):
        return float("inf")
    disk = os.statvfs(folder)
    blocks = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail
    return blocks * disk.f_frsize if disk.f_blocks else float("inf")


# ------------------------------------------------------------------ writing
@contextlib.contextmanager
def _said_about(path: PathLike) -> Iterator[None]:
    """Turn what the operating system says into a sentence about `path`."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise refusal(path, error) from error


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """An empty file beside `target` that replaces it when the block has ended without an exception."""
    place = target.parent / temporary_name()
    try:
        try:
            with _held(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)):
                found = place.stat()
                remove_leftovers(target.parent, found.st_mtime)
                usual = stat.S_IMODE(found.st_mode)  # 0666 less what the umask takes away
                place.chmod(0o600)
                yield place
                _sync(place)
                _like_the_old(place, target, usual)
                place.replace(target)
            sync_folder(target.parent)
        finally:
            place.unlink(missing_ok=True)
    finally:  # again: Ctrl-C may have come just before
        place.unlink(missing_ok=True)


@contextlib.contextmanager
def _held(handle: int) -> Iterator[None]:
    """Keep a file open and locked, so that nobody takes it for left over; closed where there are no locks."""
    is_open = hold(handle)
    if not is_open:
        os.close(handle)  # Windows renames no open file
    try:
        yield
    finally:
        if is_open:
            os.close(handle)


def _like_the_old(place: Path, target: Path, usual: int) -> None:
    """Give the new file the owner and the mode of the one that it replaces; the usual mode where there is none."""
    try:
        old = target.stat()
    except FileNotFoundError:
        place.chmod(usual)
        return
    if hasattr(os, "chown"):
        with contextlib.suppress(OSError):  # only root may give a file away
            os.chown(place, old.st_uid, old.st_gid)
    place.chmod(stat.S_IMODE(old.st_mode) & 0o777)


def _sync(place: Path) -> None:
    with place.open("rb+") as file, _where_it_can_be_synced():
        os.fsync(file.fileno())


@contextlib.contextmanager
def _where_it_can_be_synced() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NOT_SYNCED:
            raise


@contextlib.contextmanager
def _opened(target: _Open) -> Iterator[BinaryIO]:
    """What is written to as it is; it is neither made nor cut."""
    if isinstance(target.place, int):
        sys.stdout.flush()  # what was printed before comes before
        handle = os.dup(target.place)
    else:
        handle = os.open(target.place, os.O_WRONLY | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0))
    with os.fdopen(handle, "wb") as out:
        yield out
