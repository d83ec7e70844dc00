"""Every file is written complete or not at all, whatever stands in its place and whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from fanin.errors import ArgumentError, FaninError, OutputError
from fanin.text import files
from fanin.text.files import assert_place, make_folder, whole_file, write_bytes, write_figure, write_text

OLD, NEW = b"what was there", b"what is new" * 1000
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def whole(path, data):
    with whole_file(path) as place:
        place.write_bytes(data)


WRITERS = [write_bytes, whole]


@pytest.fixture(params=WRITERS, ids=["bytes", "whole"])
def write(request):
    return request.param


@contextlib.contextmanager
def small_disk(place):
    """A disk of 64 KiB, where one may be mounted."""
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip(f"no disk may be mounted here: {made.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def alone(folder):
    """The names in a folder."""
    return sorted(p.name for p in folder.iterdir())


# ------------------------------------------------------------------ what a file holds and what it looks like
def test_a_file_holds_what_was_written(tmp_path, write):
    for data in (b"", b"one", NEW):
        write(tmp_path / "f", data)
        assert (tmp_path / "f").read_bytes() == data
    assert alone(tmp_path) == ["f"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_a_new_file_has_the_mode_of_the_umask(tmp_path, write, umask):
    old = os.umask(umask)
    try:
        write(tmp_path / "f", NEW)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640, 0o755])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path, write, mode):
    (tmp_path / "f").write_bytes(OLD)
    (tmp_path / "f").chmod(mode)
    write(tmp_path / "f", NEW)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == mode


@pytest.mark.skipif(not ROOT, reason="only root may give files away")
def test_a_file_that_is_replaced_keeps_its_owner(tmp_path, write):
    (tmp_path / "f").write_bytes(OLD)
    os.chown(tmp_path / "f", 1234, 1235)
    write(tmp_path / "f", NEW)
    assert ((tmp_path / "f").stat().st_uid, (tmp_path / "f").stat().st_gid) == (1234, 1235)


def test_text_is_utf8_with_plain_line_ends_and_no_surrogate_stops_it(tmp_path):
    write_text(tmp_path / "f", "χ\n\ud800")
    assert (tmp_path / "f").read_bytes() == "χ\n".encode() + rb"\ud800"


@pytest.mark.parametrize(
    "name", ["a b", "a\nb", "-", "~", "ü" * 100, "x" * 255, "*", "\udcff", " ", "a\x1b[31m", "C:f"]
)
def test_any_name_that_the_disk_allows_is_written(tmp_path, write, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(name, NEW)
    assert alone(tmp_path) == [name]
    assert Path(name).read_bytes() == NEW


def test_a_folder_left_meanwhile_makes_no_difference(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    with whole_file("f") as place:
        place.write_bytes(NEW)
        monkeypatch.chdir(tmp_path / "b")
    assert (alone(tmp_path / "a"), alone(tmp_path / "b")) == (["f"], [])


# ------------------------------------------------------------------ what stands in its place
def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path, write):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "f").write_bytes(OLD)
    (tmp_path / "one").symlink_to("there/f")
    (tmp_path / "two").symlink_to("one")
    write(tmp_path / "two", NEW)
    assert (tmp_path / "there" / "f").read_bytes() == NEW
    assert (tmp_path / "two").readlink() == Path("one")
    assert (tmp_path / "one").readlink() == Path("there/f")
    assert not (tmp_path / "there" / "f").is_symlink()
    assert alone(tmp_path / "there") == ["f"]


def test_a_link_to_nothing_makes_the_file_that_it_names(tmp_path, write):
    (tmp_path / "link").symlink_to("f")
    write(tmp_path / "link", NEW)
    assert (tmp_path / "link").readlink() == Path("f")
    assert (tmp_path / "f").read_bytes() == NEW


def test_another_hard_link_keeps_the_old_content(tmp_path, write):
    (tmp_path / "f").write_bytes(OLD)
    os.link(tmp_path / "f", tmp_path / "other")
    write(tmp_path / "f", NEW)
    assert ((tmp_path / "f").read_bytes(), (tmp_path / "other").read_bytes()) == (NEW, OLD)


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path, write):
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write(tmp_path / "pipe", NEW)
    reader.join(20)
    assert got == [NEW]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert alone(tmp_path) == ["pipe"]


def node(place, *kind):
    """A node like one of the machine's, in a folder of the test alone."""
    if subprocess.run(["mknod", str(place), *kind], capture_output=True).returncode:
        pytest.skip("no node may be made here")
    with contextlib.suppress(OSError):
        os.close(os.open(place, os.O_RDONLY))
        return place
    pytest.skip("nodes cannot be opened on this disk")


