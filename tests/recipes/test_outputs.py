"""Maps whose outputs go through a function that reads nothing else: the network's own outputs have their usual size."""

import pytest
import torch
from torch import nn

import fanin
from fanin.recipes.engine import outputs

X = torch.randn(256, 20, generator=torch.Generator().manual_seed(0))


def squash(v):
    size = v.square().sum(-1, keepdim=True)
    return size / (1 + size) * v / (size + 1e-8).sqrt()


class Bent(nn.Module):
    """A body of two maps and a function of the second one's outputs."""

    def __init__(self, function) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.out = nn.Linear(20, 64), nn.Linear(64, 40)
        self.function = function

    def forward(self, x):
        return self.function(self.out(torch.relu(self.body(x))))


def started(function):
    model = Bent(function)
    plan = fanin.plan(model, X)
    plan.apply_(model)
    with torch.no_grad():
        made = model(X)
    spread = float(made.var(1).mean().sqrt()) if made.dim() > 1 else float(made.std())
    return plan["out.weight"].std, spread


LARGE = {
    "a factor": lambda h: 10 * h,
    "a sum": lambda h: h.view(-1, 10, 4).sum(-1),
    "squares": lambda h: -h.view(-1, 10, 4).square().sum(-1),
    "products": lambda h: h[:, :10] * h[:, 10:20] * h[:, 20:30] * 5,
    "sinh": lambda h: torch.sinh(3 * h),
    "one output": lambda h: h.sum(1),
}


@pytest.mark.parametrize("name", LARGE)
def test_what_a_function_makes_too_large_is_drawn_smaller(name, monkeypatch):
    std, spread = started(LARGE[name])
    assert std < 0.8 * started(lambda h: h)[0]
    assert 0.6 < spread < 1.3
    monkeypatch.setattr(outputs, "_LARGE", 0.0)  # as before: the outputs of the map of rms 1
    assert started(LARGE[name])[1] > 1.5 * spread


@pytest.mark.parametrize(
    "function",
    [
        lambda h: h,
        lambda h: h.log_softmax(-1),
        lambda h: h.softmax(-1),
        lambda h: nn.functional.layer_norm(h, (40,)),
        lambda h: 16 * nn.functional.normalize(h, dim=-1),
        lambda h: h.view(-1, 10, 4).mean(-1),
        torch.tanh,
    ],
)
def test_a_function_that_makes_nothing_larger_changes_nothing(function):
    assert started(function)[0] == pytest.approx(started(lambda h: h.flip(1))[0], rel=1e-6)


def routed(votes):
    """The lengths of capsules after three rounds of routing by agreement (Sabour et al. 2017, arXiv 1710.09829)."""
    logits = torch.zeros_like(votes[..., 0])
    for _ in range(3):
        made = squash((logits.softmax(2)[..., None] * votes).sum(1))
        logits = logits + (votes * made[:, None]).sum(-1)
    return 8 * made.norm(dim=-1)


class Capsules(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.votes = nn.Linear(20, 288), nn.Parameter(0.1 * torch.randn(36, 10, 6, 8))

    def forward(self, x):
        return routed(torch.einsum("icod,bid->bico", self.votes, squash(self.body(x).view(-1, 36, 8))))


def test_capsules_are_not_driven_into_the_bounds_of_their_length():
    model = Capsules()
    plan = fanin.plan(model, X)
    plan.apply_(model)
    with torch.no_grad():
        calm = model(X).mean()
        model.votes.mul_(1 / (plan["votes"].std * (8 * 0.1) ** 0.5))
        large = model(X).mean()
    assert plan["votes"].rule == "before outputs"
    assert 0.5 < float(calm) < 4.0  # of at most 8
    assert float(large) > 6.0


def test_a_small_head_that_its_module_chose_stays():
    model = Bent(lambda h: 10 * h)
    with torch.no_grad():
        model.out.weight.mul_(0.01)
    assert fanin.plan(model, X)["out.weight"].action == "keep"


@pytest.mark.parametrize("head", ["unit", "calm"])
def test_outputs_have_the_size_that_the_option_asks_for(head):
    sizes = []
    for function in (lambda h: h, LARGE["a factor"]):
        model = Bent(function)
        fanin.plan(model, X, head=head).apply_(model)
        sizes.append(float(model(X).detach().square().mean().sqrt()))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)
