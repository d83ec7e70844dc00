"""Every output of fanin: on a full disk, in a place that cannot be, after an exception, the old file stands."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import fanin
from fanin.commands.init import write_weights
from fanin.errors import OutputError
from fanin.lab.compare import compare
from fanin.lab.experiments.base import Outcome
from fanin.report import ENDINGS, save
from fanin.text import files
from fanin.text.files import write_figure
from tests.selection import few

OLD = "what was there"


@pytest.fixture(scope="module")
def made():
    """One of everything that can be written."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3))
    figure.subplots().plot(range(100), [i**2 % 7 for i in range(100)])
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)), torch.randn(8, 64)
    arrays = (torch.randn(32, 64).numpy(), (torch.arange(32) % 4).numpy())
    options = {"inits": {"a": None, "b": None}, "seeds": 1, "lrs": [0.1], "steps": 2, "batch_size": 8}
    return {
        "plan": fanin.plan(model, recipe="torch"),
        "model": model,
        "report": fanin.check(model, x, targets=torch.arange(8) % 4).result,
        "comparison": compare(lambda: nn.Linear(64, 4), arrays, progress=False, **options),
        "outcome": Outcome(name="o", title="t", numbers={"n": list(range(2000))}, figure=figure, text="t" * 4000),
        "figure": figure,
    }


WRITERS = {
    "plan.json": lambda made, path: made["plan"].save(path),
    "w.safetensors": lambda made, path: write_weights(made["plan"], made["model"], path),
    **{f"report{ending}": lambda made, path: save(made["report"], path) for ending in ENDINGS},
    "comparison.json": lambda made, path: made["comparison"].save(path),
    "comparison.png": lambda made, path: made["comparison"].save(path),
    "o.png": lambda made, path: made["outcome"].save(path.parent),
    "o.json": lambda made, path: made["outcome"].save(path.parent),
    "figure.svg": lambda made, path: write_figure(path, made["figure"]),
}
QUICK = WRITERS.keys() - {"comparison.png"}  # a figure takes long to draw, and o.png is one too


@contextlib.contextmanager
def full_disk(place):
    """A disk of 64 KiB with a file on it and no room beside it."""
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip(f"no disk may be mounted here: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def filled(place):
    with contextlib.suppress(OSError), (place / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(512)):
            pass


@pytest.mark.parametrize("name", few(WRITERS, *QUICK))
def test_on_a_full_disk_the_old_file_stands(made, tmp_path, name):
    with full_disk(tmp_path / "disk") as disk:
        (disk / name).write_text(OLD)
        filled(disk)
        with pytest.raises(OutputError, match=r"is full\. Free some space|Look for room on the disk"):
            WRITERS[name](made, disk / name)
        assert (disk / name).read_text() == OLD
        assert sorted(p.name for p in disk.iterdir()) == sorted(["filler", name])


@pytest.mark.parametrize("name", few(WRITERS, *[n for n in WRITERS if n in QUICK][::2]))
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), MemoryError()], ids=repr)
def test_an_error_while_writing_leaves_the_old_file(made, tmp_path, monkeypatch, name, error):
    (tmp_path / name).write_text(OLD)

    def fail(place):
        raise error

    monkeypatch.setattr(files, "_sync", fail)
    with pytest.raises(OutputError if isinstance(error, OSError) else type(error)):
        WRITERS[name](made, tmp_path / name)
    assert (tmp_path / name).read_text() == OLD
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", few(WRITERS, *QUICK))
def test_every_file_gets_the_mode_of_the_umask_and_a_link_stays(made, tmp_path, name):
    (tmp_path / "there").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "there" / name)
    old = os.umask(0o027)
    try:
        WRITERS[name](made, tmp_path / name)
    finally:
        os.umask(old)
    assert (tmp_path / name).is_symlink()
    written = tmp_path / "there" / name
    assert stat.S_IMODE(written.stat().st_mode) == 0o640
    assert written.stat().st_size > 100
    assert [p.name for p in (tmp_path / "there").iterdir()] == [name]


@pytest.mark.parametrize("name", [n for n in WRITERS if not n.startswith("o.")])
def test_a_pipe_gets_every_output(made, tmp_path, name):
    os.mkfifo(tmp_path / name)
    reader = subprocess.Popen(["cat", str(tmp_path / name)], stdout=subprocess.PIPE)
    WRITERS[name](made, tmp_path / name)
    assert len(reader.communicate(timeout=20)[0]) > 100
    assert stat.S_ISFIFO((tmp_path / name).stat().st_mode)


