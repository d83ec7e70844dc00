"""The header of a result: complete, honest about changed files, and readable for results of any age."""

from __future__ import annotations

import subprocess

import pytest

from benchmarks import common


def test_a_header_says_how_a_result_was_made():
    made = common.header()
    assert made["versions"].keys() >= {"fanin", "torch", "numpy"}
    assert all(made[key] for key in ("command", "commit", "date", "machine", "cores", "python"))
    words = common.in_words(made)
    assert all(str(made[key]) in words for key in ("command", "commit", "date", "machine", "python"))
    assert f"torch {made['versions']['torch']}" in words


@pytest.mark.parametrize("missing", ["command", "commit", "date", "machine", "versions"])
def test_an_older_header_is_printed_as_far_as_it_goes(missing):
    made = common.header()
    left = {key: value for key, value in made.items() if key != missing}
    assert len(common.in_words(left)) < len(common.in_words(made))


def test_outside_a_repository_the_commit_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setattr(common, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert common.commit() == "unknown"


def test_a_process_that_fails_is_an_error():
    with pytest.raises(subprocess.CalledProcessError):
        common.program_process("raise SystemExit(3)")


def test_a_program_as_text_finds_the_benchmarks():
    assert common.program_process("import benchmarks.common as c; print(c.RESULTS.name)").strip() == "results"
