"""`Plan`: what every parameter of a model should start as, with everything that can be done with it as methods."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, overload

from fanin.planning.data import PlanData
from fanin.text.numbers import counted

if TYPE_CHECKING:
    import torch

    from fanin.model.parameters import Rename
    from fanin.planning.diff import PlanDiff
    from fanin.planning.materialize import Materialized
    from fanin.planning.trial import Trial
    from fanin.planning.verify import Verification
    from fanin.planning.verify_folder import FolderVerification
    from fanin.planning.write import Written
    from fanin.text.files import PathLike

__all__ = ["Plan"]


class Plan(PlanData):
    """A mapping of qualified parameter name -> `Assignment`; a tied parameter answers to all of its names.

    Attributes:
        recipe: name of the recipe that made it.
        seed: seed of the streams, 0 <= seed < 2**64.
        model: class name of the model.
        assignments: by first qualified name, in the order of the model.
        options: the recipe's options as they were used.
        warnings: about the model as a whole.
        extras: other results of the recipe, JSON-ready (learning-rate groups of mup, the predicted stream).

    Example:
        >>> import fanin, torch
        >>> plan = fanin.plan(torch.nn.Linear(784, 10), recipe="keep")
        >>> list(plan), plan["weight"].fan_in
        (['weight', 'bias'], 784.0)
    """

    # The verbs are imported when they are called: most of them load torch.

    def __str__(self) -> str:
        from fanin.planning.view import plan_text
        from fanin.text.console import prose_width

        return plan_text(self, width=prose_width())

    def __repr__(self) -> str:
        parameters = counted(len(self), "parameter")
        return f"<Plan of {self.model}: recipe {self.recipe}, seed {self.seed}, {parameters}>"

    def show(self) -> None:
        """Print the table: in colour and as wide as the terminal, plain through a pipe."""
        from fanin.planning.view import PlanView
        from fanin.text.console import standard_console

        standard_console().print(PlanView(self))

    def _repr_html_(self) -> str:
        from fanin.planning.view import plan_html

        return plan_html(self)

    def explain(self, name: str) -> str:
        """The derivation of one parameter's law, number by number, with sources, as text.

        Its lines are as long as the terminal or COLUMNS allow, at most 100 columns.

        Args:
            name: any qualified name of the parameter.

        Raises:
            UnknownNameError: no such parameter.
        """
        from fanin.planning.explain import explain_text
        from fanin.text.console import prose_width

        return explain_text(self, self[name], width=prose_width())

    def diff(self, other: PlanData | torch.nn.Module) -> PlanDiff:
        """Differences from another plan, or between this plan and a live model.

        Args:
            other: a plan, or a model whose tensors are compared with this plan.
        """
        from fanin.planning.diff import diff_plans, diff_with_model

        return diff_plans(self, other) if isinstance(other, PlanData) else diff_with_model(self, other)

    @overload
    def verify(
        self,
        model: torch.nn.Module,
        *,
        z: float = ...,
        bits: bool = ...,
        partial: bool = ...,
        rename: Rename | None = ...,
    ) -> Verification: ...

    @overload
    def verify(self, model: PathLike, *, dtype: str | None = ...) -> FolderVerification: ...

    def verify(
        self,
        model: torch.nn.Module | PathLike,
        *,
        z: float = 5.0,
        bits: bool = False,
        partial: bool = False,
        rename: Rename | None = None,
        dtype: str | None = None,
    ) -> Verification | FolderVerification:
        """Whether a model's tensors are what the plan says.

        A tensor is compared with its stream first. Where it holds other numbers, all of them are compared with the
        law: mean and variance, bound, orthogonality, and rows of zeros or equal rows where the law makes every unit
        its own. NaN and infinity are departures, also in what the plan keeps; so is a tie that the model has lost.

        A folder of weights is read and drawn again slice by slice, and compared bit for bit.

        Args:
            model: the live model, of which nothing changes, or a folder of safetensors files.
            z: tolerance in standard errors.
            bits: take nothing but the very bits of the stream for a tensor that the plan draws: another seed, permuted
                rows or one flipped bit are departures then.
            partial: as in `apply_`.
            rename: as in `apply_`.
            dtype: of the parameters in the folder, where `write` was told one.

        Raises:
            InputError: the folder holds no weights.
        """
        if isinstance(model, (str, os.PathLike)):
            from fanin.planning.verify_folder import verify_folder

            return verify_folder(self, model, dtype=dtype)
        from fanin.planning.verify import verify

        return verify(self, model, z=z, bits=bits, partial=partial, rename=rename)

    def trial(
        self,
        model: torch.nn.Module,
        inputs: Any,
        targets: Any = None,
        loss: Callable[..., Any] | None = None,
    ) -> Trial:
        """Measure the model as found and as this plan would start it, on the same batch; nothing in it changes.

        Worse is: NaN or infinity where there was none, a first loss more than ln 2 above the found one, a chi above 10
        that is more than 10 times the found one, or a finding (warning or error) that was not there. Of a cross-entropy
        chi counts the differences between the outputs of a sample: what all share changes no probability. It costs at
        most two checks.

        Args:
            model: the live model, with real tensors.
            inputs: as in `fanin.check`.
            targets: as in `fanin.check`. Without targets and loss the first loss is that of labels drawn at random.
            loss: as in `fanin.check`.

        Raises:
            PlanError: the plan does not fit the model.
            CaptureError: the model or the loss raises as found.
        """
        from fanin.planning.trial import trial

        return trial(self, model, inputs, targets, loss)

    def apply_(
        self,
        model: torch.nn.Module,
        *,
        progress: bool = False,
        rollback: bool = True,
        partial: bool = False,
        rename: Rename | None = None,
        agree: bool = False,
    ) -> torch.nn.Module:
        """Write the plan into a model: all or nothing.

        Everything is checked first. An error while writing, Ctrl-C included, puts every tensor back bit for bit.

        A model may be spread over processes by fully_shard (also over tensor parallelism), FullyShardedDataParallel,
        DistributedDataParallel, ZeRO-3 or a DeviceMesh of your own: each process writes the elements it holds, without
        communication, and all of them together hold the bits of the model that is not spread.

        Args:
            model: the model; its parameters are overwritten in place and stay the same objects.
            progress: show a bar on stderr.
            rollback: keep a copy of each tensor until all are written. Without it an error names the tensors already
                written.
            partial: the model is a part of the planned one (a pipeline stage, the experts of this process).
            rename: from the model's names to the plan's, where a part counts its layers anew: a mapping or a function.
            agree: let all processes of torch.distributed agree, by one number, before the first byte is written: an
                error in one of them is then raised in all.

        Returns:
            The same model.

        Raises:
            PlanError: the plan does not fit the model; nothing was written.
            FillError: a write failed; the message says what was restored.
        """
        from fanin.planning.apply import apply_

        return apply_(self, model, progress=progress, rollback=rollback, partial=partial, rename=rename, agree=agree)

    def write(
        self,
        folder: PathLike,
        *,
        shard_size: str | int = "5GB",
        dtype: str | None = None,
        resume: bool = True,
        part: tuple[int, int] | None = None,
        model: torch.nn.Module | None = None,
        progress: Callable[[int, int], None] | None = None,
        dry_run: bool = False,
    ) -> Written:
        """Write the weights to a folder that ``from_pretrained`` reads, without a model in memory.

        Numbers are drawn and written slice by slice; a law whose entries depend on each other (orthogonal) takes one
        whole matrix. Each file appears under its name when it is on the disk. A call after a kill goes on where the
        first one stopped, and gives the same bytes. It trusts an unfinished file up to its last 64 MB: after a power
        cut remove the ``.partial`` files, or verify the folder.

        Args:
            folder: made where it does not exist.
            shard_size: bytes of a file at most, such as "5GB"; a larger tensor has a file of its own.
            dtype: of all parameters; their own where not given.
            resume: go on in a folder that holds files of this plan; False refuses such a folder.
            part: (which, of how many): write every how-many-th file alone, on many machines without communication. The
                index is written by whoever finds all files complete.
            model: its persistent buffers and its ``config.json`` are written too; it may be on the meta device.
            progress: called with (bytes written, bytes to write).
            dry_run: say which files there would be and of how many bytes; nothing is written.

        Raises:
            PlanError: a parameter has no law, or a buffer no known value.
            OutputError: files of another plan are there, or the disk has no room.
        """
        from fanin.planning.write import write

        return write(
            self,
            folder,
            shard_size=shard_size,
            dtype=dtype,
            resume=resume,
            part=part,
            model=model,
            progress=progress,
            dry_run=dry_run,
        )

    def digest(self) -> str:
        """32 hexadecimal digits that two plans share exactly where they draw the same numbers.

        Seed, names, shapes, dtypes, laws, layouts, keys and factors enter; reasons and warnings do not.

        Example:
            >>> import fanin, torch
            >>> one, two = (fanin.plan(torch.nn.Linear(4, 2), recipe="torch", seed=s) for s in (0, 1))
            >>> len(one.digest()), one.digest() == two.digest()
            (32, False)
        """
        from fanin.planning.digest import digest

        return digest(self)

    def materialize(
        self,
        model: torch.nn.Module,
        *,
        device: str = "cpu",
        buffers: Mapping[str, torch.Tensor] | None = None,
        partial: bool = False,
        rename: Rename | None = None,
        agree: bool = False,
    ) -> Materialized:
        """Give a model built on the meta device its memory, its weights and its buffers.

        Args:
            model: a model with tensors on "meta"; it is changed in place.
            device: where the tensors go.
            buffers: values of buffers that the model's classes do not fix, by qualified name.
            partial: as in `apply_`.
            rename: as in `apply_`.
            agree: as in `apply_`.

        Raises:
            PlanError: the plan does not fit, or values of buffers are not known (named); nothing was changed.
        """
        from fanin.planning.materialize import materialize

        return materialize(
            self, model, device=device, buffers=buffers or {}, partial=partial, rename=rename, agree=agree
        )