@pytest.mark.parametrize("name", few(WRITERS, *QUICK))
@pytest.mark.parametrize("place", ["missing/{}", "file/{}"])
def test_a_place_that_cannot_be_is_one_sentence(made, tmp_path, name, place):
    (tmp_path / "file").write_text(OLD)
    path = tmp_path / place.format(name)
    if name.startswith("o.") and place.startswith("missing"):
        WRITERS[name](made, path)  # a folder of results is made
        return
    with pytest.raises(OutputError, match=r"there is no folder|is a file, not a folder"):
        WRITERS[name](made, path)
    assert (tmp_path / "file").read_text() == OLD


# ------------------------------------------------------------------ the commands
TARGET = """
import os
import torch
from torch import nn
def net():
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)), torch.randn(4, 8)
def never():
    open("built", "w").close()
    return net()
"""
COMMANDS = {
    "plan": ["plan", "{target}", "--out", "{out}.json"],
    "init": ["init", "{target}", "--out", "{out}.safetensors"],
    "check": ["check", "{target}", "--out", "{out}.html"],
    "graph": ["graph", "{target}", "--out", "{out}.svg"],
    "theory": ["theory", "--plot", "{out}.png", "--depth", "3"],
}


def command(name, target, out, cwd):
    env = os.environ | {"PYTHONPATH": str(Path(fanin.__file__).parents[1])}
    words = [w.format(target=target, out=out) for w in COMMANDS[name]]
    return subprocess.run([sys.executable, "-m", "fanin", *words], cwd=cwd, env=env, capture_output=True, text=True)


@pytest.mark.parametrize("name", few(COMMANDS, "check", "theory"))
def test_a_command_says_so_before_the_model_is_built(tmp_path, name):
    (tmp_path / "net.py").write_text(TARGET)
    (tmp_path / "file").write_text(OLD)
    done = command(name, "net.py:never", "file/out", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("fanin: ")
    assert "'file' is a file, not a folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "__pycache__") == ["file", "net.py"]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_on_a_full_disk_keeps_the_old_file(tmp_path, name):
    (tmp_path / "net.py").write_text(TARGET)
    with full_disk(tmp_path / "disk") as disk:
        old = disk / f"out{Path(COMMANDS[name][2 if name == 'theory' else 3]).suffix}"
        old.write_text(OLD)
        filled(disk)
        done = command(name, "net.py:net", "disk/out", tmp_path)
        assert done.returncode == 2, done.stderr
        assert "fanin: 'disk/out" in done.stderr
        assert "Traceback" not in done.stderr
        assert old.read_text() == OLD
        assert sorted(p.name for p in disk.iterdir()) == sorted(["filler", old.name])


@pytest.mark.slow
def test_a_killed_init_leaves_the_old_weights_or_the_new(tmp_path):
    """SIGKILL at many moments: the file is always whole."""
    import random
    import time

    from safetensors import safe_open

    (tmp_path / "net.py").write_text(TARGET)
    assert command("init", "net.py:net", "out", tmp_path).returncode == 0
    old, rng = (tmp_path / "out.safetensors").read_bytes(), random.Random(0)
    env = os.environ | {"PYTHONPATH": str(Path(fanin.__file__).parents[1])}
    words = [sys.executable, "-m", "fanin", "init", "net.py:net", "--out", "out.safetensors", "--seed", "1"]
    for _ in range(12):
        process = subprocess.Popen(words, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.5, 6.0))
        process.kill()
        process.wait()
        held = (tmp_path / "out.safetensors").read_bytes()
        assert len(held) == len(old)
        with safe_open(tmp_path / "out.safetensors", "pt") as found:
            assert len(list(found.keys())) == 4


@pytest.mark.slow
def test_a_full_disk_behind_standard_output_is_one_sentence(tmp_path):
    """Only on a node of the test's own."""
    (tmp_path / "net.py").write_text(TARGET)
    if subprocess.run(["mknod", str(tmp_path / "full"), "c", "1", "7"], capture_output=True).returncode:
        pytest.skip("no node may be made here")
    env = os.environ | {"PYTHONPATH": str(Path(fanin.__file__).parents[1])}
    words = [sys.executable, "-m", "fanin", "plan", "net.py:net", "--recipe", "torch", "--format", "json"]
    try:
        full = (tmp_path / "full").open("wb")
    except OSError:
        pytest.skip("nodes cannot be opened on this disk")
    with full:
        done = subprocess.run(words, cwd=tmp_path, env=env, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert "fanin: the results could not be printed: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
