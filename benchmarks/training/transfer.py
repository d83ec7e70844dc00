"""Learning rates over widths: the default, auto, the recipe mup, auto's laws with muP groups, and the package mup.

    python -m benchmarks.training.transfer               # all lines; benchmarks/results/transfer.json and transfer.md
    python -m benchmarks.training.transfer mlp           # one line

Every start trains every width at every rate of one grid, three seeds, paired batches. The rate that is best for a start
at its smallest width is then what it is judged with at the others. The package mup (Microsoft's) changes the model's
last layer to its MuReadout, draws with its own initializers (the readout zero, as its README advises) and trains with
its MuAdam; it is not needed by fanin and is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmarks.common import RESULTS, header, in_words
from benchmarks.training import race_models as models
from benchmarks.training.race import VOCAB, digit_batches, text_batches, text_loss
from fanin.lab.models import mlp
from fanin.lab.rates import RateSweep, rate_sweep, rate_words
from fanin.lab.transfer import Transfer


@dataclass(frozen=True, kw_only=True)
class Line:
    """One network over widths.

    Attributes:
        build: callable of a width.
        widths: the first is the base.
        batches: callable of a seed.
        rates: exponents of two, rising.
        loss: callable of (output, targets).
    """

    build: Callable[[int], nn.Module]
    widths: tuple[int, ...]
    batches: Callable[[int], Any]
    rates: range
    loss: Callable[[Any, Any], torch.Tensor] = nn.functional.cross_entropy


def build_mlp(width: int) -> nn.Module:
    return mlp([196, width, width, width, 10], activation="gelu")


def build_llama(width: int) -> nn.Module:
    return models.LlamaStyle(VOCAB, width=width, depth=4, heads=width // 16, hidden=11 * width // 4)


def build_vit(width: int) -> nn.Module:
    return models.SmallViT(width=width, depth=4, heads=width // 16)


LINES = {
    "mlp": Line(
        build=build_mlp,
        widths=(64, 256, 1024),
        batches=functools.partial(digit_batches, 14, True, 64),
        rates=range(-12, -3),
    ),
    "llama": Line(
        build=build_llama,
        widths=(32, 64, 128),
        batches=functools.partial(text_batches, 8),
        rates=range(-10, -4),
        loss=text_loss,
    ),
    "vit": Line(
        build=build_vit,
        widths=(32, 64, 128),
        batches=functools.partial(digit_batches, 14, False, 16),
        rates=range(-12, -5),
    ),
}


@dataclass(frozen=True, kw_only=True)
class PackageMup:
    """The package mup as a start: MuReadout in place of the last layer, its own draws, its own Adam's groups."""

    build: Callable[[int], nn.Module]
    base: int

    def grouped(self, model: nn.Module, *, seed: int, inputs: Any, lr: float) -> Any:
        import mup

        shapes = [_with_readout(self.build(width)) for width in (self.base, 2 * self.base)]
        mup.set_base_shapes(_with_readout(model), shapes[0], delta=shapes[1])
        torch.manual_seed(seed)
        for module in model.modules():
            weight = getattr(module, "weight", None)
            if isinstance(module, nn.Linear | nn.Conv2d) and not isinstance(module, mup.MuReadout):
                mup.init.kaiming_normal_(weight, a=1.0)
            if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)
            if getattr(module, "in_proj_weight", None) is not None:
                mup.init.kaiming_normal_(module.in_proj_weight, a=1.0)
        return mup.MuAdam(model.parameters(), impl=lambda groups, **_: list(groups), lr=lr)

    def to_dict(self) -> dict[str, Any]:
        return {"package": "mup", "base": self.base}


def _with_readout(model: nn.Module) -> nn.Module:
    import mup

    name, last = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)][-1]
    readout = mup.MuReadout(last.in_features, last.out_features, bias=last.bias is not None, readout_zero_init=True)
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, readout)
    return model


def starts(line: Line) -> dict[str, Any]:
    base = functools.partial(line.build, line.widths[0])
    width = {"base_width": line.widths[0]}
    found: dict[str, Any] = {
        "default": None,
        "auto": "auto",
        "mup": Transfer(recipe="mup", base=base, options=width),
        "auto + groups": Transfer(base=base),
    }
    if importlib.util.find_spec("mup") is not None:
        found["package mup"] = PackageMup(build=line.build, base=line.widths[0])
    return found


def measured(name: str, steps: int, seeds: int, out: str | None) -> RateSweep:
    line = LINES[name]
    return rate_sweep(
        line.build,
        line.widths,
        line.batches,
        starts=starts(line),
        lrs=[2.0**k for k in line.rates],
        steps=steps,
        seeds=seeds,
        loss=line.loss,
        out=out,
    )


def page(found: dict[str, Any]) -> str:
    lines = [
        "# Learning rates over widths",
        "",
        in_words(found["header"]),
        "",
        f"Adam, {found['steps']} steps, {found['seeds']} seeds, rates a factor 2 apart. The rate that is best at the "
        "smallest width is used at the others. `regret` is what it costs there against the best rate of the grid; an "
        "asterisk marks a best rate at the edge of the grid.",
    ]
    for name, sweep in found["lines"].items():
        lines += ["", f"## {name}", "", "| start | width | best rate | loss | loss at the base rate | regret |"]
        lines.append("| --- | --- | --- | --- | --- | --- |")
        for row in sweep["rows"]:
            loss = "diverged" if row["loss"] is None else f"{row['loss']:.3f}"
            regret = "-" if row["regret"] is None else f"{row['regret']:.3f}"
            edge = "*" if row["at_edge"] else ""
            best = f"{rate_words(row['best_lr'])}{edge}"
            lines.append(f"| {row['start']} | {row['size']} | {best} | {row['best_loss']:.3f} | {loss} | {regret} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", nargs="*", default=list(LINES), help=f"of {', '.join(LINES)}")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", default=None, help="folder that keeps the runs, to go on from")
    asked = parser.parse_args()
    path = RESULTS / "transfer.json"
    found = json.loads(path.read_text()) if path.exists() else {"lines": {}}
    for name in asked.lines:
        sweep = measured(name, asked.steps, asked.seeds, asked.runs and f"{asked.runs}/{name}.jsonl")
        sweep.show()
        slim = {k: v for k, v in sweep.to_dict().items() if k != "runs"}
        found = {**found, "header": header(), "steps": asked.steps, "seeds": asked.seeds}
        found["lines"] = {**found["lines"], name: slim}
        path.write_text(json.dumps(found, indent=1) + "\n")
        (RESULTS / "transfer.md").write_text(page(found))


if __name__ == "__main__":
    main()