@pytest.mark.parametrize("linked", [False, True])
def test_a_device_is_written_to_and_stays_a_device(tmp_path, write, linked):
    null = node(tmp_path / "null", "c", "1", "3")
    before = null.stat()
    target = null
    if linked:
        target = tmp_path / "link"
        target.symlink_to("null")
    write(target, NEW)
    assert (null.stat().st_ino, null.stat().st_rdev, null.stat().st_mode) == (
        before.st_ino,
        before.st_rdev,
        before.st_mode,
    )
    assert stat.S_ISCHR(null.stat().st_mode)


def test_a_device_that_is_full_says_so(tmp_path, write):
    full = node(tmp_path / "full", "c", "1", "7")
    with pytest.raises(OutputError, match="full") as error:
        write(full, NEW)
    assert error.value.errno == errno.ENOSPC
    assert stat.S_ISCHR(full.stat().st_mode)


def test_a_disk_is_refused(tmp_path, write):
    if subprocess.run(["mknod", str(tmp_path / "disk"), "b", "7", "200"], capture_output=True).returncode:
        pytest.skip("no node may be made here")
    with pytest.raises(OutputError, match="it is a disk"):
        write(tmp_path / "disk", NEW)


def test_a_socket_is_refused(tmp_path, write, monkeypatch):
    import socket

    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        for job in (lambda: assert_place("s"), lambda: write("s", NEW)):
            with pytest.raises(OutputError, match="nothing reads from it"):
                job()


SAY = "import sys; from fanin.text.files import write_text; print('first'); write_text(sys.argv[1], 'second\\n')"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here")
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_standard_output_is_appended_to(tmp_path, name):
    """A file behind standard output is neither replaced nor cut off."""
    (tmp_path / "link").symlink_to("/dev/stdout")
    with (tmp_path / "log").open("wb") as log:
        log.write(b"begun\n")
        log.flush()
        subprocess.run([sys.executable, "-c", SAY, name], stdout=log, check=True, cwd=tmp_path)
    assert (tmp_path / "log").read_text() == "begun\nfirst\nsecond\n"


# ------------------------------------------------------------------ what cannot be written
BAD = {
    "folder": "it is a folder",
    "folder/": "it is a folder",
    "new/": "it is a folder",
    ".": "it is a folder",
    "..": "it is a folder",
    "missing/f": "there is no folder",
    "missing/../f": "there is no folder",
    "file/f": "'.*file' is a file, not a folder",
    "file/deep/f": "'.*file' is a file, not a folder",
    "circle": "lead round in a circle",
    "astray": "there is no folder",
    "x" * 256: "its name is too long",
    "y/" * 3000 + "f": "its name is too long",
    "a\0b": "no NUL character",
    "\ud800": "named by text",
    "": "is not empty",
}


@pytest.fixture
def bad_places(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "circle").symlink_to("circle2")
    (tmp_path / "circle2").symlink_to("circle")
    (tmp_path / "astray").symlink_to("missing/f")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", BAD, ids=range(len(BAD)))
