"""`fanin report`: a stored run is judged as the live one, also where the process was killed while it wrote."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import fanin
from fanin.commands.app import app
from fanin.errors import ArgumentError
from fanin.report.steps import CUT
from fanin.rules.config import Config
from fanin.watching.store import read_run
from fanin.watching.stored import stored_report
from tests.watching.test_watch import codes, made, train


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A healthy run and one with a rate that is too high: (file, live report)."""
    made_runs = {}
    for name, rate in (("healthy", 1e-3), ("broken", 0.3)):
        model, optimizer = made(lr=rate)
        path = tmp_path_factory.mktemp("runs") / f"{name}.jsonl"
        with fanin.watch(model, optimizer, steps=21, out=path) as watched:
            train(model, optimizer, 21, watched)
        made_runs[name] = path, watched.report
    return made_runs


def invoke(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


@pytest.mark.parametrize("name", ["healthy", "broken"])
def test_a_stored_run_is_judged_as_the_live_one(runs, name):
    path, live = runs[name]
    stored = stored_report(path, Config())
    assert stored.result == live.result
    assert bool(codes(stored)) == (name == "broken")
    assert ("O901" in codes(stored)) == (name == "broken"), "the optimizer is in the file"


def test_the_exit_status_is_that_of_the_findings(runs, tmp_path):
    assert invoke(runs["healthy"][0]).exit_code == 0
    done = invoke(runs["broken"][0], "--out", tmp_path / "a.html", "--out", tmp_path / "a.md", "-q")
    assert done.exit_code == 1
    assert "steps-distance" in (tmp_path / "a.html").read_text()
    assert "## Steps" in (tmp_path / "a.md").read_text()
    assert invoke(runs["broken"][0], "--format", "json").stdout.count("W901")


def test_settings_of_the_project_count(runs, tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.fanin]\nignore = ["O9", "W9"]\n')
    assert invoke(runs["broken"][0], "--config", tmp_path).exit_code == 0


def test_a_run_that_was_killed_while_it_wrote_is_read_and_said(runs, tmp_path):
    data = runs["healthy"][0].read_bytes()
    whole = len(read_run(runs["healthy"][0]).watched.steps)
    start = data[:-1].rindex(b"\n") + 1
    for end in (start + 1, (start + len(data)) // 2, len(data) - 2):
        cut = tmp_path / "cut.jsonl"
        cut.write_bytes(data[:end])
        report = stored_report(cut, Config())
        assert len(report.measurements.watched.steps) == whole - 1
        assert CUT in report.measurements.missing
    assert "not whole" in invoke(cut).stdout
    for end in (start, len(data) - 1, len(data)):  # a whole line, with or without its end
        cut.write_bytes(data[:end])
        report = stored_report(cut, Config())
        assert CUT not in report.measurements.missing
        assert len(report.measurements.watched.steps) == whole - (end == start)


def spoilt(data: bytes) -> dict[str, bytes]:
    head, first, *rest = data.split(b"\n")
    version = json.loads(head) | {"schema_version": 99}
    return {
        "empty": b"",
        "no run": b'{"a": 1}\n',
        "binary": b"\x00\xff\n",
        "cut in the first line": head[: len(head) // 2],
        "another version": json.dumps(version).encode() + b"\n" + first + b"\n",
        "a broken line": b"\n".join([head, first[:-1], *rest]),
        "a list": b"[1]\n",
        "deep": b"[" * 10_000 + b"\n",
    }


@pytest.mark.parametrize("kind", spoilt(b'{}\n{"step": 1}\n'))
def test_a_wrong_file_is_one_sentence_with_the_cure(runs, tmp_path, kind):
    path = tmp_path / "wrong.jsonl"
    path.write_bytes(spoilt(runs["healthy"][0].read_bytes())[kind])
    with pytest.raises(ArgumentError, match="Give a file that fanin") as caught:
        stored_report(path, Config())
    assert "\n" not in str(caught.value)
    assert isinstance(invoke(path).exception, ArgumentError), "main ends with status 2"
