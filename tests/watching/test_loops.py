"""Training loops of many kinds: each ends with the bits of the unwatched one, without a crash and without a hook."""

from __future__ import annotations

import copy
import io
import pickle
import threading
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import fanin
from tests.selection import few

STEPS = 12
X, Y = torch.randn(32, 16, generator=torch.Generator().manual_seed(1)), torch.arange(32) % 4


def net():
    return nn.Sequential(nn.Linear(16, 24), nn.ReLU(inplace=True), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 4))


def adam(model):
    return torch.optim.Adam(model.parameters(), 1e-2)


def loss_of(model, x=X, y=Y):
    return functional.cross_entropy(model(x).float(), y)


def tell(watched, loss=None):
    if watched is not None:
        watched.step(loss=loss)


class Loop:
    """One loop; `train` is called with the watch, or with None."""

    def make(self):
        return net()

    def optimizers(self, model):
        return adam(model)

    def train(self, model, optimizer, watched):
        for n in range(STEPS):
            optimizer.zero_grad()
            loss = self.loss(model, n)
            loss.backward()
            self.step(model, optimizer, n)
            tell(watched, self.told(loss))

    def loss(self, model, n):
        return loss_of(model)

    def step(self, model, optimizer, n):
        optimizer.step()

    def told(self, loss):
        return loss


class Plain(Loop):
    pass


class Closures(Loop):
    def optimizers(self, model):
        return torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)

    def train(self, model, optimizer, watched):
        def closure():
            optimizer.zero_grad()
            loss = loss_of(model)
            loss.backward()
            return loss

        for _ in range(STEPS):
            tell(watched, optimizer.step(closure))


class Accumulated(Loop):
    def loss(self, model, n):
        for part in range(3):
            (loss_of(model, X[part::4], Y[part::4]) / 4).backward()
        return loss_of(model, X[3::4], Y[3::4]) / 4


class CalledTwice(Loop):
    def loss(self, model, n):
        return loss_of(model) + functional.mse_loss(model(X + 0.1), model(X))


class EvaluatedBetween(Loop):
    def step(self, model, optimizer, n):
        optimizer.step()
        model.eval()
        with torch.inference_mode() if n % 2 else torch.no_grad():
            model(X)
        model.train()


class Parallel(Loop):
    def make(self):
        return nn.DataParallel(net())


class GrowingOptimizer(Loop):
    def optimizers(self, model):
        return torch.optim.SGD(model[:3].parameters(), 0.1, momentum=0.9)

    def step(self, model, optimizer, n):
        optimizer.step()
        if n == 3:
            optimizer.add_param_group({"params": model[4].parameters(), "lr": 0.01})


class GrowingModel(Loop):
    def step(self, model, optimizer, n):
        optimizer.step()
        if n == 3:
            torch.manual_seed(5)
            model.append(nn.Linear(4, 4))
            optimizer.add_param_group({"params": model[-1].parameters()})


class ShrinkingModel(Loop):
    def step(self, model, optimizer, n):
        optimizer.step()
        if n == 3:
            del model[2:4]


class SwappedOptimizer(Loop):
    def train(self, model, optimizer, watched):
        super().train(model, optimizer, watched)
        super().train(model, torch.optim.SGD(model.parameters(), 0.1), watched)


class StepThatFails(Loop):
    def step(self, model, optimizer, n):
        if n % 3 == 1:
            model[0].weight.grad = None
            handle = optimizer.register_step_pre_hook(_fails)
            with pytest.raises(ValueError, match="not now"):
                optimizer.step()
            handle.remove()
        else:
            optimizer.step()


def _fails(*_):
    raise ValueError("not now")


class ForwardThatFails(Loop):
    def loss(self, model, n):
        if n % 3 == 1:
            with pytest.raises(RuntimeError, match="shapes"):
                model(X[:, :3])
        return loss_of(model)


class Nested(Loop):
    def train(self, model, optimizer, watched):
        if watched is None:
            return super().train(model, optimizer, None)
        with fanin.watch(model, optimizer, steps=4) as inner:
            super().train(model, optimizer, watched)
        assert len(inner.watched.steps) == 4
        return None


class Told(Loop):
    def __init__(self, how):
        self.told = how


class OfType(Loop):
    def __init__(self, dtype):
        self.dtype = dtype

    def make(self):
        return net().to(self.dtype)

    def loss(self, model, n):
        return loss_of(model, X.to(self.dtype))


class ChangesType(Loop):
    def optimizers(self, model):
        return torch.optim.SGD(model.parameters(), 0.1)

    def loss(self, model, n):
        if n == 5:
            model.double()
        return loss_of(model, X.to(model[0].weight.dtype))


