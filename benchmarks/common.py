"""What all benchmarks share: where results are kept, and the header that says how a result was made."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = [
    "PACKAGES",
    "RESULTS",
    "ROOT",
    "command",
    "commit",
    "header",
    "in_words",
    "module_process",
    "program_process",
    "versions",
]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("numpy", "scipy", "numba", "torch", "jax", "keras", "timm", "transformers")


def header() -> dict[str, Any]:
    """How a result was made: command, commit, date, machine, load, and versions of everything that could move it.

    Example:
        >>> list(header())
        ['command', 'commit', 'date', 'machine', 'cores', 'load', 'python', 'versions']
    """
    return {
        "command": command(),
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": f"{processor()}, {platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": versions(),
    }


def in_words(made: Mapping[str, Any]) -> str:
    """A header as one paragraph of Markdown; what an older result did not record is left out.

    Example:
        >>> in_words({"command": "python -m x", "date": "2026-01-01", "versions": {"torch": "2.6"}})
        '`python -m x`; 2026-01-01; torch 2.6.'
    """
    labels = {"commit": "commit {}", "cores": "{} cores", "load": "load {} at the start", "python": "Python {}"}
    order = ("commit", "date", "machine", "cores", "load", "python")
    parts = [f"`{made['command']}`"] if "command" in made else []
    parts += [labels.get(key, "{}").format(made[key]) for key in order if key in made]
    parts += [f"{name} {number}" for name, number in made.get("versions", {}).items()]
    return "; ".join(parts) + "."


def command() -> str:
    """What was typed to start this process, without the machine's own paths."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return shlex.join(["python", "-m", spec.name if spec else Path(sys.argv[0]).name, *sys.argv[1:]])


def commit() -> str:
    """Short commit of the tree, with `-dirty` where files differ from it; `unknown` outside a repository."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def versions() -> dict[str, str]:
    """Version of fanin and of each package of `PACKAGES` that is installed."""
    import fanin

    found = {"fanin": fanin.__version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """The processor's name."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.exists() else []
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())


def module_process(name: str, *arguments: str, **environment: str) -> str:
    """Standard output of `python -m name arguments` in a process of its own, started from the repository's root.

    Raises:
        subprocess.CalledProcessError: the process failed; standard error is that of this process.
    """
    return _process("-m", name, *arguments, **environment)


def program_process(program: str) -> str:
    """Standard output of a program given as text, in a process of its own, started from the repository's root."""
    return _process("-c", program)


def _process(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | environment,
    )
    return done.stdout
