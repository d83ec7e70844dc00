"""Options and arguments that several commands share: each is spelled once."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

__all__ = [
    "Frozen",
    "InputShape",
    "KeepUnknown",
    "Meta",
    "Override",
    "Quiet",
    "Recipe",
    "RecipeOption",
    "Seed",
    "Stats",
    "TableFormat",
    "TableOrJson",
    "Target",
    "TrialOption",
    "Verbose",
]

TableOrJson = Literal["table", "json"]

Target = Annotated[
    str,
    typer.Argument(
        help="file.py:name or package.module:name. It is a model, or a function that gives one, (model, inputs), "
        "(model, inputs, targets or loss), or a dict of these names. Also timm:resnet50 and hf:config.json."
    ),
]
InputShape = Annotated[
    str | None,
    typer.Option("--input", help="Random input in place of the target's: 8,3,224,224, or 8,16:long<1000 for ids."),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the random numbers.")]
Recipe = Annotated[
    str, typer.Option("--recipe", help="Recipe that chooses the laws; 'fanin explain recipes' lists all.")
]
RecipeOption = Annotated[
    list[str] | None, typer.Option("--option", "-O", help="Option of the recipe, as in head=calm. May be repeated.")
]
Override = Annotated[
    list[str] | None,
    typer.Option(
        "--override",
        help="GLOB=LAW, as in '*.head.weight=zeros' or 'blocks.{0..11}.fc.weight=normal(std=0.02)'; LAW keep leaves "
        "the tensor as it is. May be repeated; the first match wins.",
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print more: each rule that did not run, and why.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdict alone.")]
Stats = Annotated[bool, typer.Option("--stats", help="Print on stderr how long each part took.")]
Meta = Annotated[bool, typer.Option("--meta", help="Build the model on the meta device, which takes no memory.")]
Frozen = Annotated[
    Literal["keep", "draw"],
    typer.Option("--frozen", help="Keep or draw parameters that are frozen or were loaded from a checkpoint."),
]
KeepUnknown = Annotated[
    bool, typer.Option("--keep-unknown", help="Leave parameters as they are that the recipe cannot place.")
]
TrialOption = Annotated[
    bool,
    typer.Option("--trial/--no-trial", help="Measure the plan beside the weights that the model has, on its inputs."),
]
TableFormat = Annotated[TableOrJson, typer.Option("--format", help="How to print.")]