def test_what_cannot_be_written_is_said_before_and_at_the_time(bad_places, write, name):
    names = alone(bad_places)
    with pytest.raises(FaninError, match=BAD[name]) as at_the_time:
        write(name, NEW)
    with pytest.raises(FaninError, match=BAD[name]) as before:
        assert_place(name)
    assert str(before.value) == str(at_the_time.value)
    assert str(before.value).isprintable()
    assert alone(bad_places) == names
    assert (bad_places / "file").read_bytes() == OLD


@pytest.mark.parametrize("name", [None, 3, b"\0", ["f"]])
def test_what_is_no_name_is_refused(name, write):
    with pytest.raises(ArgumentError):
        write(name, NEW)


def test_a_place_that_is_fine_is_left_as_it_is(tmp_path):
    (tmp_path / "f").write_bytes(OLD)
    before = tmp_path.stat(), (tmp_path / "f").stat()
    assert_place(tmp_path / "f")
    assert_place(tmp_path / "g")
    assert (tmp_path.stat(), (tmp_path / "f").stat()) == before
    assert alone(tmp_path) == ["f"]


NOBODY = """
import os, sys
from fanin.errors import OutputError
from fanin.text.files import assert_place, whole_file, write_bytes
os.setgid(65534); os.setuid(65534)  # after the imports: others may not be allowed to read the library
def whole(path, data):
    with whole_file(path) as place:
        place.write_bytes(data)
for name in sys.argv[1:]:
    for do in (lambda: assert_place(name), lambda: write_bytes(name, b"new"), lambda: whole(name, b"new")):
        try:
            do()
        except OutputError as error:
            print(error)
        else:
            print("written")
"""


@pytest.mark.skipif(not ROOT, reason="only root can become somebody else")
def test_somebody_without_permission_is_told_so():
    with tempfile.TemporaryDirectory() as place:  # pytest's own folder is closed to others
        Path(place).chmod(0o755)
        _as_nobody(Path(place))


