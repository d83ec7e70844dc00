"""``fanin init --meta --out folder`` writes a checkpoint that the plan verifies, without a model in memory."""

import fanin
from fanin.commands.init import init
from fanin.commands.targets import load_target

TARGET = """
from torch import nn

def model():
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
"""


def test_a_folder_gets_the_weights_and_buffers_of_the_plan(tmp_path, capsys):
    file = tmp_path / "target.py"
    file.write_text(TARGET)
    init(f"{file}:model", out=tmp_path / "weights", recipe="torch", seed=3, meta=True)
    assert "1 files written" in capsys.readouterr().err
    plan = fanin.plan(load_target(f"{file}:model").model, recipe="torch", seed=3)
    held = plan.verify(tmp_path / "weights")
    assert held.ok, str(held)
    assert set(held.not_checked) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
