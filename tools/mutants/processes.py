"""A copy of the tree, and pytest in forked processes that already have the heavy libraries."""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tools.mutants.sample import ROOT

HEAVY = ("torch", "torch._dynamo", "torch.func", "torch.nn.utils.parametrizations", "numpy", "numba", "mpmath")
HEAVY += ("scipy.stats", "scipy.special", "scipy.optimize", "scipy.integrate", "scipy.interpolate", "scipy.sparse")
HEAVY += (
    "pytest",
    "xdist",
    "hypothesis",
    "hypothesis.strategies",
    "pygments.lexers",
    "jinja2",
    "rich",
    "rich.table",
    "typer",
)
FIXED = (
    "-n0",
    "-x",
    "-q",
    "-m",
    "not slow",
    "-p",
    "no:randomly",
    "-p",
    "no:anyio",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
)


def import_heavy() -> None:
    """Import here, once, what tests need of other libraries; one that is not installed is left out."""
    for name in HEAVY:
        try:
            __import__(name)
        except ImportError:
            print(f"{name} is not installed: each run of the tests that need it imports or skips it", file=sys.stderr)
    gc.freeze()  # a collection in a child does not touch, and so copy, what is here


@contextmanager
def copied_tree(commit: str) -> Iterator[Path]:
    """The tree of a commit in a temporary folder, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        subprocess.run(f"git archive {commit} | tar -x -C {folder}", shell=True, check=True, cwd=ROOT)
        yield Path(folder)


def run_pytest(tree: Path, arguments: Sequence[str], limit: float, plugin: object = None) -> tuple[str, str]:
    """How pytest ended in a forked process that imports fanin afresh: "passed", "failed" or "late"; and its output.

    `limit` is in seconds of processor time of that process. Six times as long by the clock ends it as well.
    """
    with tempfile.TemporaryFile("w+") as log:
        child = os.fork()
        if child == 0:
            _in_child(tree, arguments, log.fileno(), limit, plugin)
        ended = _wait(child, 6 * limit)
        log.seek(0)
        text = log.read()[-4000:]
    late = ended in (None, -signal.SIGXCPU, -signal.SIGKILL)
    return ("late" if late else "passed" if ended in (0, 5) else "failed"), text


def _in_child(tree: Path, arguments: Sequence[str], log: int, limit: float, plugin: object) -> None:
    code = 70
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 5))
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(tree)
        sys.path[:0] = [str(tree / "src"), str(tree)]
        os.environ["PYTHONPATH"] = f"{tree / 'src'}:{tree}"
        import pytest

        code = int(pytest.main([*FIXED, *arguments], plugins=[plugin] if plugin else []))
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _wait(child: int, limit: float) -> int | None:
    """Exit status of a child, None if it was stopped after `limit` seconds."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
