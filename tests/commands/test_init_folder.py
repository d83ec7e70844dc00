"""``fanin init --meta --out folder`` writes a checkpoint that the plan verifies, without a model in memory."""

import pytest
from torch import nn
from typer.testing import CliRunner

import fanin
from fanin.commands.app import app
from fanin.commands.init import init
from fanin.commands.targets import load_target
from fanin.errors import OutputError

TARGET = """
from torch import nn

def model():
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
"""


def test_a_folder_gets_the_weights_and_buffers_of_the_plan(tmp_path, capsys):
    file = tmp_path / "target.py"
    file.write_text(TARGET)
    init(f"{file}:model", out=tmp_path / "weights", recipe="torch", seed=3, meta=True)
    assert "1 file written" in capsys.readouterr().err
    plan = fanin.plan(load_target(f"{file}:model").model, recipe="torch", seed=3)
    held = plan.verify(tmp_path / "weights")
    assert held.ok, str(held)
    assert set(held.not_checked) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_verify_reads_the_plan_that_init_left_in_the_folder(tmp_path):
    file, folder = tmp_path / "target.py", tmp_path / "weights"
    file.write_text(TARGET)
    init(f"{file}:model", out=folder, recipe="torch", seed=3, meta=True)
    assert CliRunner().invoke(app, ["verify", str(folder)]).exit_code == 0
    fanin.plan(load_target(f"{file}:model").model, recipe="torch", seed=4).save(folder / "plan.json")
    assert CliRunner().invoke(app, ["verify", str(folder)]).exit_code == 1  # weights of another seed
    (folder / "plan.json").unlink()
    missing = CliRunner().invoke(app, ["verify", str(folder)])
    assert "--plan FILE" in str(missing.exception)


FOREIGN = {  # what stands under the name of the plan
    "no plan": lambda model: "{}",
    "another seed": lambda model: fanin.plan(model, recipe="torch", seed=4).to_json(),
    "another recipe": lambda model: fanin.plan(model, recipe="classic", seed=3).to_json(),
    "another model": lambda model: fanin.plan(nn.Linear(3, 3), recipe="torch", seed=3).to_json(),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_another_file_under_the_name_of_the_plan_stays(name, tmp_path, monkeypatch):
    file, folder = tmp_path / "target.py", tmp_path / "weights"
    file.write_text(TARGET)
    folder.mkdir()
    (folder / "plan.json").write_text(FOREIGN[name](load_target(f"{file}:model").model))
    before = (folder / "plan.json").read_bytes()
    monkeypatch.setattr("fanin.planning.initialise.tried_plan", None)  # refused before any plan is made
    with pytest.raises(OutputError, match="not written over"):
        init(f"{file}:model", out=folder, recipe="torch", seed=3, meta=True)
    assert [f.name for f in folder.iterdir()] == ["plan.json"]
    assert (folder / "plan.json").read_bytes() == before
