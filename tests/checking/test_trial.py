"""The recommended start is tried on a copy before it is recommended."""

from __future__ import annotations

import ast
import gc

import pytest
import torch
from torch import nn

import fanin
from fanin.report.rows import trial_rows
from tests.selection import few


def stack(act, depth=10, std=None):
    torch.manual_seed(0)
    layers = [m for _ in range(depth) for m in (nn.Linear(64, 64), act())]
    for layer in layers[::2]:
        if std is not None:
            nn.init.normal_(layer.weight, std=std)
    model = nn.Sequential(*layers, nn.Linear(64, 10))
    return {"model": model, "inputs": torch.randn(64, 64), "targets": torch.randint(0, 10, (64,)), "predict": False}


@pytest.mark.parametrize("act", few([nn.Sigmoid, nn.ReLU, nn.Tanh], nn.Tanh))
def test_a_fix_says_that_it_was_tried_and_what_it_changed(act):
    case = stack(act, std=None if act is nn.Sigmoid else 0.01)
    before = [p.clone() for p in case["model"].parameters()]
    report = fanin.check(**case)
    assert all(torch.equal(p, q) for p, q in zip(before, case["model"].parameters(), strict=True))
    assert "this finding is gone" in report.findings[0].fix.text
    assert report.findings[0].fix.code.startswith("fanin.init_(model, inputs)")
    trial = report.result.trial
    assert trial.verdict.startswith("healthy")
    assert report.findings[0].code in trial.gone
    assert trial.found == ()
    fanin.init_(case["model"], case["inputs"])
    again = fanin.check(**case)
    assert again.verdict == trial.verdict
    assert again.measurements.loss.value == pytest.approx(trial.loss_after, rel=1e-6)
    assert "fanin.init_ on a copy" in str(report)
    assert "fanin.init_ on a copy" not in str(again)


def test_a_start_that_does_not_help_is_called_unproven(monkeypatch):
    monkeypatch.setattr("fanin.planning.initialise.init_", lambda model, inputs, **rest: None)
    monkeypatch.setattr("fanin.calibration.calibrate.calibrate", lambda *model, **rest: None)
    report = fanin.check(**stack(nn.ReLU, std=0.01))
    assert "unproven: after fanin.init_ on a copy this finding is still there" in report.findings[0].fix.text
    assert report.findings[0].code in report.result.trial.found
    assert report.findings[0].fix.code == ""  # what was tried in vain is no fix
    assert report.findings[0].fix.starts == ()


def test_a_fault_that_only_scaling_mends_has_the_code_that_mended_it(monkeypatch):
    monkeypatch.setattr("fanin.planning.initialise.init_", lambda model, inputs, **rest: fanin.plan(model, inputs))
    report = fanin.check(**stack(nn.ReLU, std=0.01))
    assert report.findings[0].code in report.result.trial.scaled
    assert report.findings[0].fix.code.startswith("fanin.calibrate(model, inputs)")
    assert report.findings[0].fix.starts == ()


def test_notes_are_in_the_table_whose_verdict_counts_them():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 64), nn.Sigmoid(), nn.Linear(64, 64), nn.Sigmoid(), nn.Linear(64, 10))
    x, y = torch.randint(0, 256, (64, 784)).float(), torch.randint(0, 10, (64,))
    result = fanin.check(model, x, y, predict=False).result
    shown = {name: (before, after) for name, before, after in trial_rows(result)}["found"]
    assert "note" in result.verdict
    assert shown[0].split() == sorted({f.code for f in (*result.findings, *result.consequences)})
    (note,) = (f for f in result.findings if f.severity == "note" and f.fix.recommends_start)
    assert (note.fix.code == "") == (note.code in shown[1].split())


class Uncopied(nn.Sequential):
    def __deepcopy__(self, memo):
        raise RuntimeError("one of a kind")


def test_a_model_that_cannot_be_copied_is_named_as_unproven():
    case = stack(nn.ReLU, std=0.01)
    report = fanin.check(**{**case, "model": Uncopied(*case["model"])})
    assert report.result.trial.reason == "RuntimeError: one of a kind"
    assert "unproven: the trial on a copy ended with: RuntimeError" in report.findings[0].fix.text


class Hides(nn.Sequential):
    """With small weights its first layer gives little, and nothing is kept; with others a result goes out of sight."""

    def forward(self, x):
        h = super().forward(x)
        if self[0].weight.detach().std() > 0.05:
            next(c for c in gc.get_objects() if type(c) is OutOfSight).kept.append(h)
        return h


class OutOfSight:
    """Found by nobody who does not look at everything."""

    def __init__(self):
        self.kept = []


@pytest.mark.slow
def test_what_only_the_trial_could_not_put_back_is_named():
    hidden = OutOfSight()
    case = stack(nn.ReLU, std=0.01)
    model = Hides(*case["model"])
    assert "untouched" not in fanin.check(**{**case, "model": model}, trial=False).measurements.missing
    report = fanin.check(**{**case, "model": model})
    assert hidden.kept
    assert "could not put it back" in report.measurements.missing["untouched"]


def test_without_a_trial_the_fix_says_so():
    report = fanin.check(**stack(nn.ReLU, std=0.01), trial=False)
    assert report.result.trial is None
    assert report.findings[0].fix.text.endswith("(not tried)")


def test_a_fix_names_calibration_only_where_it_cures(monkeypatch):
    case = stack(nn.ReLU, std=0.01)
    before = [p.clone() for p in case["model"].parameters()]
    fix = fanin.check(**case).findings[0].fix.text
    assert "fanin.calibrate was tried on a copy" in fix
    assert "gone too" in fix
    assert all(torch.equal(p, q) for p, q in zip(before, case["model"].parameters(), strict=True))
    fanin.calibrate(case["model"], case["inputs"])
    assert not any(f.code == "S201" for f in fanin.check(**case).findings)
    monkeypatch.setattr("fanin.calibration.calibrate.calibrate", lambda *model, **rest: None)
    report = fanin.check(**stack(nn.ReLU, std=0.01))
    assert "fanin.calibrate" not in report.findings[0].fix.text
    assert report.result.trial.scaled == ()


def test_equal_units_are_no_case_for_calibration():
    case = stack(nn.ReLU)
    nn.init.constant_(case["model"][2].weight, 0.05)
    report = fanin.check(**case)
    assert not any("fanin.calibrate" in f.fix.text for f in report.findings if f.name == "symmetric-weights")


@pytest.mark.parametrize("bias", [True, False])
def test_what_a_note_says_of_rare_labels_and_what_the_plan_says_are_told_together(bias):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1, bias=bias))
    x, y = torch.randn(200, 8), (torch.arange(200) % 100 == 0).float()[:, None]
    case = {"targets": y, "loss": nn.functional.binary_cross_entropy_with_logits}
    (note,) = (f for f in fanin.check(model, x, **case).findings if f.code == "L801")
    assert "ln(p / (1 - p)) = -4.6" in note.fix.text
    if not bias:
        assert "give the last layer a bias" in note.fix.text
        return
    assert fanin.plan(model, x)["2.bias"].std == 0.0
    assert "fanin.plan starts it at 0, since it reads no labels" in note.fix.text
    _, _, overrides = note.fix.text.partition("overrides=")
    given = ast.literal_eval(overrides[: overrides.index("}") + 1])
    fanin.init_(model, x, overrides=given)
    assert not any(f.code == "L801" for f in fanin.check(model, x, **case).findings)
    nn.init.zeros_(model[2].bias)
    exec(note.fix.code, {"torch": torch, "model": model})
    assert model[2].bias.item() == pytest.approx(-4.6, abs=0.01)
