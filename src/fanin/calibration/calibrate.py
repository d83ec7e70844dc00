"""`calibrate`: measure every weighted operation of a model on real inputs, and repair the weights that are off."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal

from fanin.calibration.judge import Rules
from fanin.calibration.report import Calibration
from fanin.calibration.statistic import Statistic
from fanin.calibration.target import TargetOption, read_target
from fanin.errors import ArgumentError, MissingDependencyError
from fanin.planning.plan import Plan

if TYPE_CHECKING:
    import torch

__all__ = ["calibrate"]


def calibrate(
    model: torch.nn.Module,
    inputs: Any,
    plan: Plan | None = None,
    *,
    target: TargetOption = "plan",
    only: Iterable[str] | None = None,
    statistic: Statistic = "robust",
    tolerance: float = 3.0,
    center: bool = False,
    passes: int | Literal["auto"] = "auto",
    verify: bool = True,
    dry_run: bool = False,
    strict: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> Calibration:
    """Measure the output of every weighted operation in one forward pass, and multiply the weights that are off.

    The product of each operation is multiplied by target / measured before its bias is added, so what comes after sees
    the corrected signal, and one pass is exact for any depth. Nothing is written until all factors are known. The bias
    stays as it is.

    It is a check and a repair. After `fanin.init_` with the recipe ``auto`` there is nothing to correct as a rule. A
    model that keeps its own values, a frozen trunk in front of new heads, or inputs unlike those of the plan have.

    Args:
        model: the model; its weights are multiplied in place.
        inputs: one batch: a tensor, a tuple of positional arguments or a dict of keyword arguments; or an iterator or
            data loader of such batches, which are joined; targets in the list that a loader gives are left out.
        plan: where targets come from; by default the plan that ``auto`` makes of this model. The model keeps its own
            values: what it holds of the plan's laws is drawn again times the factor, all else is multiplied.
        target: "plan": the root mean square that the plan predicts there. "unit": 1 everywhere. A number. Or glob on
            names -> number, and all others are measured only.
        only: globs on names of weights to correct; all others are measured only.
        statistic: "rms": root mean square of all numbers. "robust": likewise, where the mean square of a sample counts
            for at most 4 times the median over samples, so that a few wild samples do not move it; "rms" below 8
            samples.
        tolerance: standard errors within which weights keep every bit. That of ln(measured / target) has two parts:
            0.02 from the batch, and what the plan predicts for a draw of weights of this width. It is for the model as
            a whole: each of n uses gets so many that chance alone touches a healthy model as rarely as a single map
            (4.2 for 100 uses). 0 corrects everything.
        center: also set the bias of each map that may change to minus the mean of each channel. Off, because it made
            the plain networks that we trained worse; a plan cannot draw such a bias again.
        passes: how many batches of an iterator are joined; "auto": 4 at most.
        verify: run the model once more under the new weights.
        dry_run: write nothing.
        strict: raise if a weight cannot be reached (frozen, tied to a table, inside a fused operation, ...).
        seed: of the plan, where none is given, and of random operations in the forward pass.
        progress: show a bar on stderr.

    Returns:
        What was found and done: one row a use, and the plan with the factors.

    Raises:
        ArgumentError: an argument that cannot be used; the message names it.
        CaptureError: the forward pass cannot be read, or raises.
        CalibrationError: an output holds NaN or infinity, or (strict) a weight cannot be reached.
        PlanError: the plan does not fit the model, or a glob matches nothing.
        FillError: a write failed; everything is as it was.

    Accuracy:
        With ``tolerance=0`` every output that is reached is within 1e-4 of its target in the same statistic (1 % in
        bfloat16). Else factors are rounded to 8 significant bits (at most 0.4 % of size), so that threads, devices and
        the order of the batch do not change a bit. A weight that is used several times has one factor: the geometric
        mean over its uses meets that of the targets.

    Source:
        one forward pass for all layers, in place of one for each and each try: after LSUV (Mishkin and Matas 2015,
        arXiv 1511.06422), whose target is 1 everywhere.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> x = torch.randn(256, 64, generator=torch.Generator().manual_seed(0))
        >>> found = calibrate(model, x)
        >>> found.forwards, found.changed[:2]
        (2, ('0.weight', '2.weight'))
        >>> calibrate(model, x).changed
        ()
    """
    rules = _rules(target, statistic, tolerance, passes)
    try:
        from fanin.calibration.task import task_of
    except ImportError as error:
        raise MissingDependencyError.of("torch", extra="torch", needed_for="fanin.calibrate") from error
    from fanin.calibration.run import run

    with ExitStack() as kept:
        task = task_of(
            model,
            inputs,
            plan,
            target=target,
            only=only,
            statistic=statistic,
            rules=rules,
            batches=_MOST_BATCHES if passes == "auto" else passes,
            seed=seed,
            center=center,
            kept=None if progress else kept,  # a bar changes the process: it is not there yet when the model is read
        )
        return run(task, verify=verify and not dry_run, dry_run=dry_run, strict=strict, progress=progress)


_MOST_BATCHES = 4


def _rules(target: TargetOption, statistic: str, tolerance: float, passes: int | str) -> Rules:
    """The rules, once all arguments are known to be usable."""
    read_target(target)
    if statistic not in ("robust", "rms"):
        raise ArgumentError(f"statistic must be 'robust' or 'rms'; got {statistic!r}")
    if not isinstance(tolerance, int | float) or not 0.0 <= tolerance < float("inf"):
        raise ArgumentError(f"tolerance counts standard errors and must be finite and >= 0; got {tolerance!r}")
    if passes != "auto" and (isinstance(passes, bool) or not isinstance(passes, int) or passes < 1):
        raise ArgumentError(f"passes must be 'auto' or a whole number >= 1; got {passes!r}")
    return Rules(tolerance=float(tolerance))
