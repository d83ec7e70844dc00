"""Architectures that `auto` was not tuned on, trained from torch's default and from `fanin.init_`, on real digits.

    python -m benchmarks.training.unseen                  # all, results in benchmarks/results/unseen.{json,md}
    python -m benchmarks.training.unseen --steps 50 --seeds 1 --only "sin(3x)"

MNIST digits averaged to 8 x 8, batch 64, Adam, each start at its own best rate of a common grid, mean training loss of
the last 20 steps. Both starts of a seed see the same batches. The first loss is that of the first batch.
"""

from __future__ import annotations

import argparse
import copy
import functools
import itertools
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import fanin
from benchmarks.common import RESULTS, header, in_words
from fanin.errors import FaninError
from fanin.lab import data
from fanin.lab.training import batches

RATES = (1e-3, 3e-3, 1e-2)
WIDTH = 64


class Do(nn.Module):
    """An elementwise function as a module."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def stack(function: Callable[[torch.Tensor], torch.Tensor], depth: int = 3, width: int = WIDTH) -> nn.Module:
    sizes = [64, *[width] * depth]
    layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), Do(function))]
    return nn.Sequential(*layers, nn.Linear(width, 10))


class Pairs(nn.Module):
    """Layers that combine two maps of one input."""

    def __init__(self, combine: Callable[..., torch.Tensor], depth: int = 4) -> None:
        super().__init__()
        self.combine = combine
        self.one = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        self.two = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for one, two in zip(self.one, self.two, strict=True):
            x = self.combine(x, one(x), two(x))
        return self.head(x)


class Hyper(nn.Module):
    """One or two layers whose weights a map makes from the input."""

    def __init__(self, hidden: int = 0) -> None:
        super().__init__()
        self.hidden = hidden
        self.enc, self.make = nn.Linear(64, 32), nn.Linear(32, 74 * hidden if hidden else 640)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.make(torch.relu(self.enc(x)))
        if not self.hidden:
            return torch.bmm(x[:, None], made.view(-1, 64, 10))[:, 0]
        first, last = made.split([64 * self.hidden, 10 * self.hidden], -1)
        h = torch.relu(torch.bmm(x[:, None], first.reshape(-1, 64, self.hidden)))
        return torch.bmm(h, last.reshape(-1, self.hidden, 10))[:, 0]


class Codes(nn.Module):
    """Layers whose weights a network makes from learned codes."""

    def __init__(self, layers: int = 3) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.randn(layers, 16))
        self.make = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, WIDTH * WIDTH))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for code in self.codes:
            x = torch.relu(functional.linear(x, self.make(code).view(WIDTH, WIDTH)))
        return self.head(x)


class LowRank(nn.Module):
    """Layers whose weight is the product of two thin ones."""

    def __init__(self, layers: int = 4, rank: int = 8) -> None:
        super().__init__()
        scale = 1.0 / math.sqrt(WIDTH)
        self.left = nn.ParameterList(nn.Parameter(torch.randn(WIDTH, rank) * scale) for _ in range(layers))
        self.right = nn.ParameterList(nn.Parameter(torch.randn(rank, WIDTH) * scale) for _ in range(layers))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for left, right in zip(self.left, self.right, strict=True):
            x = torch.relu(x @ (left @ right))
        return self.head(x)


class Couplings(nn.Module):
    """Affine couplings x2 exp(s(x1)) + t(x1), then a head."""

    def __init__(self, num: int = 6) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64)) for _ in range(num))
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for net in self.nets:
            a, b = x.chunk(2, -1)
            scale, shift = net(a).chunk(2, -1)
            x = torch.cat([b * torch.exp(scale) + shift, a], -1)
        return self.head(x)


class FiLM(nn.Module):
    """Layers that a condition scales and shifts."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        self.films = nn.ModuleList(nn.Linear(WIDTH, 2 * WIDTH) for _ in range(depth))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        condition = x
        for layer, film in zip(self.maps, self.films, strict=True):
            scale, shift = film(condition).chunk(2, -1)
            x = torch.relu(scale * layer(x) + shift)
        return self.head(x)