def _as_nobody(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o755)
    (tmp_path / "closed" / "f").write_bytes(OLD)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open" / "kept").write_bytes(OLD)
    (tmp_path / "open" / "kept").chmod(0o444)
    names = [str(tmp_path / p) for p in ("closed/f", "closed/g", "open/kept", "open/mine")]
    done = subprocess.run([sys.executable, "-c", NOBODY, *names], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert len(lines) == 12, done.stderr
    assert all("you are not allowed to write there" in line for line in lines[:9])
    assert lines[9:] == ["written"] * 3
    assert (tmp_path / "closed" / "f").read_bytes() == (tmp_path / "open" / "kept").read_bytes() == OLD
    assert alone(tmp_path / "closed") == ["f"]
    assert alone(tmp_path / "open") == ["kept", "mine"]


def test_a_full_disk_leaves_the_old_file(tmp_path, write):
    with small_disk(tmp_path / "disk") as disk:
        (disk / "f").write_bytes(OLD)
        with pytest.raises(OutputError, match=r"is full\. Free some space") as error:
            write(disk / "f", bytes(80 << 10))
        assert error.value.errno == errno.ENOSPC
        assert (disk / "f").read_bytes() == OLD
        assert alone(disk) == ["f"]
        with pytest.raises(OutputError, match="is full"):
            assert_place(disk / "f", 80 << 10)
        write(disk / "f", bytes(30 << 10))
        assert (disk / "f").stat().st_size == 30 << 10


TOO_LARGE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from fanin.errors import OutputError
from fanin.text.files import write_bytes
try:
    write_bytes(sys.argv[1], bytes(2000))
except OutputError as error:
    print(error)
"""


def test_a_file_above_the_limit_leaves_the_old_one(tmp_path):
    (tmp_path / "f").write_bytes(OLD)
    done = subprocess.run([sys.executable, "-c", TOO_LARGE, str(tmp_path / "f")], capture_output=True, text=True)
    assert "it is larger than a file may be here" in done.stdout, done.stderr
    assert (tmp_path / "f").read_bytes() == OLD
    assert alone(tmp_path) == ["f"]


# ------------------------------------------------------------------ whatever happens meanwhile
def _stopped_at(line, error, job):
    """Do the job and raise the error before the so-manieth line of the writer; whether it came so far."""
    seen = 0

    def local(frame, event, argument):
        nonlocal seen
        if event == "line":
            seen += 1
            if seen == line:
                raise error()
        return local

    def trace(frame, event, argument):
        return local if frame.f_code.co_filename in (files.__file__, contextlib.__file__) else None

    old = sys.gettrace()
    sys.settrace(trace)
    try:
        job()
    except (KeyboardInterrupt, MemoryError, OSError):
        return True
    finally:
        sys.settrace(old)
    return False


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, MemoryError, lambda: OSError(errno.ENOSPC, "full")], ids=["Ctrl-C", "memory", "disk"]
)
@pytest.mark.parametrize("there", [True, False])
def test_an_exception_at_any_line_leaves_the_old_or_the_new(tmp_path, write, error, there):
    outcomes = []
    for line in range(1, 1000):
        target = tmp_path / str(line) / "f"
        target.parent.mkdir()
        if there:
            target.write_bytes(OLD)
        raised = _stopped_at(line, error, lambda t=target: write(t, NEW))
        held = target.read_bytes() if target.exists() else None
        assert held in ((OLD if there else None), NEW)
        assert set(alone(target.parent)) <= {"f"}
        outcomes.append((raised, held == NEW))
        if not raised:
            break
    assert outcomes[-1] == (False, True)
    assert (True, False) in outcomes  # the error came before the new file was there, so the old one was kept
    assert len(outcomes) > 15


def in_place(path, data):
    """What must not be done."""
    with Path(path).open("wb") as file:
        file.write(data[:10])
        raise KeyboardInterrupt


def test_the_check_sees_a_file_written_in_place(tmp_path):
    (tmp_path / "f").write_bytes(OLD)
    with pytest.raises(KeyboardInterrupt):
        in_place(tmp_path / "f", NEW)
    assert (tmp_path / "f").read_bytes() not in (OLD, NEW)


def test_an_exception_in_the_block_leaves_the_old_file(tmp_path):
    (tmp_path / "f").write_bytes(OLD)

    def broken():
        with whole_file(tmp_path / "f") as place:
            place.write_bytes(NEW)
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        broken()
    assert (tmp_path / "f").read_bytes() == OLD
    assert alone(tmp_path) == ["f"]


def test_many_writers_of_one_file_leave_one_of_theirs(tmp_path, write):
    contents = [bytes([65 + i]) * 50_000 for i in range(8)]
    (tmp_path / "f").write_bytes(contents[0])
    torn = []

    def work(data):
        for _ in range(10):
            write(tmp_path / "f", data)
            if (tmp_path / "f").read_bytes() not in contents:
                torn.append(data)

    threads = [threading.Thread(target=work, args=(c,)) for c in contents]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not torn
    assert (tmp_path / "f").read_bytes() in contents
    assert alone(tmp_path) == ["f"]


# ------------------------------------------------------------------ folders and figures
def test_a_folder_is_made_or_the_reason_said(tmp_path):
    assert make_folder(tmp_path / "a" / "b") == make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(OutputError, match=r"'.*file' is a file, not a folder"):
        make_folder(tmp_path / "file")
    with pytest.raises(OutputError, match=r"'.*file' is a file, not a folder"):
        make_folder(tmp_path / "file" / "b")


def test_a_figure_is_written_in_the_format_of_its_ending(tmp_path):
    from matplotlib.figure import Figure

    for ending, begin in {"png": b"\x89PNG", "svg": b"<?xml", "PDF": b"%PDF"}.items():
        write_figure(tmp_path / f"f.{ending}", Figure())
        assert (tmp_path / f"f.{ending}").read_bytes().startswith(begin)
    with pytest.raises(ArgumentError, match="names no format of figures"):
        write_figure(tmp_path / "f.txt", Figure())
