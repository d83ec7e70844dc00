"""CompleteP's depth factor folded into weights: the same run as with the factor in the forward pass."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fanin
from fanin.errors import ArgumentError, PlanError
from fanin.scaling.optimizers import optimizer_named
from tests.selection import few

X = torch.randn(32, 10, generator=torch.Generator().manual_seed(0))
Y = torch.arange(32) % 4


class Block(nn.Module):
    def __init__(self, width, factor):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.factor = factor

    def forward(self, x):
        return x + self.factor * self.down(F.gelu(self.up(self.norm(x))))


class Net(nn.Module):
    def __init__(self, depth, factor=1.0, width=32):
        super().__init__()
        self.first, self.last = nn.Linear(10, width), nn.Linear(width, 4)
        self.blocks = nn.Sequential(*[Block(width, factor) for _ in range(depth)])

    def forward(self, x):
        return self.last(self.blocks(self.first(x)))


def losses(model, optimizer, steps=25):
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(X.to(next(model.parameters()))), Y)
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    return torch.tensor(found, dtype=torch.float64)


def adamw(params):
    return torch.optim.AdamW(params, lr=3e-3, weight_decay=0.1, eps=1e-8)


def sgd(params):
    return torch.optim.SGD(params, lr=0.02, momentum=0.9, weight_decay=0.01)


@pytest.mark.parametrize("power", few([1.0, 0.5], 0.5))
@pytest.mark.parametrize(("name", "made", "lr", "decay"), [("adamw", adamw, 3e-3, 0.1), ("sgd", sgd, 0.02, 0.01)])
def test_the_folded_factor_is_the_factor_of_the_forward_pass(name, made, lr, decay, power):
    factor = (16 / 4) ** -power
    model, multiplied = Net(16).double(), Net(16, factor).double()
    plan = fanin.plan(model, X.double())
    groups = fanin.param_groups(
        model, plan, lr, optimizer=name, weight_decay=decay, base=Net(16), depth_base=4, depth_power=power
    )
    groups.plan.apply_(model)
    plan.apply_(multiplied)
    inner = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]
    extra = {"momentum": 0.9} if name == "sgd" else {}
    ours, theirs = losses(model, inner(groups, **extra)), losses(multiplied, made(multiplied.parameters()))
    assert (ours - theirs).abs().max() < 1e-6
    assert abs(ours[0] - ours[-1]) > 0.1


@pytest.mark.slow
def test_without_scaled_eps_or_rate_the_runs_differ():
    model, multiplied = Net(16), Net(16, 0.25)
    plan = fanin.plan(model, X)
    groups = fanin.param_groups(model, plan, 3e-3, weight_decay=0.1, base=Net(16), depth_base=4)
    groups.plan.apply_(model)
    plan.apply_(multiplied)
    wrong = losses(model, adamw(model.parameters())) - losses(multiplied, adamw(multiplied.parameters()))
    assert wrong.abs().max() > 1e-3


def moved_by_the_branches(depth, optimizer, lr, power):
    """How far 4 steps of the branches alone move the output."""
    torch.manual_seed(0)
    model = Net(depth, width=64)
    plan = fanin.plan(model, X)
    groups = fanin.param_groups(
        model, plan, lr, optimizer=optimizer, base=model, depth_base=4, depth_power=power, depth=depth
    )
    groups.plan.apply_(model)
    for part in (model.first, model.last):
        part.requires_grad_(False)
    before = model(X).detach()
    losses(model, optimizer_named(optimizer, groups, lr), steps=4)
    return float((model(X).detach() - before).square().mean().sqrt()), groups.notes


@pytest.mark.parametrize(
    ("optimizer", "lr", "power", "level"),
    few([("adamw", 1e-3, 1.0, True), ("sgd", 0.05, 0.5, True), ("sgd", 0.05, 1.0, False)], every=2),
)
def test_all_branches_together_move_the_output_alike_at_every_depth(optimizer, lr, power, level):
    (shallow, none), (deep, notes) = (moved_by_the_branches(depth, optimizer, lr, power) for depth in (4, 16))
    assert (abs(math.log(deep / shallow)) < 0.35) is level
    assert not none
    assert any("depth_power=0.5" in n for n in notes) is not level


def test_ends_of_branches_and_nothing_else_get_the_factor():
    model = Net(8)
    groups = fanin.param_groups(model, fanin.plan(model, X), 0.01, base=Net(8), depth_base=2)
    small = {n for g in groups for n in g["names"] if g["lr"] != 0.01}
    assert small == {n for n, _ in model.named_parameters() if ".down." in n}
    assert all(g["lr"] == 0.0025 for g in groups if g["lr"] != 0.01)
    assert groups.plan["blocks.0.down.weight"].std == pytest.approx(
        fanin.plan(model, X)["blocks.0.down.weight"].std / 4
    )


def test_width_and_depth_together_against_a_shallow_narrow_base():
    model, base = Net(8, width=64), Net(2, width=16)
    groups = fanin.param_groups(model, fanin.plan(model, X), 0.01, base=base, depth_base=2)
    rate = {n: g["lr"] for g in groups for n in g["names"]}
    assert rate["blocks.7.down.weight"] == pytest.approx(0.01 / 16)
    assert rate["blocks.7.up.weight"] == 0.0025
    assert all(g["lr"] == 0.01 for g in fanin.param_groups(base, fanin.plan(base, X), 0.01, base=base, depth_base=2))


def test_the_same_index_of_a_deeper_sequence_is_not_taken_for_the_same_layer():
    def stack(depth, width):
        return nn.Sequential(
            nn.Linear(10, width), *[nn.Linear(width, width) for _ in range(depth)], nn.Linear(width, 4)
        )

    model = stack(4, 64)
    with pytest.raises(ArgumentError, match="3 different shapes there"):
        fanin.param_groups(model, fanin.plan(model, X), 0.01, base=stack(2, 16))


def test_muon_takes_the_factor_to_the_first_power():
    model = Net(8)
    groups = fanin.param_groups(model, fanin.plan(model, X), 0.01, optimizer="muon", base=Net(8), depth_base=2)
    rate = {n: g["lr"] for g in groups.of("muon") for n in g["names"]}
    assert rate["blocks.0.down.weight"] == 0.0025
    assert rate["blocks.0.up.weight"] == 0.01
    optimizer_named("muon", groups, 0.01).step()


# ---------------------------------------------------------------------- what cannot be folded
class EndsInNorm(Block):
    def forward(self, x):
        return x + self.norm(self.down(F.gelu(self.up(x))))


class EndsInSigmoid(Block):
    def forward(self, x):
        return x + torch.sigmoid(self.down(F.gelu(self.up(self.norm(x)))))


class GatesItself(Block):
    def forward(self, x):
        h = self.down(F.gelu(self.up(self.norm(x))))
        return x + h * torch.sigmoid(h)


class AddsConstant(Block):
    def forward(self, x):
        return x + (self.down(F.gelu(self.up(self.norm(x)))) + 0.1)


class Squares(Block):
    def forward(self, x):
        h = self.down(F.gelu(self.up(self.norm(x))))
        return x + h * h


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (EndsInNorm, "it ends in a norm"),
        (EndsInSigmoid, "it ends in sigmoid"),
        (GatesItself, "also read by"),
        (AddsConstant, "a constant is added"),
        (Squares, "it ends in"),
    ],
)
def test_a_branch_that_cannot_take_a_factor_is_named(block, said):
    model = Net(3)
    model.blocks = nn.Sequential(*[block(32, 1.0) for _ in range(3)])
    with pytest.raises(PlanError, match=f"branch 0 of stream 0: .*{said}"):
        fanin.param_groups(model, fanin.plan(model, X), 0.01, base=model, depth_base=1)


class ReluAfter(Block):
    def forward(self, x):
        return x + torch.relu(self.down(F.gelu(self.up(self.norm(x)))))


class Scaled(Block):
    def __init__(self, width, factor):
        super().__init__(width, factor)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x):
        return x + self.scale * F.dropout(self.down(F.gelu(self.up(self.norm(x)))), 0.1, self.training)


@pytest.mark.parametrize("block", [ReluAfter, Scaled])
def test_what_passes_a_factor_on_is_folded(block):
    model = Net(4)
    model.blocks = nn.Sequential(*[block(32, 1.0) for _ in range(4)])
    plan = fanin.plan(model, X)
    groups = fanin.param_groups(model, plan, 0.01, base=model, depth_base=1)
    assert {n for g in groups for n in g["names"] if g["lr"] == 0.0025} == {
        f"blocks.{i}.down.{p}" for i in range(4) for p in ("weight", "bias")
    }


def test_a_map_that_is_also_used_elsewhere_is_named():
    class Shares(Net):
        def forward(self, x):
            h = self.first(x)
            for block in self.blocks:
                h = block(h)
            return self.last(self.blocks[0].down(torch.cat([h, h], -1)))

    model = Shares(3)
    with pytest.raises(PlanError, match=r"blocks.0.down.weight is also used at"):
        fanin.param_groups(model, fanin.plan(model, X), 0.01, base=model, depth_base=1)


def test_kept_and_frozen_ends_are_named():
    model = Net(3)
    plan = fanin.plan(model, X, overrides={"blocks.1.down.weight": None})
    with pytest.raises(PlanError, match=r"blocks.1.down.weight: the plan keeps its values"):
        fanin.param_groups(model, plan, 0.01, base=model, depth_base=1)


def test_depths_are_counts():
    model = Net(3)
    plan = fanin.plan(model, X)
    for settings, said in (
        ({"depth_base": 0}, "depth_base is a number"),
        ({"depth_base": 1, "depth_power": 2.0}, "0.5"),
    ):
        with pytest.raises(ArgumentError, match=said):
            fanin.param_groups(model, plan, 0.01, base=model, **settings)
    with pytest.raises(ArgumentError, match="without reading the forward pass"):
        fanin.param_groups(model, fanin.plan(model, recipe="torch"), 0.01, base=model, depth_base=1)
