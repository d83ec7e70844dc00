"""``fanin check``: measure the first step of a model and report what is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fanin.commands.delivery import ConfigPath, FailOn, FormatOption, Outs, assert_deliverable, deliver
from fanin.commands.options import InputShape, Quiet, Seed, Stats, Target, Verbose
from fanin.commands.places import place_of
from fanin.commands.progress import working
from fanin.commands.stats import shown
from fanin.errors import ArgumentError, TargetError, UnknownNameError, did_you_mean
from fanin.text.names import clean, one_line
from fanin.timing import part

if TYPE_CHECKING:
    import torch

    from fanin.checking.report import Report

__all__ = ["check", "check_target", "load_weights", "named_optimizer"]

OptimizerName = Annotated[
    str | None,
    typer.Option(help="Optimizer that will train the model, as torch.optim names it: adamw, sgd, ... Adds O901."),
]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Its learning rate; torch's default if left out.")]
TryCure = Annotated[
    bool,
    typer.Option("--trial/--no-trial", help="Try fanin.init_ on a copy where a finding recommends another start."),
]
Predict = Annotated[
    bool | None,
    typer.Option(
        "--predict/--no-predict",
        help="Show what theory expects beside what was measured; by default up to 2,000 operations.",
    ),
]


def check(
    target: Target,
    input_shape: InputShape = None,
    weights: Annotated[Path | None, typer.Option(help="A .safetensors file to load into the model first.")] = None,
    select: Annotated[
        list[str] | None, typer.Option(help="Rules to run: codes, prefixes (S2) or names. May be repeated.")
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="Rules not to run. May be repeated.")] = None,
    fail_on: FailOn = None,
    seeds: Annotated[
        int, typer.Option(help="Number of draws to check; a finding shows in how many of them it was found.")
    ] = 1,
    seed: Seed = 0,
    optimizer: OptimizerName = None,
    lr: LearningRate = None,
    trial: TryCure = True,
    predict: Predict = None,
    config: ConfigPath = Path(),
    baseline: Annotated[
        Path | None, typer.Option(help="A report saved as JSON, whose findings are not shown again.")
    ] = None,
    form: FormatOption = None,
    out: Outs = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    stats: Stats = False,
) -> None:
    """Report what is wrong with a model's first step, and the fix.

    One forward and one backward pass are run and measured. Settings are read from [tool.fanin] in pyproject.toml. Exit
    status 1 if anything is found at or above --fail-on.
    """
    assert_deliverable(form, out, verbose=verbose, quiet=quiet)
    with shown(stats):
        found = check_target(
            target,
            input_shape=input_shape,
            weights=weights,
            select=select,
            ignore=ignore,
            fail_on=fail_on,
            seeds=seeds,
            seed=seed,
            optimizer=named_optimizer(optimizer, lr),
            trial=trial,
            predict=predict,
            config=config,
            baseline=baseline,
        )
        with part("report"):
            deliver(found, form, out, verbose=verbose, quiet=quiet)


def named_optimizer(name: str | None, lr: float | None) -> torch.optim.Optimizer | None:
    """The optimizer of torch.optim with this name, in any case, over one number; None where none is named.

    Only its settings are read: how it moves weights, its learning rate and its eps.

    Raises:
        ArgumentError: no optimizer has this name, it refuses the learning rate, or a rate comes without an optimizer.
    """
    if name is None:
        if lr is not None:
            raise ArgumentError(f"--lr {lr:g} needs --optimizer: say which optimizer has this learning rate.")
        return None
    if lr is not None and not math.isfinite(lr):
        raise ArgumentError(f"--lr is a finite number; got {lr:g}")
    import torch

    known = {
        key.lower(): kind
        for key, kind in vars(torch.optim).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
    }
    kind = known.get(name.lower())
    if kind is None:
        raise UnknownNameError(f"torch.optim has no optimizer {name!r}; {did_you_mean(name.lower(), known)}")
    settings: dict[str, Any] = {} if lr is None else {"lr": lr}
    try:
        return kind([torch.nn.Parameter(torch.zeros(1))], **settings)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"--optimizer {name} with --lr {lr}: {error}") from error


def check_target(
    target: str, *, input_shape: str | None = None, weights: Path | None = None, seed: int = 0, **settings: Any
) -> Report:
    """Check what a command-line target gives.

    What the model prints goes to stderr, and reading standard input fails at once.

    Args:
        target: "file.py:callable" or "package.module:callable"; called once per seed.
        input_shape: shape of a random input, where the target gives none.
        weights: a .safetensors file to load into the model first.
        seed: the first seed of the model; the random input has a stream of its own under it, one for all seeds.
        **settings: as `fanin.check` takes them.

    Raises:
        TargetError: the target cannot be loaded, or gives no inputs.
    """
    from fanin.checking.check import check as check_model
    from fanin.commands.targets import load_target, quiet

    def make() -> tuple[Any, ...]:
        loaded = load_target(target, input_shape=input_shape, seed=seed)
        if loaded.inputs is None:
            raise TargetError(
                f"{target!r} gave no inputs; return (model, inputs), or give their shape: --input 8,3,224,224"
            )
        if weights is not None:
            load_weights(loaded.model, weights)
        return tuple(part for part in (loaded.model, loaded.inputs, loaded.targets, loaded.loss) if part is not None)

    with quiet(), working(f"checking {target}"):
        return _placed(check_model(make, target=target, seed=seed, **settings), target)


def _placed(report: Report, target: str) -> Report:
    """The report with the line that builds the model, where no class of the user's is around what it finds."""
    from fanin.checking.report import Report as Found

    place, header = place_of(target), report.result.header
    if place is None or "" in header.source_lines:
        return report
    return Found(replace(report.result, header=replace(header, source_lines={"": place, **header.source_lines})))


def load_weights(model: Any, path: Path) -> None:
    """Load a .safetensors file into a model.

    Raises:
        TargetError: another ending, or weights that do not fit.
    """
    if path.suffix != ".safetensors":
        raise TargetError(f"weights are read from .safetensors only (never unpickled); got {str(path)!r}")
    if not path.is_file():
        raise TargetError(f"there is no file '{clean(path)}' of weights (looked from '{clean(Path.cwd())}')")
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_model

    try:
        with safe_open(path, framework="pt") as file:
            held = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        _assert_shapes(model, held, path)
        missing, unexpected = load_model(model, path, strict=False)  # a file holds tied tensors once
    except (OSError, SafetensorError, RuntimeError) as error:
        raise TargetError(f"'{clean(path)}' cannot be loaded into the model: {one_line(error)}") from error
    if missing or unexpected:
        raise TargetError(f"'{clean(path)}' is of another model: {_lost(missing, unexpected)}")


def _assert_shapes(model: Any, held: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Check that every tensor of a file has the shape that it has in the model."""
    for name, tensor in model.state_dict().items():
        has = tuple(getattr(tensor, "shape", ()))
        if held.get(name, has) != has:
            raise TargetError(
                f"'{clean(path)}' is of another model: {clean(name)} has the shape {held[name]} there, and {has} in "
                "the model"
            )


def _lost(missing: Iterable[str], unexpected: Iterable[str]) -> str:
    """Names that only the model has, and that only the file has, a few of each."""
    sides = (("it lacks", sorted(missing)), ("the model lacks", sorted(unexpected)))
    return "; ".join(f"{how} {', '.join(map(clean, n[:4]))}{', ...' if len(n) > 4 else ''}" for how, n in sides if n)