class Fourier(nn.Module):
    """Fourier features before layers of sin(3x)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.rest = nn.Linear(64, 48), stack(lambda x: torch.sin(3 * x), 3, 96)
        self.rest[0] = nn.Linear(96, 96)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        return self.rest(torch.cat([h.sin(), h.cos()], -1))


class RBF(nn.Module):
    """Gaussians of the distance to learned centres."""

    def __init__(self) -> None:
        super().__init__()
        self.map, self.centres, self.head = nn.Linear(64, 16), nn.Parameter(torch.randn(48, 16)), nn.Linear(48, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.exp(-torch.cdist(self.map(x), self.centres).square() / 16))


class SetAttention(nn.Module):
    """The 8 rows of a picture as a set, two rounds of attention to learned queries."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.queries = nn.Linear(8, 32), nn.Parameter(torch.randn(4, 32))
        self.kv, self.head = nn.Linear(32, 64), nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        keys, values = self.kv(self.embed(x.view(-1, 8, 8))).chunk(2, -1)
        weights = (self.queries @ keys.transpose(1, 2) / math.sqrt(32)).softmax(-1)
        return self.head((weights @ values).flatten(1))


class Maxout(nn.Module):
    """The larger one of two maps, unit by unit."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(WIDTH, 2 * WIDTH) for _ in range(depth))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.maps:
            x = layer(x).view(-1, WIDTH, 2).amax(-1)
        return self.head(x)


MODELS: Mapping[str, Callable[[], nn.Module]] = {
    "sin(2x), 4 layers": lambda: stack(lambda x: torch.sin(2 * x), 4),
    "sin(3x)": lambda: stack(lambda x: torch.sin(3 * x)),
    "Fourier features, sin(3x)": Fourier,
    "x exp(-x²)": lambda: stack(lambda x: x * torch.exp(-x * x)),
    "tanh(5x)": lambda: stack(lambda x: torch.tanh(5 * x)),
    "erf(4x), 5 layers": lambda: stack(lambda x: torch.erf(4 * x), 5),
    "x / (1 + |x|), 4 layers": lambda: stack(lambda x: x / (1 + x.abs()), 4),
    "guarded x / (1 + x)": lambda: stack(lambda x: torch.where(x > 0, x / (1 + x), 0.05 * x), 4),
    "squared ReLU": lambda: stack(lambda x: torch.relu(x).square(), 3),
    "hypernetwork": Hyper,
    "hypernetwork, two layers": lambda: Hyper(32),
    "weights from codes": Codes,
    "low-rank weights": LowRank,
    "couplings": Couplings,
    "FiLM": FiLM,
    "polynomial": lambda: Pairs(lambda x, a, b: a * b, 3),
    "residual polynomial": lambda: Pairs(lambda x, a, b: x + a * b),
    "highway": lambda: Pairs(lambda x, a, b: a.sigmoid() * b.relu() + (1 - a.sigmoid()) * x),
    "gated tanh": lambda: Pairs(lambda x, a, b: a.sigmoid() * b.tanh()),
    "gated residual": lambda: Pairs(lambda x, a, b: x + a.sigmoid() * b.tanh()),
    "radial basis": RBF,
    "set attention": SetAttention,
    "maxout": Maxout,
    "odd width GELU, 6 layers": lambda: stack(functional.gelu, 6, 63),
}


# ---------------------------------------------------------------------- data and training
@functools.cache
def digits() -> tuple[Any, Any]:
    found = data.mnist_digits()
    pictures = np.pad(found.x.reshape(-1, 28, 28), ((0, 0), (2, 2), (2, 2)))
    small = pictures.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4), dtype=np.float32).reshape(-1, 64)
    return ((small - small.mean()) / small.std()).astype(np.float32), found.y


def built(build: Callable[[], nn.Module], start: str, seed: int, x: Any, y: Any) -> tuple[nn.Module, str]:
    """The model at its start, and what `init_` said of it: "planned", "repaired" or "refused"."""
    torch.manual_seed(seed)
    model = build()
    if start == "default":
        return model, ""
    try:
        plan = fanin.init_(model, x, targets=y, seed=seed, on_unknown="keep")
    except FaninError:
        return model, "refused"
    return model, "repaired" if any("was worse than" in w for w in plan.warnings) else "planned"


def run(begun: nn.Module, rate: float, seed: int, steps: int) -> tuple[float, float]:
    """First loss, and mean loss of the last 20 steps (infinite where it is not finite)."""
    model = copy.deepcopy(begun)
    stream = batches(*digits(), size=64, seed=seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    losses = []
    for inputs, labels in itertools.islice(stream, steps):
        loss = functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    end = statistics.fmean(losses[-20:])
    return losses[0], end if math.isfinite(end) else math.inf


def measured(build: Callable[[], nn.Module], steps: int, seeds: int) -> dict[str, Any]:
    """Both starts of one model, each at its best rate."""
    found: dict[str, Any] = {}
    batch = [next(batches(*digits(), size=64, seed=seed)) for seed in range(seeds)]
    for start in ("default", "init_"):
        begun = [built(build, start, seed, *batch[seed]) for seed in range(seeds)]
        runs = {rate: [run(begun[seed][0], rate, seed, steps) for seed in range(seeds)] for rate in RATES}
        rate = min(runs, key=lambda r: statistics.fmean(end for _, end in runs[r]))
        first, ends = zip(*runs[rate], strict=True)
        found[start] = {"rate": rate, "first": list(first), "losses": list(ends), "said": begun[0][1]}
    return found


# ---------------------------------------------------------------------- table
def verdict(one: Mapping[str, Any]) -> str:
    """Of the paired differences init_ - default: "better", "worse", or "level" within two standard errors."""
    pairs = [b - a for a, b in zip(one["default"]["losses"], one["init_"]["losses"], strict=True)]
    mean, n = statistics.fmean(pairs), len(pairs)
    error = statistics.stdev(pairs) / math.sqrt(n) if n > 1 else 0.0
    return "level" if abs(mean) <= 2.0 * error or abs(mean) < 0.005 else "better" if mean < 0.0 else "worse"


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    rows = ["| network | first loss: default | init_ | trained: default | init_ | rates | plan | verdict |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, one in results.items():
        a, b = one["default"], one["init_"]
        means = [statistics.fmean(v) for v in (a["first"], b["first"], a["losses"], b["losses"])]
        cells = [name, *(f"{m:.3f}" for m in means), f"{a['rate']:g}, {b['rate']:g}", b["said"], verdict(one)]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def summary(results: Mapping[str, Mapping[str, Any]]) -> str:
    verdicts = [verdict(one) for one in results.values()]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in ("better", "level", "worse"))
    rises = [
        max(b - a for a, b in zip(o["default"]["first"], o["init_"]["first"], strict=True)) for o in results.values()
    ]
    over = sum(r > math.log(2.0) for r in rises)
    return f"{len(results)} networks: {counts}. First loss more than ln 2 above the default's on {over}."


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=list(MODELS))
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    made = header()
    results = {}
    for name in options.only or MODELS:
        results[name] = measured(MODELS[name], options.steps, options.seeds)
        print(table({name: results[name]}).splitlines()[-1], flush=True)
    settings = f"{options.steps} steps, {options.seeds} seeds, rates {', '.join(f'{r:g}' for r in RATES)}"
    parts = ("# Networks that no rule was tuned on", f"{in_words(made)} {settings}.", summary(results), table(results))
    words = "\n\n".join(parts) + "\n"
    if options.only is None:
        (RESULTS / "unseen.json").write_text(json.dumps({"header": made, "results": results}, indent=1) + "\n")
        (RESULTS / "unseen.md").write_text(words)
    print(words)


if __name__ == "__main__":
    main()
