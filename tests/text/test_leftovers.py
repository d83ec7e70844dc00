"""Temporary files of killed writes are removed by the next write; nothing else in the folder is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fanin
from fanin.text import files, leftovers
from fanin.text.files import write_bytes

fcntl = pytest.importorskip("fcntl")
NAME = ".fanin-0123456789abcdef.tmp"
WRITES = """
import sys, time
from fanin.text.files import whole_file
with whole_file(sys.argv[1]) as place:
    place.write_bytes(b"half of it")
    print("writes", flush=True)
    time.sleep(60)
"""


def grow_old(path, seconds=120):
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)


def hidden(folder):
    return [p for p in folder.iterdir() if p.name.startswith(".fanin-")]


@pytest.fixture
def writer(tmp_path):
    """A process in the middle of a write, and its temporary file, which looks old."""
    env = os.environ | {"PYTHONPATH": str(Path(fanin.__file__).parents[1])}
    words = [sys.executable, "-c", WRITES, str(tmp_path / "out")]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "writes\n"
        (place,) = hidden(tmp_path)
        grow_old(place)
        yield process, place
        process.kill()


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_what_a_killed_write_left_goes_with_the_next_write(writer, tmp_path):
    process, place = writer
    write_bytes(tmp_path / "other", b"1")
    assert hidden(tmp_path) == [place]  # it is being written
    kill(process)
    write_bytes(tmp_path / "other", b"2")
    assert not hidden(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["other"]


def test_without_the_removal_it_stays(writer, tmp_path, monkeypatch):
    process, place = writer
    kill(process)
    monkeypatch.setattr(files, "remove_leftovers", lambda folder, now: None)
    write_bytes(tmp_path / "other", b"1")
    assert hidden(tmp_path) == [place]


def test_without_the_lock_a_write_under_way_would_be_taken(writer, tmp_path, monkeypatch):
    monkeypatch.setattr(leftovers, "hold", lambda handle: True)
    leftovers.remove_leftovers(tmp_path, time.time())
    assert not hidden(tmp_path)


OTHERS = {
    "young": lambda folder: (folder / NAME).write_bytes(b""),
    "another name": lambda folder: (folder / ".fanin-notes.tmp").write_bytes(b""),
    "a longer name": lambda folder: (folder / f"{NAME}x").write_bytes(b""),
    "a folder": lambda folder: (folder / NAME).mkdir(),
    "a link": lambda folder: (folder / NAME).symlink_to(folder / "theirs"),
    "a pipe": lambda folder: os.mkfifo(folder / NAME),
    "of somebody else": lambda folder: (folder / NAME).write_bytes(b""),
    "in a folder inside": lambda folder: ((folder / "in").mkdir(), (folder / "in" / NAME).write_bytes(b"")),
}


@pytest.mark.parametrize("what", OTHERS)
def test_all_else_stays(what, tmp_path, monkeypatch):
    (tmp_path / "theirs").write_bytes(b"theirs")
    OTHERS[what](tmp_path)
    for path in tmp_path.rglob("*"):
        if what != "young":
            grow_old(path)
    if what == "of somebody else":
        monkeypatch.setattr(os, "geteuid", lambda: -1)
    before = sorted(tmp_path.rglob("*"))
    write_bytes(tmp_path / "theirs", b"new")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_cannot_be_looked_through_is_no_matter(tmp_path, monkeypatch):
    def refuses(folder):
        raise PermissionError

    monkeypatch.setattr(os, "listdir", refuses)
    write_bytes(tmp_path / "out", b"1")
    assert (tmp_path / "out").read_bytes() == b"1"
