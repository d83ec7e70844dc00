"""Plan JAX models of 17 billion parameters from shapes alone: CPU seconds and peak memory; write the table.

Run from the repository's root: ``OMP_NUM_THREADS=1 python -m benchmarks.speed.jax_shapes``. Each model is planned in a
fresh process that has made the shapes; time is that of tracing and planning, the import of torch included, memory the
peak resident size of the whole process with JAX and torch.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, header, in_words, module_process

BLOCKS, WIDTH, HEADS, ROWS = 54, 5120, 40, 50_000
LAYERS, WIDE = 64, 16_384


def gpt() -> tuple[Any, Any, Any]:
    """A GPT of Flax linen: function, shapes of its parameters, inputs."""
    import jax
    from flax import linen

    class Block(linen.Module):
        @linen.compact
        def __call__(self, x: Any) -> Any:
            h = linen.LayerNorm()(x)
            x = x + linen.MultiHeadDotProductAttention(num_heads=HEADS)(h, h)
            h = linen.Dense(4 * WIDTH)(linen.LayerNorm()(x))
            return x + linen.Dense(WIDTH)(linen.gelu(h))

    class GPT(linen.Module):
        @linen.compact
        def __call__(self, ids: Any) -> Any:
            x = linen.Embed(ROWS, WIDTH)(ids)
            for _ in range(BLOCKS):
                x = Block()(x)
            return linen.Dense(ROWS)(linen.LayerNorm()(x))

    model, ids = GPT(), np.arange(16).reshape(1, 16)
    return model.apply, jax.eval_shape(model.init, jax.random.key(0), ids), ids


def residual() -> tuple[Any, Any, Any]:
    """A residual stack of square maps."""
    import jax

    shape: Any = jax.ShapeDtypeStruct

    def net(maps: Any, x: Any) -> Any:
        for weight in maps.values():
            x = x + jax.nn.relu(x @ weight)
        return x

    return net, {f"layer{n}": shape((WIDE, WIDE), "float32") for n in range(LAYERS)}, shape((1, WIDE), "float32")


MODELS: dict[str, Callable[[], tuple[Any, Any, Any]]] = {"linen GPT": gpt, "residual MLP": residual}


def planned(name: str) -> dict[str, float]:
    """Parameters in billions, CPU seconds and peak megabytes of one model."""
    function, shapes, inputs = MODELS[name]()
    begun = time.process_time()
    from fanin.integrations import jax as in_jax

    plan = in_jax.plan(function, shapes, inputs)
    took = time.process_time() - begun
    numbers = sum(float(np.prod(a.shape)) for a in plan.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"billions": numbers / 1e9, "seconds": took, "megabytes": peak}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", choices=MODELS, help=argparse.SUPPRESS)
    one = parser.parse_args().one
    if one:
        print(json.dumps(planned(one)))
        return
    rows = ["| model | parameters | CPU seconds | peak MB |", "|---|---|---|---|"]
    for name in MODELS:
        found = json.loads(module_process("benchmarks.speed.jax_shapes", "--one", name).splitlines()[-1])
        rows.append(f"| {name} | {found['billions']:.1f} B | {found['seconds']:.1f} | {found['megabytes']:.0f} |")
    head = "# JAX models from shapes\n\nTraced and planned without a number in memory: 10 s and 1 GB are asked.\n"
    out = RESULTS / "jax_shapes.md"
    out.write_text(head + in_words(header()) + "\n\n" + "\n".join(rows) + "\n", encoding="utf-8")
    print(out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
