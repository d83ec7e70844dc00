"""What `auto` promises against what happens, over the zoo of architectures.

For every model: plan, apply, run one batch (dropout off, batch norms on batch statistics, as at the first training
step), for three seeds;
then per weight operation the ratio of measured to planned rms of its output, the growth of every residual stream
over its whole depth, and the initial loss on random targets where the model has logits, also with head="calm".

    python -m benchmarks.accuracy.plan_zoo [--out benchmarks/results/plan_zoo.json] [MODEL ...]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import math
import statistics
import sys
import time
import warnings
from pathlib import Path

import torch

import fanin
from benchmarks.common import header
from fanin.graph.analysis.analyse import analyse
from fanin.graph.recording.capture import capture
from fanin.graph.recording.replay import run_all
from fanin.graph.roles.label import roles

SEEDS = (0, 1, 2)
# Models whose first output is a tensor of logits, with the axis of the classes.
LOGITS = {
    **dict.fromkeys(
        [
            "hf_gpt2",
            "hf_llama",
            "hf_qwen3",
            "hf_gemma3",
            "hf_phi",
            "hf_bloom",
            "hf_cohere",
            "hf_mixtral",
            "hf_mamba",
            "hf_rwkv",
            "hf_xlstm",
            "hf_bert",
            "hf_deberta_v2",
            "hf_t5",
            "hf_whisper",
            "hf_vit",
            "hf_swin",
            "hf_convnextv2",
            "hf_resnet",
            "hf_wav2vec2",
            "timm_resnet50",
            "timm_efficientnet_b0",
            "timm_vit_tiny",
            "timm_mixer",
            "timm_nfnet",
            "mlp_relu",
            "lstm_lm",
            "nn_transformer",
            "weight_normed",
            "shared_twice",
            "data_dependent",
            "custom_autograd",
            "functional_raw_params",
            "lowrank_lora",
            "hf_opt",
            "hf_modernbert",
            "hf_bart",
            "timm_convnext",
            "gru_classifier",
            "gnn_scatter",
        ],
        -1,
    ),
    "wavenet_gated": 1,
    "hf_segformer": 1,
}


def zoo() -> dict:
    """Name -> callable that gives (model, keyword arguments)."""
    from zoo import zoo as build

    return build()


def ready(model: torch.nn.Module) -> torch.nn.Module:
    """Dropout off, batch norms on batch statistics."""
    model.eval()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.train()
    return model


def rms(tensor: torch.Tensor) -> float:
    return float(tensor.detach().double().abs().square().mean().sqrt())


def values_of(graph, model) -> dict:
    """Every tensor of the forward pass, by value index."""
    tensors = dict(model.named_parameters())
    leaves = {p.value: tensors[p.name].detach() for p in graph.parameters.values()}
    env: dict = {}
    with torch.no_grad():
        run_all(graph, leaves, keep=env)
    return env


def ratios(plan, found, env, graph) -> dict[str, float]:
    """Measured over planned rms, for every use of every map."""
    result = {}
    for a in plan.values():
        for use, predicted in zip(found[a.name].uses, a.predicted_rms, strict=False):
            measured = env.get(graph.ops[use.op].output)
            if found[a.name].role != "weight" or measured is None or not measured.is_floating_point():
                continue
            key = f"{a.name}@{use.op}"
            got = rms(measured)
            if predicted is None or (predicted == 0.0) != (got == 0.0):
                result[key] = math.nan
            else:
                result[key] = got / predicted if predicted > 0.0 else 1.0
    return result


def growth(found, env, sums) -> dict[int, float]:
    """Largest rms among the sums of each residual stream over its start (over their median, if it starts at zero).

    A stream whose first skip path is a map of its own starts with its first sum: the map makes a signal of another
    space and size than the one it reads.
    """
    result = {}
    for stream in found.streams:
        begin, values = sums.get(stream.number, (None, []))
        begin = stream.start if begin is None else begin
        sizes = [rms(env[v]) for v in values]
        start = rms(env[begin]) if begin in env else 0.0
        if sizes:
            result[stream.number] = max(sizes) / (start if start > 0.0 else statistics.median(sizes))
    return result


def stream_sums(graph) -> dict[int, tuple[int | None, list[int]]]:
    """Of each residual stream: its first sum, if the first skip path is a map of its own, and all its sums."""
    found: dict[int, tuple[int | None, list[int]]] = {}
    for r in analyse(graph).residuals.values():
        total = graph.ops[r.op].output
        found.setdefault(r.stream, (total if r.kind == "projection" else None, []))[1].append(total)
    return found


def loss(name: str, graph, env) -> tuple[float, float] | None:
    """Cross entropy against uniformly random labels, and ln C."""
    if name not in LOGITS:
        return None
    logits = next((env[o.value] for o in graph.outputs if "logits" in o.path), env[graph.outputs[0].value])
    logits = logits.double().movedim(LOGITS[name], -1).reshape(-1, logits.shape[LOGITS[name]])
    classes = logits.shape[-1]
    return float((logits.logsumexp(-1) - logits.mean(-1)).mean()), math.log(classes)


def run_model(name: str, build) -> dict:
    torch.manual_seed(0)
    model, kwargs = build()
    ready(model)
    graph = capture(model, kwargs)
    found = roles(graph)
    began = time.perf_counter()
    plan = fanin.plan(model, kwargs, recipe="auto", seed=0)
    seconds = time.perf_counter() - began
    sums = stream_sums(graph)
    per_seed = [one_seed(name, model, plan, graph, found, sums, s) for s in SEEDS]
    quiet = fanin.plan(model, kwargs, recipe="auto", head="calm") if name in LOGITS else None
    calm = [one_seed(name, model, quiet, graph, found, sums, s) for s in SEEDS] if quiet is not None else []
    keys = per_seed[0]["ratios"].keys()
    middle = {k: math.exp(statistics.fmean(math.log(max(s["ratios"][k], 1e-12)) for s in per_seed)) for k in keys}
    inside = [1 / 1.5 <= r <= 1.5 for r in middle.values()]
    worst = sorted(middle.items(), key=lambda kv: -abs(math.log(max(kv[1], 1e-12))) if kv[1] == kv[1] else -99.0)[:3]
    return {
        "parameters": len(plan),
        "plan_seconds": round(seconds, 2),
        "ops": len(middle),
        "inside": round(sum(inside) / max(len(inside), 1), 3),
        "growth": round(max((g for s in per_seed for g in s["growth"].values()), default=0.0), 3),
        "loss": worst_of([s["loss"] for s in per_seed]),
        "loss_calm": worst_of([s["loss"] for s in calm]),
        "ln_classes": per_seed[0]["ln_classes"],
        "worst": {k: round(v, 3) for k, v in worst},
    }


def worst_of(losses) -> float | None:
    known = [x for x in losses if x is not None]
    return round(max(known), 4) if known else None


def one_seed(name, model, plan, graph, found, sums, seed: int) -> dict:
    dataclasses.replace(plan, seed=seed).apply_(model)
    env = values_of(graph, model)
    lost = loss(name, graph, env)
    return {
        "ratios": ratios(plan, found, env, graph),
        "growth": growth(found, env, sums),
        "loss": lost[0] if lost else None,
        "ln_classes": round(lost[1], 4) if lost else None,
    }


def verdict(rows: dict) -> dict:
    good = {n: r for n, r in rows.items() if "error" not in r}
    lossy = [r for r in good.values() if r["loss"] is not None]
    low = sum(r["loss"] <= r["ln_classes"] + 1 for r in lossy)
    calm = sum(abs(r["loss_calm"] / r["ln_classes"] - 1) <= 0.05 for r in lossy)
    return {
        "models": len(rows),
        "planned and applied": len(good),
        "rms within 1.5x on 90 % of ops": sum(r["inside"] >= 0.9 for r in good.values()),
        "stream growth <= 2": sum(r["growth"] <= 2.0 for r in good.values()),
        "loss <= ln C + 1": f"{low} of {len(lossy)}",
        "calm within 5 % of ln C": f"{calm} of {len(lossy)}",
    }


COLUMNS = (
    ("params", 6),
    ("plan s", 7),
    ("ops", 5),
    ("in 1.5x", 8),
    ("growth", 7),
    ("loss", 8),
    ("calm", 8),
    ("ln C", 7),
)


def table(rows: dict) -> str:
    lines = [f"{'model':22s}" + "".join(f"{title:>{width}s}" for title, width in COLUMNS)]
    for name, r in rows.items():
        if "error" in r:
            lines.append(f"{name:22s} {r['error']}")
            continue
        values = [
            r[k] for k in ("parameters", "plan_seconds", "ops", "inside", "growth", "loss", "loss_calm", "ln_classes")
        ]
        cells = ["" if v is None else str(v) if isinstance(v, int) else f"{v:.3f}" for v in values]
        line = f"{name:22s}" + "".join(f"{c:>{width}s}" for c, (_, width) in zip(cells, COLUMNS, strict=True))
        lines.append(line + ("" if r["inside"] >= 0.9 and r["growth"] <= 2 else f"  {r['worst']}"))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of the zoo; all by default")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    rows: dict = {}
    models = zoo()
    for name in options.models or models:
        try:
            rows[name] = run_model(name, models[name])
        except Exception as error:
            rows[name] = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(table({name: rows[name]}).splitlines()[-1], file=sys.stderr, flush=True)
    print(table(rows))
    print(json.dumps(verdict(rows), indent=1))
    if options.out:
        text = json.dumps({"made_with": header(), "seeds": SEEDS, "verdict": verdict(rows), "models": rows}, indent=1)
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
