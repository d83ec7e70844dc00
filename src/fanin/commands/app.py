"""The command line: a thin layer over the public API.

Results go to stdout, progress and errors to stderr. Exit status: 0 clean, 1 findings, 2 usage or internal error.
Commands import what they need when they run, so that ``fanin --help`` stays quick.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Annotated, Literal

import typer

from fanin._version import __version__
from fanin.errors import FaninError
from fanin.text.names import clean

__all__ = ["app", "main"]

app = typer.Typer(
    name="fanin",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Plan, apply and prove the initial weights of any neural network.",
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"fanin {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version and stop.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the figure and the page.")] = Path("demo-out"),
) -> None:
    """Show the main job on real digits: three scales, then check, plan, apply and check again."""
    from fanin.commands.demo import run_demo

    run_demo(out)


@app.command()
def lab(
    name: Annotated[str, typer.Argument(help="Experiment; 'list' names them all.")] = "list",
    out: Annotated[Path, typer.Option(help="Folder for NAME.png and NAME.json.")] = Path("lab-out"),
    full: Annotated[bool, typer.Option("--full", help="The larger version; may take long.")] = False,
    seed: Annotated[int, typer.Option(help="Of first weights and batches.")] = 0,
    workers: Annotated[int, typer.Option(help="Trainings at a time.")] = 2,
) -> None:
    """Run an experiment that people learn from: a figure, its numbers, and a paragraph that says what is seen."""
    from fanin.commands.lab import list_experiments, run_experiment

    if name == "list":
        list_experiments()
    else:
        run_experiment(name, out=out, full=full, seed=seed, workers=workers)


@app.command()
def gain(
    phi: Annotated[
        list[str], typer.Argument(help="Names (gelu, 'leaky_relu(0.2)'), module:function, or file.py:function.")
    ],
    q: Annotated[float, typer.Option(help="Variance of the pre-activation.")] = 1.0,
    output: Annotated[Literal["table", "json"], typer.Option("--format", help="How to print.")] = "table",
) -> None:
    """Say the gain of activations: what multiplies 1 / sqrt(fan) in the weights' standard deviation."""
    from rich.console import Console

    from fanin.commands.activations import load_activation
    from fanin.report.theory_tables import gains_to_json, show_gains
    from fanin.theory.overview import gain_row

    rows = [gain_row(load_activation(name), q=q) for name in phi]
    if output == "json":
        typer.echo(gains_to_json(rows))
    else:
        show_gains(rows, console=Console(highlight=False))


@app.command()
def theory(
    phi: Annotated[str, typer.Option(help="Activation: a name, module:function, or file.py:function.")] = "tanh",
    sigma_w2: Annotated[float | None, typer.Option(help="fan_in Var(w) to look at, beside the laws.")] = None,
    sigma_b2: Annotated[float, typer.Option(help="Variance of the bias.")] = 0.0,
    depth: Annotated[int, typer.Option(help="Layers.")] = 50,
    width: Annotated[int, typer.Option(help="Units of each layer, for the laws.")] = 1024,
    law: Annotated[list[str] | None, typer.Option(help="Classic laws to compare; may be repeated.")] = None,
    c0: Annotated[float, typer.Option(help="Correlation of the two inputs at the first layer.")] = 0.5,
    plot: Annotated[Path | None, typer.Option(help="Also write the figure here (png, svg or pdf).")] = None,
    phase_diagram: Annotated[bool, typer.Option("--phase-diagram", help="Map chi_1 over both variances.")] = False,
    grid: Annotated[int, typer.Option(help="Points on each axis of the phase diagram.")] = 200,
) -> None:
    """Predict q, c and the gradient over depth for chosen laws, before anything runs."""
    from rich.console import Console

    from fanin.commands.activations import load_activation
    from fanin.report.theory_tables import assert_figure, predict, predict_phases

    if plot is not None:
        assert_figure(plot)
    act, console = load_activation(phi), Console(highlight=False)
    if phase_diagram:
        predict_phases(act, grid=grid, sigma_w2=sigma_w2, sigma_b2=sigma_b2, plot=plot, console=console)
    else:
        laws = law or ["he", "glorot", "classic_uniform"]
        predict(
            act,
            depth=depth,
            width=width,
            laws=laws,
            sigma_w2=sigma_w2,
            sigma_b2=sigma_b2,
            c0=c0,
            plot=plot,
            console=console,
        )


