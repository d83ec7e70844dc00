"""The examples of a page: files it shows, Python it runs, commands with what they print."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from fanin.commands.app import main

_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its language, the file it is the content of ("" where it is none), and its text."""

    language: str
    file: str
    text: str


def blocks(page: str) -> list[Block]:
    """The blocks of a page, in order."""
    return [Block(*(part or "" for part in found.groups())) for found in _BLOCK.finditer(page)]


def run_page(text: str, folder: Path) -> int:
    """Write the files of a page into the working folder, then run its Python and its commands; how many blocks ran."""
    found, names, ran = blocks(text), {}, 0
    for block in found:
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
    for block in found:
        if block.language == "python" and not block.file:
            run_python(block.text, names)
        elif block.language == "console":
            run_console(block.text)
        ran += block.language == "console" or (block.language == "python" and not block.file)
    return ran


def run_python(text: str, names: dict[str, object]) -> None:
    """Python as it is written, or a session with prompts whose results are compared."""
    if not text.startswith(">>> "):
        exec(compile(text, "page", "exec"), names)
        return
    test = doctest.DocTestParser().get_doctest(text, names, "page", None, None)
    runner = doctest.DocTestRunner(optionflags=_FLAGS, verbose=False)
    runner.run(test, clear_globs=False)
    names.update(test.globs)
    assert not runner.failures, f"the results of this session differ:\n{text}"


def run_console(text: str) -> None:
    """Each command of a block that begins with "$ "; what it prints is compared with the lines that follow it."""
    for command, wanted in commands(text):
        got = printed(command)
        same = doctest.OutputChecker().check_output(wanted, got, _FLAGS)
        assert same, f"$ {command}\nprints\n{got}\nand the page says\n{wanted}"


def commands(text: str) -> Iterator[tuple[str, str]]:
    """(command, what follows it) of a console block."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def printed(command: str) -> str:
    """What a `fanin ...` command prints on a terminal of 80 columns, then its status where `; echo $?` asks for it."""
    line, _, echo = command.partition("; ")
    said, status = io.StringIO(), 0
    program, *arguments = shlex.split(line)
    assert program == "fanin", f"only fanin's own commands are run; got {line!r}"
    with (
        mock.patch.object(sys, "argv", ["fanin", *arguments]),
        mock.patch.dict("os.environ", COLUMNS="80"),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    assert echo in ("", "echo $?")
    assert status == 0 or echo, f"{line!r} ends with status {status}, which the page does not say:\n{said.getvalue()}"
    timed = re.sub(r"time [\d.]+ m?s", "time 0.4 s", said.getvalue())  # the one thing that differs from run to run
    return timed + (f"{status}\n" if echo else "")
