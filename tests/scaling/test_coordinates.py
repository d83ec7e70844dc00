"""Coordinate checks: right laws and rates give level lines, wrong ones do not, and what is measured is what moved."""

import functools
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from typer.testing import CliRunner

import fanin
from benchmarks.training.race_models import LlamaStyle, SmallViT
from fanin.commands.app import app
from fanin.errors import ArgumentError
from fanin.lab.models import mlp, plain_cnn
from fanin.layout import Layout
from fanin.scaling import groups as groups_module
from fanin.scaling.outputs import Place, map_outputs
from fanin.scaling.slopes import fitted
from fanin.scaling.spectral import spectral_facts, spectral_norm
from fanin.theory.transfer import Growth, Multipliers
from tests.selection import few

GENERATOR = torch.Generator().manual_seed(0)
ROWS, LABELS = torch.randn(64, 64, generator=GENERATOR), torch.randint(0, 10, (64,), generator=GENERATOR)
IMAGES = torch.randn(16, 1, 14, 14, generator=GENERATOR)
IDS, NEXT = (torch.randint(0, 64, (4, 32), generator=GENERATOR) for _ in range(2))
WIDTHS = (64, 128, 256, 512, 1024)


RATES = few([("adamw", 1e-3), ("sgd", 0.01), ("muon", 0.01)], ("adamw", 1e-3), ("sgd", 0.01))