@app.command()
def graph(
    target: Annotated[str, typer.Argument(help="file.py:callable or module:callable that gives the model.")],
    shape: Annotated[str | None, typer.Option("--input", help="Shape of the input, like 8,3,224,224.")] = None,
    output: Annotated[Literal["svg", "html", "mermaid", "dot"], typer.Option("--format", help="How to draw.")] = "svg",
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
    unfold: Annotated[bool, typer.Option("--unfold", help="Draw every repeated block.")] = False,
) -> None:
    """Draw a model as fanin reads it: modules as boxes, in them the maps, norms, activations and residual additions."""
    from fanin.commands.targets import load_target
    from fanin.graph.drawing.picture import draw
    from fanin.graph.recording.capture import capture
    from fanin.text.files import assert_place, write_text

    if out is not None:
        assert_place(out)
    loaded = load_target(target, input_shape=shape)
    text = draw(capture(loaded.model, loaded.inputs), output, fold=not unfold)
    if out is None:
        typer.echo(text)
    else:
        write_text(out, text)
        typer.echo(f"wrote {clean(out)}", err=True)


@app.command()
def check(
    target: Annotated[str, typer.Argument(help="file.py:callable or module:callable that gives the model.")],
    shape: Annotated[str | None, typer.Option("--input", help="Shape of the input, like 8,3,224,224.")] = None,
    weights: Annotated[Path | None, typer.Option(help="A .safetensors file to load first.")] = None,
    select: Annotated[list[str] | None, typer.Option(help="Rules to run: codes, prefixes (S2) or names.")] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="Rules not to run.")] = None,
    fail_on: Annotated[
        Literal["note", "warning", "error"] | None, typer.Option(help="Lowest severity that gives exit status 1.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Draws to check; findings say in how many they hold.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the first draw.")] = 0,
    predict: Annotated[
        bool | None,
        typer.Option(
            "--predict/--no-predict",
            help="Put what theory expects beside what was measured; by default up to 2,000 operations.",
        ),
    ] = None,
    config: Annotated[Path, typer.Option(help="pyproject.toml, or a folder to search upwards from.")] = Path(),
    baseline: Annotated[Path | None, typer.Option(help="JSON report whose findings are known.")] = None,
    output: Annotated[str, typer.Option("--format", help="terminal, json, sarif, github, junit, markdown, html.")] = (
        "terminal"
    ),
    out: Annotated[Path | None, typer.Option(help="Write to this file; its ending says the format.")] = None,
) -> None:
    """Measure the first step of a model and say what is wrong, why, and what to do. Settings: [tool.fanin]."""
    from fanin import report as reports
    from fanin.commands.checks import check_target

    reports.assert_output(output, out)
    settings = {"select": select, "ignore": ignore, "fail_on": fail_on, "config": config, "baseline": baseline}
    found = check_target(target, shape=shape, weights=weights, seeds=seeds, seed=seed, predict=predict, **settings)
    if out is not None:
        typer.echo(f"wrote {clean(found.save(out))}", err=True)
    elif output == "terminal":
        found.show()
    else:
        typer.echo(reports.render(found.result, output))
    if not found.ok:
        raise typer.Exit(1)


_TargetArgument = Annotated[str, typer.Argument(help="file.py:callable or package.module:callable.")]
_InputOption = Annotated[str | None, typer.Option("--input", help="Shape of the input, as in 8,3,224,224.")]
_RecipeOption = Annotated[str, typer.Option(help="How to choose; 'fanin explain recipes' names them all.")]
_SeedOption = Annotated[int, typer.Option(help="Seed of the streams.")]
_OptionOption = Annotated[
    list[str] | None, typer.Option("--option", "-O", help="Option of the recipe, as in head=calm. May be repeated.")
]
_OverrideOption = Annotated[
    list[str] | None, typer.Option("--override", help="GLOB=LAW, as in '*.head.weight=zeros'. The first match wins.")
]
_MetaOption = Annotated[bool, typer.Option("--meta", help="Build the model on the meta device, without memory.")]
_KeepOption = Annotated[bool, typer.Option("--keep-unknown", help="Keep parameters that the recipe cannot place.")]