class Tied(Loop):
    def make(self):
        model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.Linear(16, 4))
        model[2].weight = model[0].weight
        return model


class AllFrozen(Loop):
    def make(self):
        return net().requires_grad_(False)

    def loss(self, model, n):
        return loss_of(model) + torch.zeros((), requires_grad=True)


class Empty(Loop):
    def make(self):
        return nn.Identity()

    def optimizers(self, model):
        return torch.optim.SGD([nn.Parameter(torch.ones(3))], 0.1)

    def loss(self, model, n):
        return (model(X).sum() * torch.ones((), requires_grad=True)) / 100


class VectorsOnly(Loop):
    def optimizers(self, model):
        return torch.optim.SGD([p for p in model.parameters() if p.dim() == 1], 0.1)


class Threads(Loop):
    def loss(self, model, n):
        found = []
        thread = threading.Thread(target=lambda: found.append(loss_of(model)))
        thread.start()
        thread.join()
        return found[0]


class InAThread(Loop):
    def train(self, model, optimizer, watched):
        thread = threading.Thread(target=lambda: Loop.train(self, model, optimizer, watched))
        thread.start()
        thread.join()


class OwnGradients(Loop):
    """Gradients are computed and written by the loop, over those of the step before."""

    def train(self, model, optimizer, watched):
        for _ in range(STEPS):
            loss = loss_of(model)
            found = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
            for p, g in zip(model.parameters(), found, strict=True):
                p.grad = g.detach()
            optimizer.step()
            tell(watched, loss)


class Functional(Loop):
    def loss(self, model, n):
        own = dict(model.named_parameters())
        one = torch.func.functional_call(model, own, (X,))
        each = torch.func.vmap(lambda x: torch.func.functional_call(model, own, (x,)))(X)
        return functional.cross_entropy(one, Y) + (one - each).square().mean()


class Checkpointed(Loop):
    def loss(self, model, n):
        return functional.cross_entropy(checkpoint(model, X.clone().requires_grad_(), use_reentrant=n % 2 == 0), Y)


class NewMemory(Loop):
    def step(self, model, optimizer, n):
        optimizer.step()
        for p in model.parameters():
            p.data = p.data.clone()


class NewParameters(Loop):
    """The optimizer goes on with parameters that the model no longer has."""

    def step(self, model, optimizer, n):
        optimizer.step()
        if n == 3:
            model[2] = copy.deepcopy(model[2])


class SparseRows(Loop):
    def make(self):
        return nn.Sequential(nn.Embedding(50, 16, sparse=True), nn.Flatten(), nn.Linear(64, 4))

    def optimizers(self, model):
        return torch.optim.SGD(model.parameters(), 0.1)

    def loss(self, model, n):
        return functional.cross_entropy(model(torch.arange(128).view(32, 4) % 50), Y)


class Scaled(Loop):
    def optimizers(self, model):
        self.scaler = torch.amp.GradScaler("cpu")
        return adam(model)

    def train(self, model, optimizer, watched):
        for n in range(STEPS):
            optimizer.zero_grad()
            loss = loss_of(model) * (float("inf") if n in (0, 4) else 1.0)
            self.scaler.scale(loss).backward()
            self.scaler.step(optimizer)
            self.scaler.update()
            tell(watched, loss)


class Pictures(Loop):
    def make(self):
        return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 2), nn.Flatten(), nn.Linear(8, 4)).to(
            memory_format=torch.channels_last
        )

    def loss(self, model, n):
        return functional.cross_entropy(model(X.view(32, 1, 4, 4).contiguous(memory_format=torch.channels_last)), Y)


class Unbatched(Loop):
    def make(self):
        return nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(0), nn.Linear(56, 4))

    def loss(self, model, n):
        return functional.cross_entropy(model(X[:1]), Y[0])


class OwnOptimizer(Loop):
    class Sign(torch.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"lr": None})

        def step(self, closure=None):
            with torch.no_grad():
                for p in self.param_groups[0]["params"]:
                    p.sub_(0.01 * p.grad.sign())

    def optimizers(self, model):
        return self.Sign(model.parameters())


