"""A file that one thread makes and another one writes: the bytes of plain writes, directly to the disk or not."""

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin.text import ordered_file
from fanin.text.ordered_file import OrderedFile

PIECES = st.lists(st.tuples(st.integers(0, 9000), st.binary(max_size=30000)), max_size=6)


@pytest.mark.parametrize("direct", [True, False])
@given(pieces=PIECES, old=st.binary(max_size=60000))
def test_it_holds_the_bytes_of_plain_writes(tmp_path_factory, direct, pieces, old):
    place = tmp_path_factory.mktemp("file") / "x"
    place.write_bytes(old)
    want, at = bytearray(old), 0
    with OrderedFile(place, direct=direct) as file:
        for gap, data in pieces:
            at += gap
            want[len(want) :] = bytes(max(at - len(want), 0) if data else 0)
            file.write(at, data)
            want[at : at + len(data)] = data
            at += len(data)
        file.finish(len(want))
    assert place.read_bytes() == want


@pytest.mark.parametrize("direct", [True, False])
def test_many_blocks_arrive_in_order(tmp_path, monkeypatch, direct):
    monkeypatch.setattr(ordered_file, "_BLOCK", 8192)
    monkeypatch.setattr(ordered_file, "_FLUSH", 20000)
    data = os.urandom(300_001)
    with OrderedFile(tmp_path / "x", direct=direct) as file:
        for at in range(0, len(data), 7001):
            file.write(at, data[at : at + 7001])
        file.finish(len(data))
    assert (tmp_path / "x").read_bytes() == data


def test_a_file_system_that_takes_no_pages_gets_the_same_bytes(tmp_path, monkeypatch):
    refused = []

    def written(file, data, at, whole=ordered_file._written):
        if not file.readable():  # the handle for pages is for writing alone
            refused.append(at)
            raise OSError(errno.EINVAL, "no pages here")
        whole(file, data, at)

    monkeypatch.setattr(ordered_file, "_written", written)
    monkeypatch.setattr(ordered_file, "_opened_direct", lambda path: ordered_file.io.FileIO(path, "a"))
    monkeypatch.setattr(ordered_file, "_BLOCK", 8192)
    data = os.urandom(90_000)
    with OrderedFile(tmp_path / "x") as file:
        for at in range(0, len(data), 1000):
            file.write(at, data[at : at + 1000])
        file.finish(len(data))
    assert (tmp_path / "x").read_bytes() == data
    assert refused[0] == 0
    assert len(refused) < 3  # blocks that were under way; then pages are given up


def test_an_error_of_the_disk_is_raised(tmp_path, monkeypatch):
    def full(file, data, at):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(ordered_file, "_written", full)
    with OrderedFile(tmp_path / "x") as file:
        file.write(0, b"1234")
        with pytest.raises(OSError, match="full"):
            file.finish(4)