@app.command()
def plan(
    target: _TargetArgument,
    input_shape: _InputOption = None,
    recipe: _RecipeOption = "auto",
    seed: _SeedOption = 0,
    option: _OptionOption = None,
    override: _OverrideOption = None,
    meta: _MetaOption = False,
    keep_unknown: _KeepOption = False,
    out: Annotated[Path | None, typer.Option(help="Also write the plan as JSON.")] = None,
    format_: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
) -> None:
    """Choose an initializer for every parameter of a model and say why."""
    from fanin.commands.plans import assert_form, make_plan
    from fanin.text.files import assert_place

    assert_form(format_)
    if out is not None:
        assert_place(out)
    _, made = make_plan(target, input_shape, recipe, seed, option, override, meta, keep_unknown)
    if out is not None:
        made.save(out)
    if format_ == "table":
        from fanin.planning.view import PlanView
        from fanin.text.console import standard_console

        standard_console().print(PlanView(made))
    else:
        typer.echo(made.to_json(), nl=False)


@app.command()
def init(
    target: _TargetArgument,
    out: Annotated[Path, typer.Option(help="Weights file to write, .safetensors.")],
    input_shape: _InputOption = None,
    recipe: _RecipeOption = "auto",
    seed: _SeedOption = 0,
    option: _OptionOption = None,
    override: _OverrideOption = None,
    meta: _MetaOption = False,
    keep_unknown: _KeepOption = False,
) -> None:
    """Plan a model, draw its weights and write them to a safetensors file."""
    from fanin.commands.plans import assert_weights_file, make_plan, write_weights

    assert_weights_file(out)
    model, made = make_plan(target, input_shape, recipe, seed, option, override, meta, keep_unknown)
    typer.echo(write_weights(made, model, out), err=True)


@app.command()
def explain(
    name: Annotated[str, typer.Argument(help="TARGET::parameter, a rule (S205), a recipe, or an initializer.")],
    input_shape: _InputOption = None,
    recipe: _RecipeOption = "auto",
    seed: _SeedOption = 0,
    option: _OptionOption = None,
    meta: _MetaOption = False,
) -> None:
    """Say where a number comes from: one parameter's law, or what a rule, a recipe or an initializer is."""
    from fanin.commands.checks import rule_page
    from fanin.commands.plans import explain_name, make_plan

    target, separator, parameter = name.partition("::")
    if not separator:
        typer.echo(rule_page(name) or explain_name(name))
        return
    _, made = make_plan(target, input_shape, recipe, seed, option, None, meta, True)
    typer.echo(made.explain(parameter))


@app.command()
def diff(
    left: Annotated[str, typer.Argument(help="A plan or a report (JSON file), or a target to plan.")],
    right: Annotated[
        str, typer.Argument(help="A plan, a later report, or a target: its live weights are held against LEFT.")
    ],
    input_shape: _InputOption = None,
    format_: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
) -> None:
    """Show what two plans do differently, or where a model departs from a plan; exit status 1 if anything does."""
    from fanin.commands.checks import compare_reports, is_report
    from fanin.commands.plans import assert_form, difference, shown_diff

    assert_form(format_)
    if is_report(left):
        changed = compare_reports(Path(left), Path(right))
        typer.echo(changed.to_text())
        raise typer.Exit(1 if changed.worse else 0)
    found = difference(left, right, input_shape)
    typer.echo(shown_diff(found, format_))
    raise typer.Exit(1 if found else 0)


def main() -> None:
    """Entry point of the ``fanin`` command."""
    try:
        app()
    except FaninError as error:
        typer.echo(f"fanin: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("fanin: interrupted", err=True)
        sys.exit(2)
    except Exception:  # status 1, Python's own, would say that there are findings
        traceback.print_exc()
        typer.echo("fanin: internal error, which the lines above locate. Please report them.", err=True)
        sys.exit(2)