class Everything(Loop):
    """Outputs of any kind, weights of complex numbers, inputs by keyword."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(16, 8), nn.Linear(8, 4)
            self.turn = nn.Parameter(torch.ones(8, 8, dtype=torch.complex64))

        def forward(self, *, x, **_):
            turned = (self.one(x).to(torch.complex64) @ self.turn).abs()
            return {"logits": self.two(turned), "loss": None, "extra": (x, [None])}

    def make(self):
        return self.Net()

    def loss(self, model, n):
        return functional.cross_entropy(model(x=X, y=None)["logits"], Y)


LOOPS = {kind.__name__: kind() for kind in Loop.__subclasses__() if kind not in (Told, OfType)}
LOOPS |= {f"OfType {d}": OfType(d) for d in (torch.bfloat16, torch.float64)}
LOOPS |= {
    "Told nothing": Told(lambda loss: None),
    "Told float": Told(lambda loss: loss.item()),
    "Told numpy": Told(lambda loss: np.float32(loss.item())),
    "Told array": Told(lambda loss: loss.detach().numpy()),
    "Told many": Told(lambda loss: torch.stack([loss, loss])),
    "Told whole number": Told(lambda loss: 3),
    "Told NaN": Told(lambda loss: float("nan")),
}


def hooks(model, optimizer):
    tables = [t for m in model.modules() for t in (m._forward_pre_hooks, m._forward_hooks, m._backward_hooks)]
    tables += [p._backward_hooks or {} for p in model.parameters()]
    tables += [p._post_accumulate_grad_hooks or {} for p in model.parameters()]
    tables += [optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks]
    return Counter(type(hook).__name__ for table in tables for hook in table.values())


def ended(loop, watch):
    torch.manual_seed(0)
    model = loop.make()
    optimizer = loop.optimizers(model)
    every = list(model.parameters())
    if watch:
        with fanin.watch(model, optimizer) as watched:
            loop.train(model, optimizer, watched)
            assert str(watched.report)
    else:
        watched = None
        loop.train(model, optimizer, None)
    return model, optimizer, [p.detach().clone() for p in (*every, *model.parameters())], watched


@pytest.mark.parametrize("name", few(sorted(LOOPS), every=3))
def test_a_loop_of_any_kind_ends_with_the_same_bits(name):
    bare = ended(LOOPS[name], watch=False)[2]
    model, optimizer, weights, watched = ended(LOOPS[name], watch=True)
    assert len(bare) == len(weights)
    assert all(torch.equal(a, b) for a, b in zip(bare, weights, strict=True))
    assert not hooks(model, optimizer)
    assert [s.step for s in watched.watched.steps][:3] == [1, 2, 3]


def test_a_copy_of_a_watched_model_has_no_hook_of_it():
    torch.manual_seed(0)
    model = net()
    optimizer = adam(model)
    with fanin.watch(model, optimizer) as watched:
        before = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
        Loop().train(model, optimizer, None)
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        copies = [*before, copy.deepcopy(model), torch.load(file, weights_only=False)]
        seen = len(watched.watched.steps)
        for one in copies:
            other = adam(one)
            Loop().train(one, other, None)
            assert not hooks(one, other)
        assert len(watched.watched.steps) == seen
        copy.deepcopy(optimizer).step()
        assert len(watched.watched.steps) == seen


@pytest.mark.parametrize("loss", ["a word", object(), torch.tensor([]), [1.0]])
def test_a_loss_that_is_no_number_is_refused_and_named(loss):
    model = net()
    optimizer = adam(model)
    with fanin.watch(model, optimizer, check=False) as watched:
        Loop().train(model, optimizer, None)
        with pytest.raises(fanin.errors.ArgumentError, match="loss"):
            watched.step(loss=loss)


def test_the_second_of_two_optimizers_is_measured_around_its_own_steps():
    torch.manual_seed(0)
    model = net()
    one, two = torch.optim.SGD(model[:3].parameters(), 0.1), torch.optim.SGD(model[4].parameters(), 0.1)
    with fanin.watch(model, [one, two], check=False) as watched:
        for _ in range(5):
            loss = loss_of(model)
            model.zero_grad()
            loss.backward()
            one.step()
            two.step()
            watched.step(loss=loss)
    last = watched.watched.steps[-1]
    assert watched.watched.weights == ("0.weight", "2.weight", "4.weight")
    assert all(u > 0 for u in last.updates)
    assert max(last.outside) == 0.0


def test_weights_that_only_a_copy_of_the_optimizer_moves_are_no_still_ones():
    """Half-precision training keeps a copy of the weights in float32, which the optimizer holds."""
    torch.manual_seed(0)
    model = net()
    master = [nn.Parameter(p.detach().clone()) for p in model.parameters()]
    optimizer = torch.optim.SGD(master, 0.1)
    with fanin.watch(model, optimizer) as watched:
        for _ in range(STEPS):
            model.zero_grad()
            loss_of(model).backward()
            for m, p in zip(master, model.parameters(), strict=True):
                m.grad = p.grad
            optimizer.step()
            with torch.no_grad():
                for m, p in zip(master, model.parameters(), strict=True):
                    p.copy_(m)
            watched.step()
    assert watched.watched.foreign
    assert not {"W902", "W909"} & {f.code for f in (*watched.report.findings, *watched.report.consequences)}
