"""Every example of the guide and of the README is executed, and prints what the page says."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.docs.blocks import blocks, run_page
from tests.planning.spread import has_deepspeed
from zoo import make_torchvision_importable

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
# name -> number of examples at least, so that none gets lost in a change of the fences
PAGES = {
    "docs/guide/calibrate.md": 5,
    "docs/guide/check.md": 6,
    "docs/guide/command-line.md": 1,
    "docs/guide/compare.md": 2,
    "docs/guide/configuration.md": 1,
    "docs/guide/diff-and-explain.md": 4,
    "docs/guide/init.md": 5,
    "docs/guide/jax.md": 4,
    "docs/guide/keras.md": 3,
    "docs/guide/learning-rates.md": 4,
    "docs/guide/plan.md": 1,
    "docs/guide/playground.md": 1,
    "docs/guide/same-weights.md": 4,
    "docs/guide/trainer.md": 4,
    "docs/guide/watch.md": 4,
    "docs/guide/scale.md": 7,
    "docs/tutorials/a-figure.md": 5,
    "docs/tutorials/fifty-layers.md": 4,
    "docs/tutorials/flat-loss.md": 4,
    "docs/tutorials/is-my-init-right.md": 4,
    "docs/tutorials/nan-loss.md": 4,
    "docs/tutorials/start-a-gpt.md": 4,
    "docs/tutorials/your-own.md": 5,
    "docs/recipes.md": 1,
    "docs/initializers.md": 3,
    "README.md": 3,
}


# What trains or starts processes takes long; some trainers warn.
_MARKS = {
    "docs/guide/trainer.md": [pytest.mark.slow, pytest.mark.filterwarnings("ignore")],
    "docs/tutorials/a-figure.md": [pytest.mark.slow],
    "docs/tutorials/fifty-layers.md": [pytest.mark.slow],
    "docs/guide/learning-rates.md": [pytest.mark.slow],
    "docs/guide/same-weights.md": [pytest.mark.slow],
    "README.md": [pytest.mark.slow],
}


@pytest.mark.parametrize("page", [pytest.param(page, marks=_MARKS.get(page, [])) for page in PAGES])
def test_the_examples_run(page, tmp_path, monkeypatch):
    make_torchvision_importable()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert run_page((ROOT / page).read_text(encoding="utf-8"), tmp_path) >= PAGES[page]


def test_the_examples_of_the_readme_that_train_nothing_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick, heading, _ = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Does it matter for my network?")
    assert heading
    assert run_page(quick, tmp_path) == PAGES["README.md"] - 1


def test_every_page_of_the_guide_and_every_tutorial_is_executed():
    pages = {
        str(p.relative_to(ROOT)) for folder in ("guide", "tutorials") for p in (ROOT / "docs" / folder).glob("*.md")
    }
    # the test file of the first runs in a pytest of its own, below; the second lists the tutorials
    assert pages - set(PAGES) == {"docs/guide/pytest-and-ci.md", "docs/tutorials/index.md"}


@pytest.mark.slow
def test_the_test_file_of_the_pytest_page_passes(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    page = (ROOT / "docs" / "guide" / "pytest-and-ci.md").read_text(encoding="utf-8")
    pytester.makepyfile(**{b.file.removesuffix(".py"): b.text for b in blocks(page) if b.file})
    installed = any(entry.name == "fanin" for entry in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "fanin.integrations.pytest"]
    pytester.runpytest_subprocess(*plugin, "-p", "no:randomly", "--fanin-html", "reports").assert_outcomes(passed=1)
    assert len(list(pytester.path.glob("reports/*.html"))) == 1


@pytest.mark.parametrize(
    ("page", "why"),
    [
        ("```console\n$ fanin gain relu\nno such table\n```\n", "the page says"),
        ("```console\n$ fanin explain S999\nanything ...\n```\n", "ends with status 2"),
        ("```console\n$ rm -r x\n```\n", "only fanin's own commands"),
        ("```python\n>>> 1 + 1\n3\n\n```\n", "differ"),
        ("```python\nassert False, 'as written'\n```\n", "as written"),
    ],
)
def test_an_example_that_does_not_hold_is_found(page, why, tmp_path, capsys):
    with pytest.raises(AssertionError, match=why):
        run_page(page, tmp_path)


def test_a_file_of_a_page_is_there_for_its_examples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = "from pathlib import Path\nassert Path('pyproject.toml').is_file()"
    assert run_page(f"```toml pyproject.toml\n[tool]\n```\n\n```python\n{program}\n```\n", tmp_path) == 1


@pytest.mark.slow
@pytest.mark.skipif(not has_deepspeed(), reason="DeepSpeed is not installed")
def test_the_script_for_zero3_runs_in_two_processes(tmp_path):
    page = (ROOT / "docs/guide/scale.md").read_text(encoding="utf-8")
    (script,) = (block.text for block in blocks(page) if block.file == "zero3.py")
    (tmp_path / "zero3.py").write_text(script, encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = os.environ | {"DS_ACCELERATOR": "cpu", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    running = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "zero3.py")],
            env=env | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=500)[1][-2000:] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
