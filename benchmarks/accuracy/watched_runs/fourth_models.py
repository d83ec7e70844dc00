"""Loops of the fourth set: learning from rewards, pairs of networks, noise that is taken away, padded text."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Adam

from benchmarks.accuracy.watched_runs.loop import Training, rows
from benchmarks.accuracy.watched_runs.models import mlp

__all__ = [
    "ActorCritic",
    "Online",
    "Padded",
    "actor_critic",
    "critic_pair",
    "denoised",
    "own_targets",
    "policy",
    "q_learning",
    "sharpness_aware",
    "with_closure",
]


class ActorCritic(nn.Module):
    """One trunk, a policy over ten actions and a value."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(64, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.policy, self.value = nn.Linear(width, 10), nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = self.trunk(x)
        return self.policy(h), self.value(h)[:, 0]


class Padded(nn.Module):
    """An encoder of characters that leaves out padding, and a class for each text."""

    def __init__(self, vocabulary: int, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary + 1, width, padding_idx=0)
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.1, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        absent = x == 0
        h = self.body(self.table(x), src_key_padding_mask=absent)
        return self.head(h.masked_fill(absent[..., None], 0.0).sum(1) / (~absent).sum(1, keepdim=True))


class Online(nn.Module):
    """A network that learns the outputs of its own slow average."""

    def __init__(self) -> None:
        super().__init__()
        self.student, self.guess = mlp(2, outputs=16, norm=nn.BatchNorm1d), mlp(1, 32, inputs=16, outputs=16)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2)
        with torch.no_grad():
            aim = self.teacher(b)
        return -functional.cosine_similarity(self.guess(self.student(a)), aim, dim=-1).mean()

    def follow(self, rate: float = 0.05) -> None:
        """Move the average."""
        with torch.no_grad():
            for slow, fast in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                slow.lerp_(fast, rate)


def _loop(model: nn.Module, optimizer: Any, losses: Callable[[int], torch.Tensor], **more: Any) -> Training:
    after: Callable[[], Any] = more.pop("after", lambda: None)

    def body(n: int) -> torch.Tensor:
        value = losses(n)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        after()
        return value.detach()

    return Training(model=model, optimizers=optimizer, body=body, **more)


def policy(kind: Callable[..., Any], rate: float, *, clipped: bool) -> Training:
    """Names of digits as actions, a reward for the right one: REINFORCE, or PPO's clipped ratio of four passes."""
    model, batch = mlp(2, 64, nn.Tanh), rows(size=128)
    optimizer, memory = kind(model.parameters(), rate), {}

    def losses(n: int) -> torch.Tensor:
        if n % 4 == 0 or not clipped:
            x, y = batch(n)
            with torch.no_grad():
                logs = model(x).log_softmax(-1)
            actions = torch.multinomial(logs.exp(), 1)
            reward = (actions[:, 0] == y).float()
            memory.update(x=x, a=actions, old=logs.gather(1, actions)[:, 0])
            memory["gain"] = (reward - reward.mean()) / (reward.std() + 1e-6)
        now = model(memory["x"]).log_softmax(-1).gather(1, memory["a"])[:, 0]
        if not clipped:
            return -(now * memory["gain"]).mean()
        ratio = (now - memory["old"]).exp()
        return -torch.minimum(ratio * memory["gain"], ratio.clamp(0.8, 1.2) * memory["gain"]).mean()

    return _loop(model, optimizer, losses)


def actor_critic(kind: Callable[..., Any], rate: float) -> Training:
    """The advantage over a learned value, and an entropy bonus."""
    model, batch = ActorCritic(), rows(size=128)

    def losses(n: int) -> torch.Tensor:
        x, y = batch(n)
        logits, value = model(x)
        chosen = torch.distributions.Categorical(logits=logits)
        actions = chosen.sample()
        reward = (actions == y).float()
        lead = (reward - value).detach()
        return (
            -(chosen.log_prob(actions) * lead).mean()
            + 0.5 * (value - reward).square().mean()
            - (0.01 * chosen.entropy().mean())
        )

    return _loop(model, kind(model.parameters(), rate), losses)


