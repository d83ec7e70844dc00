"""Head to head on the health zoo: healthy models flagged, broken ones caught, and the time each tool takes.

    OMP_NUM_THREADS=1 python -m benchmarks.accuracy.check_peers

The other tools are torch-audit, torchmortem and torchlens; one that is not installed is left out. Every tool sees the
same model, batch, loss and seed, with its own defaults; a model is flagged where a tool reports anything of severity
warning or above (TorchLens: any finding in the audit of its trace). torchmortem judges runs, not steps: it gets ten
SGD steps at a learning rate of 1e-3. The tools run in a temporary folder, because some of them write files.
"""

from __future__ import annotations

import argparse
import atexit
import logging
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import fanin
from benchmarks.common import RESULTS, header, in_words
from zoo.health.broken_held_out import BROKEN_HELD_OUT
from zoo.health.public import BROKEN, HEALTHY

Case = tuple[Any, Any, Callable[[Any], torch.Tensor]]


def arguments_of(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments."""
    return ((), inputs) if isinstance(inputs, dict) else (inputs if isinstance(inputs, tuple) else (inputs,), {})


def by_fanin(model: Any, inputs: Any, loss: Any) -> bool:
    """fanin.check, warnings and errors."""
    return not fanin.check(model, inputs, loss=loss).ok


def by_torch_audit(model: Any, inputs: Any, loss: Any) -> bool:
    """torch-audit: static, init, data, forward and backward phases of one step."""
    from torch_audit import Severity, audit_dynamic

    args, kwargs = arguments_of(inputs)
    with audit_dynamic(model, optimizer=torch.optim.SGD(model.parameters(), lr=1e-3), every_n_steps=1) as auditor:
        output = auditor.forward(*args, **kwargs)
        auditor.backward(loss(output))
        return any(f.severity >= Severity.WARN for f in auditor.findings)


def by_torchmortem(model: Any, inputs: Any, loss: Any) -> bool:
    """torchmortem after ten steps."""
    from torchmortem import Autopsy, Severity

    args, kwargs = arguments_of(inputs)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    autopsy = Autopsy(model, optimizer=optimizer, sampling="thorough")
    autopsy.attach()
    for _ in range(10):
        optimizer.zero_grad()
        value = loss(model(*args, **kwargs))
        value.backward()
        optimizer.step()
        autopsy.step(loss=value.item())
    autopsy.detach()
    report = autopsy.get_report()
    autopsy._report_generated = True
    quiet = {name for name in ("INFO", "HEALTHY", "OK", "LOW") if hasattr(Severity, name)}
    return report is not None and any(f.severity.name not in quiet for f in report.findings)


def by_torchlens(model: Any, inputs: Any, loss: Any) -> bool:
    """TorchLens: a trace, and its audit."""
    import torchlens

    args, kwargs = arguments_of(inputs)
    trace = torchlens.trace(model, list(args), kwargs)
    audit = torchlens.debug.audit_trace(trace)
    return bool(audit.findings)


TOOLS: dict[str, Callable[[Any, Any, Any], bool]] = {
    "fanin": by_fanin,
    "torch-audit": by_torch_audit,
    "torchmortem": by_torchmortem,
    "torchlens": by_torchlens,
}


def present(names: Iterable[str]) -> list[str]:
    """The tools that are installed; a line on each other one."""
    found = []
    for name in names:
        try:
            version(name) if name != "fanin" else fanin.__version__
            found.append(name)
        except PackageNotFoundError:
            print(f"{name} is left out: it is not installed (python -m pip install {name})")
    return found


def work_in_temporary_folder() -> None:
    """Make a temporary folder the working folder until the process ends: tools write there, also when it exits."""
    folder = tempfile.mkdtemp(prefix="check-peers-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # the first to be registered is the last to run
    os.chdir(folder)


def public(make: Callable[[], Any]) -> Case:
    """A case of the public zoo."""
    model, inputs, loss, _ = make()
    return model, inputs, loss


def held_out(make: Callable[[], Any]) -> Case:
    """A case of the held-out faults."""
    from fanin.measure.objective import objective

    case = make()
    loss = case.get("loss") or (lambda o: objective(o, targets=case["targets"], loss=None).value)
    return case["model"], case["inputs"], loss


def judge(tool: Callable[[Any, Any, Any], bool], case: Callable[[], Case]) -> tuple[str, float]:
    """("flagged" | "quiet" | "failed", seconds of wall time)."""
    torch.manual_seed(0)
    model, inputs, loss = case()
    start = time.perf_counter()
    try:
        verdict = "flagged" if tool(model, inputs, loss) else "quiet"
    except Exception as error:
        verdict = "failed"
        print("   ", type(error).__name__, str(error)[:100])
    return verdict, time.perf_counter() - start


def score(name: str, skip: set[str]) -> str:
    """One row of the table."""
    cells, total = [name], 0.0
    groups = {
        "healthy": {n: (lambda m=m: public(m)) for n, m in HEALTHY.items() if n not in skip},
        "broken": {n: (lambda m=m: public(m)) for n, m in BROKEN.items() if n not in skip},
        "held out": {n: (lambda m=m: held_out(m[0])) for n, m in BROKEN_HELD_OUT.items()},
    }
    for group, cases in groups.items():
        verdicts = []
        for case_name, case in cases.items():
            verdict, seconds = judge(TOOLS[name], case)
            total += seconds
            verdicts.append(verdict)
            print(f"{name:12} {group:8} {case_name:32} {verdict:8} {seconds:.2f}", flush=True)
        failed = verdicts.count("failed")
        cells.append(f"{verdicts.count('flagged')} of {len(verdicts)}" + (f" ({failed} failed)" if failed else ""))
    return "| " + " | ".join([*cells, f"{total:.0f} s", fanin.__version__ if name == "fanin" else version(name)]) + " |"


def main() -> None:
    """Run every tool and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "check_peers.md")
    parser.add_argument("--tool", action="append", choices=list(TOOLS), help="tool to run; may be repeated")
    parser.add_argument("--skip", action="append", default=[], help="model of the health zoo to leave out")
    arguments = parser.parse_args()
    made, out = header(), arguments.out.resolve()
    tools = present(arguments.tool or TOOLS)
    work_in_temporary_folder()
    rows = run(tools, set(arguments.skip))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page(made, rows), encoding="utf-8")
    print(out.read_text(encoding="utf-8"))


def run(tools: Iterable[str], skip: set[str]) -> list[str]:
    """One row of the table for each tool."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    return [score(name, skip) for name in tools]


def page(made: dict[str, Any], rows: list[str]) -> str:
    """The result as Markdown."""
    text = [
        "# Head to head on the health zoo",
        "",
        "Flagged healthy models (fewer is better) and caught faults (more is better): warnings and errors, each tool",
        "with its own defaults on the same models, batches, losses and seed. Wall time over all models.",
        "",
        in_words(made),
        "",
        "| tool | healthy flagged | broken caught | held-out faults caught | wall time | version |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
    ]
    return "\n".join(text)


if __name__ == "__main__":
    main()
