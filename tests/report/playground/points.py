"""Numbers of the theory that the page has to give: `python -m tests.report.playground.points` writes them anew."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from fanin.theory import c_map, chi_1, q_map

FILE = Path(__file__).parent / "points.json"
ACTIVATIONS = (
    *("relu", "leaky_relu", "gelu", "silu", "mish", "elu", "selu", "softplus", "tanh", "sigmoid", "hardtanh", "erf"),
    *("sin", "linear"),
)
SETTINGS = ((0.01, 2.0), (0.3, 1.0), (1.0, 1.5), (4.0, 0.5), (30.0, 2.0), (1000.0, 1.0))  # q, sigma_w2
GAPS = (1.6, 1.0, 0.5, 0.1, 0.01, 0.001, 1e-9)  # 1 - c


def asked() -> list[dict]:
    return [
        {"name": name, "q": q, "gap": gap, "sigma2": sigma2}
        for name, (q, sigma2), gap in itertools.product(ACTIVATIONS, SETTINGS, GAPS)
        if name != "sin" or q < 100.0  # the page's sine never gets there: q is at most sigma_w2 / 2
    ]


def answer(point: dict) -> dict:
    name, q, sigma2 = point["name"], point["q"], point["sigma2"]
    return {
        "next": q_map(name, q, sigma_w2=sigma2),
        "chi": chi_1(name, q=q, sigma_w2=sigma2),
        "c": c_map(name, 1.0 - point["gap"], q=q, sigma_w2=sigma2),
    }


if __name__ == "__main__":
    rows = [f"{json.dumps({**point, **answer(point)})}" for point in asked()]
    FILE.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")
