"""What TensorBoard, W&B and MLflow have of a run is read back from their own files."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import fanin
from fanin.checking.report import Report
from fanin.errors import ArgumentError
from fanin.integrations.logged import HEADS, MOST, bins_of, logged
from fanin.integrations.loggers import log
from fanin.report.steps import scalars
from tests.report.samples import hostile, vit, watched
from tests.watching.test_watch import made, train

RESULT = watched()
STEPS = {s.step: scalars(s) for s in RESULT.measurements.watched.steps}
REPORT = Report(RESULT)


def names(step) -> set[str]:
    return {*step.scalars, *step.histograms}


@pytest.mark.parametrize("result", [RESULT, vit(60), hostile()], ids=["watched", "vit", "hostile"])
def test_no_step_has_more_than_twelve_names_whatever_the_model(result):
    content = logged(result)
    assert max(len(names(step)) for step in content.steps) <= MOST - 1, "one name is left for W&B's axis"
    assert len(set().union(*map(names, content.steps))) <= 2 * MOST
    assert len(content.table) == len(result.measurements.weight_sites())


def test_a_histogram_counts_every_value_once():
    values = [0.001, 0.5, 0.5, 0.7071, 3.0, 100.0]
    bins = bins_of([*values, 0.0, -1.0, None, math.nan, math.inf])
    assert sum(bins.counts) == len(values)
    for low, high, count in zip(bins.edges, bins.edges[1:], bins.counts, strict=False):
        assert sum(low <= v < high for v in values) == count
    assert bins_of([0.0, None]) is None


def test_the_logger_is_found_by_its_type_alone():
    class Run:
        pass

    with pytest.raises(ArgumentError, match=r"test_loggers.*Run is no logger"):
        log(REPORT, to=Run())
    with pytest.raises(ArgumentError, match="a str cannot be logged"):
        log("report.html", to=Run())
    with pytest.raises(ArgumentError, match=r"builtins.module is no logger"):
        log(REPORT, to=json)


def test_a_module_without_an_active_run_is_refused():
    fake = type(sys)("wandb")
    fake.run = None
    with pytest.raises(ArgumentError, match="no run of wandb is active"):
        log(REPORT, to=fake)


@pytest.mark.slow
def test_nothing_of_a_logger_is_imported():
    code = "import sys, fanin.integrations.loggers\nprint({'wandb', 'mlflow', 'tensorboard'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


# ------------------------------------------------------------------ TensorBoard
def tensorboard_of(folder: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"histograms": 0, "scalars": 0}).Reload()


def test_tensorboard_files_are_written_and_read_back(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        log(REPORT, to=writer)
    events = tensorboard_of(tmp_path)
    found = defaultdict(dict)
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            found[event.step][tag.removeprefix("fanin/")] = event.value
    assert found.pop(0).keys() == logged(RESULT).steps[0].scalars.keys()
    assert found.keys() == STEPS.keys()
    for step, numbers in STEPS.items():
        assert found[step] == pytest.approx(numbers, nan_ok=True)
    histogram = events.Histograms("fanin/distance over weights")[0]
    assert histogram.step == 1
    assert sum(histogram.histogram_value.bucket) == 2
    assert histogram.histogram_value.sum == pytest.approx(0.05)
    (text,) = [t for t in events.Tags()["tensors"] if "report" in t]
    words = events.Tensors(text)[0].tensor_proto.string_val[0].decode()
    assert "0123456789abcdef" in words
    page = tmp_path / "fanin.html"
    assert str(page) in words, "TensorBoard shows no HTML, so it names the file"
    assert '<svg id="steps-distance"' in page.read_text(encoding="utf-8")


def test_a_writer_whose_events_are_elsewhere_gets_the_text_alone(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        writer.log_dir = "s3://bucket/run"
        log(REPORT, to=writer)
    assert not list(tmp_path.rglob("*.html"))


def test_a_watch_that_goes_on_is_logged_as_its_report(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    model, optimizer = made()
    with fanin.watch(model, optimizer) as seen, SummaryWriter(tmp_path) as writer:
        train(model, optimizer, 3, seen)
        log(seen, to=writer)
        assert seen.active
    losses = tensorboard_of(tmp_path).Scalars("fanin/loss")
    assert [e.step for e in losses] == [1, 2, 3]
    assert [e.value for e in losses] == pytest.approx([s.loss for s in seen.watched.steps])


# ------------------------------------------------------------------ W&B and MLflow, each in a process of its own
def child(program: str, folder: Path) -> str:
    """What a program prints that has REPORT; what libraries warn of and leave behind stays out of this process."""
    head = "from tests.integrations.test_loggers import REPORT\nfrom fanin.integrations.loggers import log\n"
    quiet = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", head + program],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))} | quiet,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


WANDB = """
import wandb
run = wandb.init(dir=".", project="p", settings=wandb.Settings(console="off", x_disable_stats=True))
run.log({"mine": 1.0}, step=1000)
log(REPORT, to=wandb)
run.finish()
"""


def wandb_chunks(data: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format, whose blocks of 32 KB begin at the file's start."""
    place, whole = 7, b""  # after the file's own header
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        whole += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