def q_learning(kind: Callable[..., Any], rate: float, every: int = 10) -> Training:
    """Values of actions by a copy of the network that is renewed now and then."""
    model, batch = mlp(2, 64), rows(size=128)
    target, state = copy.deepcopy(model), {"n": 0}

    def losses(n: int) -> torch.Tensor:
        (x, y), (after, _) = batch(n), batch(n + 1)
        actions = torch.randint(10, (len(x),))
        with torch.no_grad():
            aim = (actions == y).float() + 0.5 * target(after).amax(-1)
        return functional.smooth_l1_loss(model(x).gather(1, actions[:, None])[:, 0], aim)

    def after() -> None:
        state["n"] += 1
        if state["n"] % every == 0:
            target.load_state_dict(model.state_dict())

    return _loop(model, kind(model.parameters(), rate), losses, after=after)


def own_targets(rate: float, *, wrong: bool = False) -> Training:
    """The slow average as a teacher; `wrong` gives the optimizer the teacher in place of the student."""
    model, batch = Online(), rows(size=64)

    def losses(n: int) -> torch.Tensor:
        x, _ = batch(n)
        noise = torch.randn(2 * len(x), 64, generator=torch.Generator().manual_seed(n))
        return model(torch.cat([x, x]) + 0.2 * noise)

    learns = model.teacher.parameters() if wrong else (p for p in model.parameters() if p.requires_grad)
    return _loop(model, Adam(learns, rate), losses, after=model.follow)


def denoised(kind: Callable[..., Any], rate: float, schedule: Any = None, warmup: int = 0) -> Training:
    """A network that tells the noise in a digit from its level, as diffusion models do."""
    model, batch = mlp(3, 128, nn.SiLU, inputs=65, outputs=64), rows(size=128)
    optimizer = kind(model.parameters(), rate)
    plan = schedule(optimizer) if schedule is not None else None

    def losses(n: int) -> torch.Tensor:
        x, _ = batch(n)
        level, noise = torch.rand(len(x), 1), torch.randn_like(x)
        mixed = (1 - level).sqrt() * (2 * x - 1) + level.sqrt() * noise
        return functional.mse_loss(model(torch.cat([mixed, level], 1)), noise)

    return _loop(model, optimizer, losses, after=plan.step if plan is not None else lambda: None, warmup=warmup)


def critic_pair(slow: float, fast: float) -> Training:
    """Wasserstein pair with a gradient penalty: the judge steps three times for each step of the maker."""
    maker, judge = mlp(2, 64, inputs=16, outputs=64), mlp(2, 64, nn.LeakyReLU, outputs=1)
    model = nn.ModuleList([maker, judge])
    first, second = Adam(judge.parameters(), fast, betas=(0.5, 0.9)), Adam(maker.parameters(), slow, betas=(0.5, 0.9))
    batch = rows()

    def penalty(x: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        between = torch.lerp(x, made, torch.rand(len(x), 1)).requires_grad_()
        (slope,) = torch.autograd.grad(judge(between).sum(), between, create_graph=True)
        return (slope.norm(dim=1) - 1).square().mean()

    def body(n: int) -> torch.Tensor:
        x, _ = batch(n)
        made = maker(torch.randn(len(x), 16))
        first.zero_grad()
        loss = judge(made.detach()).mean() - judge(x).mean() + 10 * penalty(x, made.detach())
        loss.backward()
        first.step()
        if n % 3 == 2:
            second.zero_grad()
            (-judge(made).mean()).backward()
            second.step()
        return loss.detach()

    return Training(model=model, optimizers=[first, second], body=body)


def sharpness_aware(model: nn.Module, optimizer: Any, batch: Any, radius: float = 0.05) -> Training:
    """The gradient is taken a small way uphill; the weights come back before the step."""

    def body(n: int) -> torch.Tensor:
        x, y = batch(n)
        value = functional.cross_entropy(model(x), y)
        value.backward()
        weights = [p for p in model.parameters() if p.grad is not None]
        with torch.no_grad():
            size = torch.stack([p.grad.norm() for p in weights]).norm()
            moves = [p.grad * radius / (size + 1e-12) for p in weights]
            for p, move in zip(weights, moves, strict=True):
                p.add_(move)
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        with torch.no_grad():
            for p, move in zip(weights, moves, strict=True):
                p.sub_(move)
        optimizer.step()
        optimizer.zero_grad()
        return value.detach()

    return Training(model=model, optimizers=optimizer, body=body)


def with_closure(model: nn.Module, optimizer: Any, batch: Any) -> Training:
    """An optimizer that asks for the loss several times in a step."""

    def body(n: int) -> torch.Tensor:
        x, y = batch(0)

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            value = functional.cross_entropy(model(x), y)
            value.backward()
            return value

        return optimizer.step(closure).detach()

    return Training(model=model, optimizers=optimizer, body=body)