@pytest.fixture
def muon_in_float32(monkeypatch):
    """Torch's own Muon in float32: most CPUs multiply matrices of 1024 in bfloat16 a hundred times as slowly."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)


def build_mlp(width):
    return mlp([64, width, width, width, 10])


def slopes(check):
    return {name: slope for name, slope in check.slopes.items() if math.isfinite(slope)}


def worst(check):
    return max(map(abs, slopes(check).values()))


# ---------------------------------------------------------------------- slopes of real networks
@pytest.mark.usefixtures("muon_in_float32")
@pytest.mark.parametrize(("optimizer", "lr"), few(RATES, every=2))
def test_one_rate_moves_every_width_of_an_mlp_alike(optimizer, lr):
    check = fanin.coordinate_check(build_mlp, WIDTHS, ROWS, LABELS, optimizer=optimizer, lr=lr, recipe="mup")
    assert check.ok
    assert worst(check) <= 0.15


@pytest.mark.usefixtures("muon_in_float32")
@pytest.mark.parametrize(("optimizer", "lr"), few(RATES, every=2))
def test_so_do_the_laws_of_auto(optimizer, lr):
    check = fanin.coordinate_check(build_mlp, WIDTHS, ROWS, LABELS, optimizer=optimizer, lr=lr)
    assert check.ok
    assert worst(check) <= (
        0.35 if optimizer == "sgd" else 0.2
    )  # its output starts smaller in a wider model: see below


@pytest.mark.parametrize("recipe", few(["auto", "mup"], "mup"))
def test_under_sgd_a_fixed_direction_moves_alike(recipe):
    check = fanin.coordinate_check(build_mlp, WIDTHS, ROWS, optimizer="sgd", lr=0.01, recipe=recipe)
    assert worst(check) <= 0.15
    assert not check.notes


def test_outputs_that_start_smaller_in_wider_models_are_told():
    check = fanin.coordinate_check(build_mlp, (64, 256, 1024), ROWS, LABELS, optimizer="sgd", lr=0.01, seeds=1)
    assert any("outputs start with rms" in n for n in check.notes)


@pytest.mark.slow
def test_muon_in_narrow_models_in_its_own_precision():
    check = fanin.coordinate_check(build_mlp, (64, 128, 256), ROWS, LABELS, optimizer="muon", lr=0.01, recipe="mup")
    assert worst(check) <= 0.15


@pytest.mark.parametrize(("optimizer", "lr"), [("adamw", 1e-3), ("sgd", 0.1)])
def test_the_default_start_fails(optimizer, lr):
    check = fanin.coordinate_check(build_mlp, WIDTHS, ROWS, LABELS, optimizer=optimizer, lr=lr, recipe=None)
    assert not check.ok
    assert check.slopes["output"] >= 0.4


def test_a_scaled_readout_under_sgd():
    def own(model, lr):
        plan = fanin.plan(model, ROWS, recipe="mup", base_width=64, readout="scaled")
        made = fanin.param_groups(model, plan, lr, optimizer="sgd")
        made.plan.apply_(model)
        return torch.optim.SGD(made)

    check = fanin.coordinate_check(build_mlp, WIDTHS, ROWS, LABELS, optimizer=own, lr=0.01, recipe=None)
    assert worst(check) <= 0.25


@pytest.mark.parametrize(
    ("name", "wrong"),
    few([("sgd", lambda g: Multipliers(lr=g.outputs * g.inputs if g.kind == "readout" else g.outputs / g.inputs)),
     ("sgd", lambda g: Multipliers(lr=1.0)),
     ("adamw", lambda g: Multipliers(lr=1.0))], every=2),
)  # fmt: skip
def test_wrong_multipliers_fail(monkeypatch, name, wrong):
    monkeypatch.setattr(groups_module, "multipliers", lambda optimizer, growth: wrong(growth))
    lr = 0.01 if name == "sgd" else 1e-3
    assert not fanin.coordinate_check(build_mlp, (64, 256, 1024), ROWS, LABELS, optimizer=name, lr=lr).ok


@pytest.mark.slow
def test_a_cnn():
    def build(channels):
        return plain_cnn(4, channels=channels)

    for recipe, holds in (("auto", True), ("mup", True), (None, False)):
        check = fanin.coordinate_check(build, (16, 32, 128), IMAGES, LABELS[:16], recipe=recipe)
        assert check.ok is holds
        assert (worst(check) <= 0.15) is holds


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["auto", "mup"])
@pytest.mark.parametrize(
    ("build", "inputs", "targets"),
    [
        (lambda w: LlamaStyle(64, width=w, depth=2, heads=w // 16, hidden=11 * w // 4), IDS, NEXT),
        (lambda w: SmallViT(width=w, depth=2, heads=w // 16), IMAGES[:4], LABELS[:4]),
    ],
    ids=["llama", "vit"],
)
def test_transformers(build, inputs, targets, recipe):
    check = fanin.coordinate_check(build, (64, 128, 256, 512), inputs, targets, recipe=recipe)
    assert check.ok
    assert len(check.rows) >= 10  # every map of two blocks, what comes before and after them, and the output
    assert worst(check) <= 0.3
    assert not fanin.coordinate_check(build, (64, 128, 256, 512), inputs, targets, recipe=None).ok


# ---------------------------------------------------------------------- what is measured
def test_outputs_are_those_that_hooks_see():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    seen = []
    for layer in (model[0], model[2]):
        layer.register_forward_hook(lambda module, inputs, output: seen.append(output.detach().clone()))
    found, out = map_outputs(model, ROWS[:, :4])
    assert list(found) == [Place("0.weight"), Place("2.weight"), Place("output")]
    assert all(torch.equal(a, b) for a, b in zip((*seen, out), found.values(), strict=True))


class Unusual(nn.Module):
    """Weights that are applied without modules, packed, shared, or made of parameters."""

    def __init__(self, width=8):
        super().__init__()
        self.flat = nn.Parameter(torch.randn(4, width))
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.shared = nn.Linear(width, width)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(width, width))
        self.cell = nn.LSTM(width, width, batch_first=True)
        self.last = nn.Parameter(torch.randn(3, width))

    def forward(self, x):
        h = x.reshape(-1, 4, 4) @ self.flat
        h = h + self.attention(h, h, h, need_weights=False)[0]
        h = self.shared(torch.relu(self.shared(h)))
        h = self.cell(self.normed(h))[0]
        return torch.einsum("btd,cd->bc", h, self.last)


def test_every_way_to_apply_a_weight_is_seen():
    found, _ = map_outputs(Unusual(), ROWS[:, :16])
    names = [place.parameter for place in found]
    assert names == [
        "flat", "attention.in_proj_weight", "attention.out_proj.weight", "shared.weight", "shared.weight",
        "normed.parametrizations.weight.original1", "cell.weight_ih_l0", "last", "output",
    ]  # fmt: skip


class Reads(nn.Module):
    """Tokens with positions, and weights that are masked, scaled or merged from buffers before they are applied."""

    def __init__(self):
        super().__init__()
        self.table, self.places = nn.Embedding(11, 8), nn.Embedding(5, 8)
        self.masked, self.scaled = (nn.Parameter(torch.randn(8, 8)) for _ in range(2))
        self.up, self.down = nn.Parameter(torch.randn(8, 2)), nn.Parameter(torch.randn(2, 8))
        self.of_offsets, self.head = nn.Linear(2, 8), nn.Linear(8, 11, bias=False)
        self.register_buffer("mask", torch.eye(8))
        self.register_buffer("scale", torch.tensor(0.5))
        self.register_buffer("frozen", torch.randn(8, 8))
        self.register_buffer("offsets", torch.randn(5, 2))

    def forward(self, ids):
        h = self.table(ids) + self.places(torch.arange(5)) + self.of_offsets(self.offsets)
        h = torch.relu(F.linear(h, self.masked * self.mask))
        h = torch.relu(F.linear(h, self.scaled * self.scale))
        return self.head(torch.relu(F.linear(h, self.frozen + self.up @ self.down)))


def test_maps_behind_a_table_and_weights_made_with_buffers_are_seen():
    found, _ = map_outputs(Reads(), torch.arange(10).reshape(2, 5))
    assert [place.parameter for place in found] == [
        "table.weight", "places.weight", "of_offsets.weight", "masked", "scaled", "up", "head.weight", "output",
    ]  # fmt: skip
    assert {p.parameter: tuple(v.shape) for p, v in found.items()}["up"] == (2, 5, 8)


@pytest.mark.parametrize("norm", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm])
def test_what_makes_a_weight_is_no_use_of_it(norm):
    model = nn.Sequential(norm(nn.Linear(4, 8)), nn.ReLU(), norm(nn.Conv1d(8, 3, 1)))
    model[1] = nn.Sequential(nn.ReLU(), nn.Unflatten(1, (8, 1)))
    for mode in (True, False):
        found, _ = map_outputs(model.train(mode), ROWS[:, :4])
        assert [place.use for place in found] == [0, 0, 0]
        assert found[next(iter(found))].shape == (len(ROWS), 8)


@pytest.mark.slow
def test_models_of_unusual_forms_are_checked():
    check = fanin.coordinate_check(Unusual, (8, 16, 32), ROWS[:, :16], LABELS % 3, seeds=1)
    assert [row.name for row in check.rows][3:5] == ["shared.weight (use 1)", "shared.weight (use 2)"]
    assert all(row.last.verdict != "not finite" for row in check.rows)


def test_the_change_after_one_step_is_the_step_times_the_input():
    def build(width):
        return nn.Linear(64, width, bias=False)

    check = fanin.coordinate_check(
        build, (4, 8), ROWS, lambda_loss_targets(), loss=total, optimizer="sgd", lr=0.5, steps=1, seeds=1, recipe=None
    )
    step = 0.5 * ROWS.mean(dim=0)
    expected = float((ROWS @ step).square().mean().sqrt())
    assert check.rows[0].changes[4][0] == pytest.approx(expected, rel=1e-5)


def lambda_loss_targets():
    return ROWS


def total(output, targets):
    return output.sum(dim=1).mean()


def test_random_operations_and_the_callers_generator_do_not_disturb():
    def build(width):
        return nn.Sequential(nn.Linear(64, width), nn.Dropout(0.5), nn.ReLU(), nn.Linear(width, 10))

    torch.manual_seed(5)
    before = torch.get_rng_state()
    found = [fanin.coordinate_check(build, (16, 32), ROWS, LABELS, lr=1e-9, seeds=1) for _ in range(2)]
    assert torch.equal(before, torch.get_rng_state())
    assert found[0].slopes == found[1].slopes
    assert all(change < 1e-5 for row in found[0].rows for c in row.changes.values() for change in c)


# ---------------------------------------------------------------------- slopes and spectral norms
def test_a_slope_is_that_of_the_power_law_with_its_error():
    rng = np.random.default_rng(0)
    slopes_ = [
        fitted({w: list(w**0.5 * np.exp(rng.normal(size=4) * 0.1)) for w in (64, 128, 256)}, 0.25) for _ in range(200)
    ]
    values = np.array([s.value for s in slopes_])
    assert abs(values.mean() - 0.5) < 5 * values.std() / 200**0.5
    assert np.mean([s.error for s in slopes_]) == pytest.approx(values.std(), rel=0.2)
    assert {s.verdict for s in slopes_} == {"grows"}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({1: [1.0], 2: [1.0]}, "ok"),
        ({1: [1.0], 2: [0.5]}, "shrinks"),
        ({1: [0.0], 2: [0.0]}, "still"),
        ({1: [0.0], 2: [1.0]}, "partly still"),
        ({1: [1.0], 2: [math.inf]}, "not finite"),
    ],
)
def test_verdicts(changes, verdict):
    found = fitted(changes, 0.25)
    assert found.verdict == verdict
    assert found.ok is (verdict in ("ok", "still"))


def test_spectral_norms_are_the_largest_singular_values():
    rng = np.random.default_rng(1)
    for shape in ((64, 64), (10, 256), (256, 10)):
        w = rng.standard_normal(shape)
        assert spectral_norm(w, rounds=500) == pytest.approx(np.linalg.norm(w, 2), rel=1e-4)
        assert 0.9 < spectral_norm(w) / np.linalg.norm(w, 2) <= 1.0 + 1e-9
    assert spectral_norm(np.zeros((3, 3))) == 0.0


def test_facts_are_given_for_each_part_and_expert():
    w = np.random.default_rng(2).standard_normal((6, 4))
    facts = list(spectral_facts("w", w, w * 1.5, Layout.linear(parts=3)))
    assert [f.part for f in facts] == [0, 1, 2]
    assert all(f.first_step == pytest.approx(0.5) for f in facts)
    first = np.linalg.norm(w[:2], 2) / math.sqrt(2 / 4)
    assert facts[0].ratio == pytest.approx(first, rel=0.05)
    experts = np.random.default_rng(3).standard_normal((2, 5, 4))
    assert [f.index for f in spectral_facts("e", experts, experts, Layout.experts())] == [0, 1]
    assert next(iter(spectral_facts("z", w * 0, w, Layout.linear()))).first_step is None


# ---------------------------------------------------------------------- results and refusals
@pytest.fixture(scope="module")
def small():
    return fanin.coordinate_check(build_mlp, (16, 32, 64), ROWS, LABELS, seeds=1, steps=2)


def test_a_result_is_saved_and_shown(small, tmp_path, capsys):
    for ending in ("json", "html", "png"):
        small.save(tmp_path / f"c.{ending}")
    data = json.loads((tmp_path / "c.json").read_text())
    assert data["ok"] is small.ok
    assert [m["name"] for m in data["maps"]] == list(small.slopes)
    page = (tmp_path / "c.html").read_text()
    assert "0.weight" in page and "Spectral norms" in page and '<link rel="style' not in page  # noqa: PT018 one page
    assert small.facts and (tmp_path / "c.png").stat().st_size > 10_000  # noqa: PT018
    small.show()
    assert "0.weight" in capsys.readouterr().out
    with pytest.raises(ArgumentError, match="a check is saved as"):
        small.save(tmp_path / "c.txt")


def test_what_is_refused():
    check = functools.partial(fanin.coordinate_check, build_mlp, (16, 32), ROWS, LABELS)
    for match, settings in (
        ("steps is a whole number", {"steps": 0}),
        ("seeds is a whole number", {"seeds": 0}),
        ("lr is a finite number", {"lr": math.nan}),
        ("groups need an optimizer by name", {"optimizer": lambda model, lr: None, "groups": True}),
        ("optimizer is a name or a callable", {"optimizer": 3}),
        ("only mean something with groups", {"groups": False, "weight_decay": 0.1}),
    ):
        with pytest.raises(ArgumentError, match=match):
            check(**settings)
    with pytest.raises(ArgumentError, match="two different widths"):
        fanin.coordinate_check(build_mlp, (16,), ROWS, LABELS)
    with pytest.raises(ArgumentError, match="do not have the same maps"):
        fanin.coordinate_check(lambda w: mlp([64, *[w] * (w // 8), 10]), (8, 16), ROWS, LABELS, recipe=None)
    with pytest.raises(ArgumentError, match=r"must give a torch.nn.Module"):
        fanin.coordinate_check(lambda w: w, (8, 16), ROWS, LABELS, recipe=None)


# ---------------------------------------------------------------------- the command
TARGET = """
import torch
from torch import nn