def put(row: dict, item) -> None:
    *outer, last = item.nested_key or [item.key]
    for name in outer:
        row = row.setdefault(name, {})
    row[last] = json.loads(item.value_json)


def wandb_records(folder: Path) -> tuple[list[dict], dict]:
    """(rows of the history, the last summary values) of the one offline run in a folder."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    rows, summary = [], {}
    for data in wandb_chunks(file.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        if record.HasField("history"):
            rows.append({})
            for item in record.history.item:
                put(rows[-1], item)
        for item in record.summary.update:
            put(summary, item)
    return rows, summary


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_an_offline_run_of_wandb_is_written_and_read_back(tmp_path):
    child(WANDB, tmp_path)
    rows, summary = wandb_records(tmp_path)
    rows = [{k.removeprefix("fanin/"): v for k, v in row.items() if k.startswith("fanin/")} for row in rows]
    steps = {row["step"]: row for row in rows if "layers" not in row and row}
    assert steps.keys() == {0, *STEPS}
    assert all(len(row) <= MOST for row in rows)
    for step, numbers in STEPS.items():
        known = {k: float(steps[step][k]) for k in numbers}
        assert known == pytest.approx(numbers, nan_ok=True)
        if step != 60:
            assert sum(steps[step]["distance over weights"]["values"]) == 2
    (media,) = [row for row in rows if "layers" in row]
    (page,) = tmp_path.glob("wandb/offline-run-*/files/" + media["report"]["path"])
    assert page.read_text() == logged(RESULT).page
    (table,) = tmp_path.glob("wandb/offline-run-*/files/" + media["layers"]["path"])
    assert json.loads(table.read_text())["columns"] == list(HEADS)
    assert len(json.loads(table.read_text())["data"]) == 2
    assert summary["fanin/verdict"] == RESULT.verdict
    assert summary["fanin/batch hash"] == "0123456789abcdef"


MLFLOW = """
import json, mlflow
mlflow.set_tracking_uri("sqlite:///runs.db")
experiment = mlflow.create_experiment("e", artifact_location="./artifacts")
with mlflow.start_run(experiment_id=experiment) as run:
    log(REPORT, to=run)
client = mlflow.MlflowClient("sqlite:///runs.db")
stored = client.get_run(run.info.run_id)
history = {k: {m.step: m.value for m in client.get_metric_history(run.info.run_id, k)} for k in stored.data.metrics}
files = {f.path: open(client.download_artifacts(run.info.run_id, f.path)).read()
         for f in client.list_artifacts(run.info.run_id, "fanin")}
print(json.dumps({"history": history, "tags": stored.data.tags, "files": files}))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(m) is None for m in ("mlflow", "sqlalchemy", "alembic")),
    reason="mlflow (or mlflow-skinny with sqlalchemy and alembic) is not installed",
)
def test_an_mlflow_store_is_written_and_read_back(tmp_path):
    read = json.loads(child(MLFLOW, tmp_path).splitlines()[-1])
    assert (tmp_path / "runs.db").stat().st_size > 0
    found = defaultdict(dict)
    for key, values in read["history"].items():
        for step, value in values.items():
            found[int(step)][key.removeprefix("fanin/")] = value
    assert found.keys() == {0, *STEPS}
    for step, numbers in STEPS.items():
        assert found[step] == pytest.approx(numbers, nan_ok=True)
    assert read["files"]["fanin/report.html"] == logged(RESULT).page
    assert json.loads(read["files"]["fanin/layers.json"])["columns"] == list(HEADS)
    assert read["tags"]["fanin/batch hash"] == "0123456789abcdef"
    assert read["tags"]["fanin/verdict"] == RESULT.verdict
