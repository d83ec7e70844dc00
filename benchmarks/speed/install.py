"""What `pip install` of the built wheel costs and gives, each in an environment of its own that was empty.

    python -m benchmarks.speed.install                     # every set of extras
    python -m benchmarks.speed.install core fast           # some
    python -m benchmarks.speed.install --wheel x.whl       # of a wheel that exists

The results go to benchmarks/results/install.md. Size is that of site-packages without pip's own; time is pip's with its
cache off, so it holds the network. Each environment then runs a program: without torch the laws, streams and theory,
and what is left out named with its extra; with torch the README's first example. The normal law's bits must be the same
in all of them.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import RESULTS, ROOT, header, in_words

__all__ = ["main"]

LIMIT_MB = 250
"""Of the core, asked for."""

BITS = """
import hashlib
from fanin import initializers, key
w = initializers.he_normal().sample((1024, 1024), key=key(0, "fc1.weight"))
print("bits", hashlib.sha256(w.tobytes()).hexdigest()[:16])
"""
LAWS = (
    BITS
    + """
import subprocess, sys
import fanin
assert abs(fanin.gain("relu") - 2**0.5) < 1e-12
assert initializers.get("he_normal", like="keras") is not None
run = lambda *words: subprocess.run([sys.executable, "-m", "fanin", *words], capture_output=True, text=True)
assert run("gain", "gelu").returncode == 0
assert run("theory", "--phi", "tanh", "--depth", "20").returncode == 0
missing = run("check", "json:tool")
assert missing.returncode == 2 and "fanin[torch]" in missing.stderr, missing.stderr
assert "Traceback" not in missing.stderr, missing.stderr
"""
)
NO_PLOTS = """
missing = run("theory", "--phi", "tanh", "--depth", "20", "--plot", "t.png")
assert missing.returncode == 2 and "fanin[plots]" in missing.stderr, missing.stderr
"""
PLOTS = """
assert run("theory", "--phi", "tanh", "--depth", "20", "--plot", "t.png").returncode == 0
"""


def first_example() -> str:
    """The README's first Python example, as it stands there."""
    found = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found, "the README has no Python example"
    return found[1]


@dataclass(frozen=True)
class Case:
    """One set of extras and the program that it must run."""

    name: str
    extras: str
    program: str


CASES = (
    Case("core", "", LAWS + NO_PLOTS),
    Case("fast", "[fast]", LAWS + NO_PLOTS),
    Case("plots", "[plots]", LAWS + PLOTS),
    Case("torch", "[torch]", BITS + first_example()),
)


@dataclass(frozen=True)
class Install:
    """What one set of extras took."""

    name: str
    seconds: float
    megabytes: float
    largest: str
    bits: str


def build(folder: Path) -> Path:
    """The wheel of this tree."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "wheel",
        "-q",
        "--no-deps",
        "-w",
        str(folder),
    ]
    subprocess.run([*command, str(ROOT)], check=True)
    return next(folder.glob("fanin-*.whl"))


def install(case: Case, wheel: Path, folder: Path) -> Install:
    """Install into a new environment, measure it and run its program."""
    home = folder / case.name
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    python = str(home / "bin" / "python")
    before = sizes(home)
    began = time.perf_counter()
    options = ["--disable-pip-version-check", "install", "-q", "--no-cache-dir", "-c", str(ROOT / "constraints.txt")]
    subprocess.run([python, "-m", "pip", *options, f"{wheel}{case.extras}"], check=True)
    seconds = time.perf_counter() - began
    after = {name: size for name, size in sizes(home).items() if name not in before}
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ran = subprocess.run([python, "-c", case.program], cwd=home, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{case.name}: {ran.stderr}"
    largest = sorted(after, key=after.__getitem__, reverse=True)[:4]
    return Install(
        name=case.name,
        seconds=seconds,
        megabytes=sum(after.values()),
        largest=", ".join(f"{name} {after[name]:.0f}" for name in largest),
        bits=re.search(r"bits (\w+)", ran.stdout)[1],  # type: ignore[index]
    )


def sizes(home: Path) -> dict[str, float]:
    """Megabytes (10^6 bytes) of each entry of site-packages; ``x.libs`` counts as ``x``."""
    found: dict[str, float] = {}
    for entry in next(home.glob("lib/python*/site-packages")).iterdir():
        files = entry.rglob("*") if entry.is_dir() else [entry]
        name = entry.name.removesuffix(".libs")
        found[name] = found.get(name, 0.0) + sum(f.lstat().st_size for f in files if not f.is_dir()) / 1e6
    return found


def table(found: list[Install]) -> str:
    """The results in Markdown."""
    lines = ["| install | size | time | largest (MB) |", "| --- | --: | --: | --- |"]
    for one in found:
        name = "fanin" if one.name == "core" else f"fanin[{one.name}]"
        lines.append(f"| `{name}` | {one.megabytes:.0f} MB | {one.seconds:.0f} s | {one.largest} |")
    return "\n".join(lines)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", choices=[[], *(case.name for case in CASES)], help="all by default")
    parser.add_argument("--wheel", type=Path, help="a wheel that exists; built by default")
    parser.add_argument("--out", type=Path, default=RESULTS / "install.md")
    options = parser.parse_args()
    made = header()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        wheel = options.wheel or build(folder)
        found = []
        for case in CASES:
            if not options.cases or case.name in options.cases:
                found.append(install(case, wheel, folder))
                print(table(found[-1:]).splitlines()[-1], flush=True)
    assert len({one.bits for one in found}) == 1, "the bits differ"
    core = [one for one in found if one.name == "core"]
    options.out.write_text(f"# Installs\n\n{in_words(made)}\n\n{table(found)}\n", encoding="utf-8")
    assert not core or core[0].megabytes < LIMIT_MB, f"the core takes {core[0].megabytes:.0f} MB, more than {LIMIT_MB}"


if __name__ == "__main__":
    main()
