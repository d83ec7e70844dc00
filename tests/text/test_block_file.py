"""A file whose blocks are made in several threads: the bytes of a plain write, past the system's memory or not."""

import errno
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin.text import block_file
from fanin.text.block_file import write_blocks

BLOCK = 8192


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(block_file, "BLOCK", BLOCK)
    monkeypatch.setattr(block_file, "_FLUSH", 20000)


def copier(data):
    def fill(at, memory):
        memory[:] = data[at : at + len(memory)]

    return fill


@pytest.mark.parametrize("direct", [True, False])
@given(data=st.data())
def test_it_holds_the_bytes_of_a_plain_write(tmp_path_factory, direct, data):
    want = data.draw(st.binary(min_size=1, max_size=60000))
    old = data.draw(st.binary(max_size=60000))
    start = data.draw(st.integers(0, min(len(old), len(want))))
    place = tmp_path_factory.mktemp("file") / "x"
    place.write_bytes(want[:start] + old[start:])
    threads = data.draw(st.integers(1, 9))
    done = list(write_blocks(place, len(want), copier(want), start=start, threads=threads, direct=direct))
    assert place.read_bytes() == want
    assert sum(done) == len(want) - min(start // BLOCK * BLOCK, len(want))


def test_no_block_is_begun_long_before_an_earlier_one_is_in_the_file(tmp_path):
    """Of a file of n bytes all but the last few blocks are there, however slow one of them is."""
    data, slow, begun = os.urandom(40 * BLOCK), threading.Event(), []

    def fill(at, memory):
        begun.append(at)
        if at == 3 * BLOCK:
            slow.wait(0.2)
        copier(data)(at, memory)

    writing = write_blocks(tmp_path / "x", len(data), fill, threads=3)
    for _ in range(3):
        next(writing)
    slow.wait(0.1)  # the fourth block is still being made
    assert max(begun) < (3 + 6) * BLOCK <= 3 * BLOCK + block_file.MOST_AHEAD
    slow.set()
    assert sum(writing) == 37 * BLOCK
    assert (tmp_path / "x").read_bytes() == data


def test_a_file_system_that_takes_no_pages_gets_the_same_bytes(tmp_path, monkeypatch):
    refused = []

    def written(file, data, at, whole=block_file._written):
        if not file.readable():  # the handle for pages is for writing alone
            refused.append(at)
            raise OSError(errno.EINVAL, "no pages here")
        whole(file, data, at)

    monkeypatch.setattr(block_file, "_written", written)
    monkeypatch.setattr(block_file, "_opened_direct", lambda path: block_file.io.FileIO(path, "a"))
    data = os.urandom(90_000)
    list(write_blocks(tmp_path / "x", len(data), copier(data)))
    assert (tmp_path / "x").read_bytes() == data
    assert 0 < len(refused) < 3  # blocks that were under way; then pages are given up


def test_a_system_without_writes_at_a_place_gets_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "pwrite", raising=False)
    data = os.urandom(300_001)
    list(write_blocks(tmp_path / "x", len(data), copier(data), threads=4))
    assert (tmp_path / "x").read_bytes() == data


@pytest.mark.parametrize("place", ["the disk", "what makes the bytes"])
def test_an_error_is_raised(tmp_path, monkeypatch, place):
    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    if place == "the disk":
        monkeypatch.setattr(block_file, "_written", full)
    with pytest.raises(OSError, match="full"):
        list(write_blocks(tmp_path / "x", 99_999, full if place != "the disk" else copier(bytes(99_999))))


def test_threads_end_when_the_caller_stops(tmp_path):
    before = threading.active_count()
    writing = write_blocks(tmp_path / "x", 40 * BLOCK, copier(bytes(40 * BLOCK)), threads=3)
    next(writing)
    writing.close()
    assert threading.active_count() == before
