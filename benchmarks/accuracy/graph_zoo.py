"""Capture and label every architecture of the zoo, three ways, and two very large ones on meta; write the table.

Run from the repository's root: ``python -m benchmarks.accuracy.graph_zoo``.
"""

from __future__ import annotations

import argparse
import logging
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import RESULTS, header, in_words, module_process
from fanin.graph.ir import Graph
from fanin.graph.recording.capture import capture
from fanin.graph.roles.data import Roles
from fanin.graph.roles.label import roles
from fanin.graph.verify import verify
from zoo import reviewed_labels, zoo
from zoo.review import argued, disagreements

LABELS = reviewed_labels()

WAYS = ("real", "fake", "meta")
LLAMA_70B = {
    "vocab_size": 128256,
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
}
LARGE = {
    "Llama 70B": ("LlamaForCausalLM", "LlamaConfig", LLAMA_70B),
    "DeepSeek-V3": ("DeepseekV3ForCausalLM", "DeepseekV3Config", {}),
}


def build(name: str, way: str) -> tuple[Any, Any]:
    torch.manual_seed(0)
    model, inputs = zoo()[name]()
    if way == "meta":
        with torch.device("meta"):
            model, _ = zoo()[name]()
    return model, inputs


def read(model: Any, inputs: Any, way: str) -> tuple[Graph, Roles, float]:
    start = time.process_time()
    graph = capture(model, inputs, mode="real" if way == "real" else "fake")
    found = roles(verify(graph))
    return graph, found, time.process_time() - start


def wrong_fields(name: str, found: Roles) -> tuple[int, int]:
    """Fields that differ from the reviewed labels: without, and with an argument."""
    open_, closed = 0, 0
    for parameter, label in LABELS[name].items():
        for field in disagreements(found[parameter], label):
            if argued(name, parameter, field):
                closed += 1
            else:
                open_ += 1
    return open_, closed


def zoo_rows() -> Iterator[str]:
    for name in sorted(zoo()):
        cells = [name]
        for way in WAYS:
            try:
                graph, found, seconds = read(*build(name, way), way)
                differ, with_reason = wrong_fields(name, found)
                cells += [f"{seconds:.2f}", f"{differ} (+{with_reason})"]
                TIMES[way].append(seconds)
                CLEAN[way] += differ == 0
            except Exception as error:
                cells += ["-", f"{type(error).__name__}"]
        cells += [str(len(graph.ops)), str(len(found)), str(sum(r.role == "unused" for r in found.values()))]
        print(*cells, file=sys.stderr)
        yield "| " + " | ".join(cells) + " |"


TIMES: dict[str, list[float]] = {way: [] for way in WAYS}
CLEAN: dict[str, int] = dict.fromkeys(WAYS, 0)


def large(name: str) -> str:
    """One large model in this process: seconds to build, capture and label, and the peak of memory."""
    zoo()
    import transformers

    model_class, config_class, settings = LARGE[name]
    config = getattr(transformers, config_class)(**settings)
    start, cpu = time.perf_counter(), time.process_time()
    with torch.device("meta"):
        model = getattr(transformers, model_class)(config)
    ids = torch.randint(5, 1000, (1, 16))
    graph = capture(model, {"input_ids": ids, "use_cache": False}, mode="fake")
    found = roles(graph)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    unknown = sum(r.role in ("unknown", "unused") for r in found.values())
    size = sum(p.numel for p in graph.parameters.values()) / 1e9
    return (
        f"| {name} | {size:.1f} | {len(graph.ops)} | {len(found)} | {unknown} | {wall:.1f} | {cpu:.1f} | {peak:.2f} |"
    )


def in_own_process(name: str) -> str:
    return module_process("benchmarks.accuracy.graph_zoo", "--large", name).strip().splitlines()[-1]


def report(rows: list[str], big: list[str]) -> str:
    head = [f"{way} s | {way} differ" for way in WAYS]
    summary = [
        f"- {way}: {len(TIMES[way])} of {len(rows)} captured and labelled, {CLEAN[way]} agree with every reviewed "
        f"label (argued differences apart), {sum(TIMES[way]):.1f} s CPU, median {statistics.median(TIMES[way]):.2f} s"
        for way in WAYS
    ]
    return "\n".join(
        [
            "# Capture and roles over the zoo",
            "",
            in_words(header()),
            "",
            "One thread. Seconds are CPU seconds of capture, verification and roles. "
            '"differ" counts fields that differ from the reviewed labels, in brackets those argued in '
            "`zoo/review.py`. Wall seconds of the large models were taken on a busy machine.",
            "",
            *summary,
            "",
            f"| model | {' | '.join(head)} | ops | parameters | unused |",
            "| --- " * (4 + 2 * len(WAYS)) + "|",
            *rows,
            "",
            "## Very large models, built on meta (seconds to build, capture and label; peak memory)",
            "",
            "| model | parameters, 1e9 | ops | tensors | unknown or unused | wall s | CPU s | peak GiB |",
            "| --- " * 8 + "|",
            *big,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", choices=sorted(LARGE), help="only this large model, in this process")
    parser.add_argument("--out", type=Path, default=RESULTS / "graph_zoo.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    if options.large:
        print(large(options.large))
        return
    big = [in_own_process(name) for name in LARGE]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(report(list(zoo_rows()), big))
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