def build(width):
    print("building")
    g = torch.Generator().manual_seed(0)
    x = torch.randn(128, 8, generator=g)
    layers = [nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)]
    return nn.Sequential(*layers), x, (x[:, 0] > 0).long()

def alone(width):
    return nn.Linear(8, width)
"""


@pytest.fixture
def target(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text(TARGET)
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, ["mup", *words])


def test_fanin_mup_check(target, tmp_path):
    words = ("nets.py:build", "--widths", "32,128,512", "--lr", "0.003", "--format", "json")
    good = target("check", *words, "--save", "c.html")
    assert good.exit_code == 0
    assert json.loads(good.stdout)["ok"] is True
    assert (tmp_path / "c.html").exists()
    bad = target("check", *words, "--start", "none")
    assert bad.exit_code == 1
    assert json.loads(bad.stdout)["recipe"] == "as constructed"
    for wrong in (("--widths", "3"), ("--widths", "a,b")):
        assert "--widths is two or more" in str(target("check", "nets.py:build", *wrong).exception)
    assert "gives no inputs" in str(target("check", "nets.py:alone").exception)


def test_fanin_mup_sweep_goes_on_after_a_stop(target, tmp_path):
    words = ("nets.py:build", "--widths", "8,32", "--rates", "2^-7..2^-5", "--steps", "5", "--out", "runs.jsonl")
    first = target("sweep", *words, "--format", "json", "--save", "s.png")
    assert first.exit_code == 0
    rows = json.loads(first.stdout)["rows"]
    assert [(r["start"], r["size"]) for r in rows][:2] == [("none", 8), ("none", 32)]
    assert all(r["regret"] >= 0.0 for r in rows)
    lines = (tmp_path / "runs.jsonl").read_text().splitlines()
    (tmp_path / "runs.jsonl").write_text("\n".join(lines[:-2]) + "\n")  # the last two runs were lost
    again = target("sweep", *words, "--format", "json")
    assert json.loads(again.stdout)["rows"] == rows
    assert "--rates is a grid" in str(target("sweep", *words[:3], "--rates", "x..y").exception)
    assert "no start 'autos'" in str(target("sweep", *words, "--starts", "autos").exception)


def test_growth_is_positive_and_finite():
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ArgumentError, match="finite number > 0"):
            Growth(inputs=wrong)
