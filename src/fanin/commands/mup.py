"""``fanin mup``: check that one learning rate moves every width alike, and sweep rates over widths."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fanin.commands.options import InputShape, TableFormat
from fanin.errors import TargetError

__all__ = ["mup"]

mup: typer.Typer = typer.Typer(
    name="mup",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Check or sweep learning rates over widths.",
)

Build = Annotated[
    str,
    typer.Argument(
        help="file.py:build or package.module:build; a callable of a width that returns a model, or (model, inputs, "
        "targets or loss), or a mapping with these names."
    ),
]
Widths = Annotated[str, typer.Option("--widths", help="Widths, as in 64,128,256.")]
Optimizer = Annotated[str, typer.Option("--optimizer", help="adamw, adam, sgd (plain) or muon.")]
Seeds = Annotated[int, typer.Option("--seeds", help="Models of each width.")]
Base = Annotated[int | None, typer.Option("--base", help="Width at which the rates hold; the smallest by default.")]
Outputs = Annotated[
    list[Path] | None,
    typer.Option("--save", help="File for the result: .json, .png, .svg, .pdf (check: .html too). May be repeated."),
]


@dataclass(frozen=True)
class _Built:
    """What a build function gives: the model of a width, and what it is trained on."""

    target: str
    function: Callable[[int], Any]

    def parts(self, width: int) -> dict[str, Any]:
        """Model, inputs, targets and loss of one width."""
        from fanin.commands.targets import called_with

        return called_with(self.target, self.function, width)

    def model(self, width: int) -> Any:
        """The model alone."""
        return self.parts(width)["model"]


def _built(target: str, width: int, input_shape: str | None) -> tuple[_Built, dict[str, Any]]:
    from fanin.commands.targets import load_object, parse_input

    found = load_object(target)
    if not callable(found):
        raise TargetError(f"{target!r} is a {type(found).__name__}; name a callable that takes a width")
    built = _Built(target, found)
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = built.parts(width)
    if input_shape is not None:
        parts["inputs"] = parse_input(input_shape)
    if parts.get("inputs") is None:
        raise TargetError(f"{target!r} gives no inputs; return (model, inputs, targets), or give --input 32,784")
    return built, parts


def _widths(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(n) for n in text.split(","))
    except ValueError:
        found = ()
    if len(set(found)) < 2 or min(found, default=0) < 1:
        raise TargetError(f"--widths is two or more whole numbers, as in 64,128,256; got {text!r}")
    return found


@mup.command()
def check(
    build: Build,
    widths: Widths = "64,128,256,512",
    optimizer: Optimizer = "adamw",
    lr: Annotated[float, typer.Option("--lr", help="Learning rate at the base width.")] = 1e-3,
    steps: Annotated[int, typer.Option("--steps", help="Updates.")] = 4,
    seeds: Seeds = 2,
    start: Annotated[str, typer.Option("--start", help="Recipe for the weights; none leaves them as built.")] = "auto",
    groups: Annotated[bool, typer.Option("--groups/--no-groups", help="Train with fanin.param_groups.")] = True,
    objective: Annotated[
        Literal["loss", "direction"],
        typer.Option("--objective", help="Train the loss, or one fixed direction of the output."),
    ] = "loss",
    base: Base = None,
    input_shape: InputShape = None,
    save: Outputs = None,
    form: TableFormat = "table",
) -> None:
    """Check that one rate moves every width alike.

    It measures how far the output of every map moves; the exit status is 1 where that depends on the width.
    """
    from fanin.scaling.coordinates import coordinate_check
    from fanin.text.files import assert_place

    for path in save or ():
        assert_place(path)
    sizes = _widths(widths)
    built, parts = _built(build, min(sizes), input_shape)
    with _target_output():
        result = coordinate_check(
            built.model,
            sizes,
            parts["inputs"],
            parts.get("targets") if objective == "loss" else None,
            loss=parts.get("loss") if objective == "loss" else None,
            optimizer=optimizer,
            lr=lr,
            steps=steps,
            seeds=seeds,
            recipe=None if start == "none" else start,
            groups=groups and start != "none",
            base=base,
        )
    if form == "json":
        typer.echo(json.dumps(result.to_dict(), allow_nan=False))
    else:
        result.show()
    for path in save or ():
        result.save(path)
    raise typer.Exit(0 if result.ok else 1)


@mup.command()
def sweep(
    build: Build,
    widths: Widths = "64,128,256",
    rates: Annotated[
        str, typer.Option("--rates", help="Grid of learning rates: 2^-12..2^-5 by factors of 2, or 0.001,0.003,0.01.")
    ] = "2^-12..2^-5",
    optimizer: Annotated[str, typer.Option("--optimizer", help="adamw, adam, sgd (momentum 0.9) or muon.")] = "adam",
    steps: Annotated[int, typer.Option("--steps", help="Updates of each run.")] = 100,
    seeds: Seeds = 1,
    starts: Annotated[
        str,
        typer.Option(
            "--starts", help="Of none (as built), auto, mup (both with one rate for all), auto+groups and mup+groups."
        ),
    ] = "none,auto+groups",
    batch_size: Annotated[int, typer.Option("--batch-size", help="Rows of each batch.")] = 64,
    base: Base = None,
    input_shape: InputShape = None,
    out: Annotated[Path | None, typer.Option("--out", help="File that keeps the runs; a killed sweep goes on.")] = None,
    workers: Annotated[int, typer.Option("--workers", help="Trainings at the same time.")] = 1,
    save: Outputs = None,
    form: TableFormat = "table",
) -> None:
    """Find the best rate of every width.

    Every width is trained at every rate; the table says what the best rate of the smallest width costs at the others.
    """
    from fanin.lab.rates import rate_sweep
    from fanin.text.files import assert_place

    for path in save or ():
        assert_place(path)
    sizes, grid = _widths(widths), _rates(rates)
    built, parts = _built(build, min(sizes), input_shape)
    with _target_output():
        result = rate_sweep(
            built.model,
            sizes,
            _data(build, parts, batch_size),
            starts=_starts(starts, built, base or min(sizes), optimizer),
            lrs=grid,
            steps=steps,
            seeds=seeds,
            loss=_loss(parts),
            optimizer=optimizer,
            batch_size=batch_size,
            out=out,
            on="joblib" if workers > 1 else "process",
            workers=workers,
            progress=form == "table",
        )
    if form == "json":
        typer.echo(json.dumps(result.to_dict(), allow_nan=False))
    else:
        result.show()
    for path in save or ():
        result.save(path)


@contextlib.contextmanager
def _target_output() -> Iterator[None]:
    """What the target prints while it builds models goes to stderr."""
    from fanin.commands.targets import quiet

    with quiet():
        yield


def _rates(text: str) -> tuple[float, ...]:
    try:
        first, dots, last = text.partition("..")
        if dots:
            low, high = (math.log2(_rate(part)) for part in (first, last))
            found = tuple(2.0 ** (low + i) for i in range(round(high - low) + 1))
        else:
            found = tuple(_rate(part) for part in text.split(","))
    except (ValueError, OverflowError):
        found = ()
    if len(set(found)) < 2 or not all(0.0 < rate < math.inf for rate in found):
        raise TargetError(f"--rates is a grid such as 2^-12..2^-5 or 0.001,0.003,0.01 (rates > 0); got {text!r}")
    return found


def _rate(text: str) -> float:
    power = text.strip().split("^")
    return float(power[0]) ** float(power[1]) if len(power) == 2 else float(text)


def _starts(text: str, built: _Built, base: int, optimizer: str) -> dict[str, Any]:
    import functools

    from fanin.errors import UnknownNameError, did_you_mean
    from fanin.lab.transfer import Transfer

    make = functools.partial(built.model, base)
    kind = optimizer if optimizer != "plain_sgd" else "sgd"

    def grouped(recipe: str, **options: Any) -> Transfer:
        return Transfer(recipe=recipe, base=make, optimizer=kind, options=options)

    known: dict[str, Callable[[], Any]] = {
        "none": lambda: None,
        "auto": lambda: "auto",
        "mup": lambda: "mup",
        "auto+groups": lambda: grouped("auto"),
        "mup+groups": lambda: grouped("mup"),
    }
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise UnknownNameError(f"there is no start {name!r}; {did_you_mean(name, known)}")
    return {name: known[name]() for name in names}


def _data(target: str, parts: dict[str, Any], batch_size: int) -> Any:
    """Shuffled rows of a pair of tensors; other inputs are the same batch at every step."""
    import torch

    inputs, targets = parts["inputs"], parts.get("targets")
    if isinstance(inputs, torch.Tensor) and isinstance(targets, torch.Tensor) and len(inputs) == len(targets):
        if len(inputs) > batch_size:
            return inputs, targets
    elif targets is None and parts.get("loss") is None:
        raise TargetError(f"{target!r} gives nothing to learn; return (model, inputs, targets or loss)")
    return lambda seed: _again(inputs, targets)


def _again(inputs: Any, targets: Any) -> Iterator[tuple[Any, Any]]:
    while True:
        yield inputs, targets


def _loss(parts: dict[str, Any]) -> Callable[[Any, Any], Any]:
    """The loss of an output against its targets, as a check takes it."""
    from fanin.measure.objective import objective

    given = parts.get("loss")

    def loss(output: Any, targets: Any) -> Any:
        return objective(output, targets=targets, loss=given).value

    return loss
