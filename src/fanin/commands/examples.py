"""Examples of every command, as its help shows them."""

from __future__ import annotations

from types import MappingProxyType

__all__ = ["EXAMPLES", "epilog"]

EXAMPLES = MappingProxyType(
    {
        "check": (
            "fanin check model.py:build",
            "fanin check model.py:build --input '8,16:long<1000'",
            "fanin check model.py:build --optimizer adamw --lr 1e-3",
            "fanin check timm:resnet50 --out report.html",
        ),
        "plan": (
            "fanin plan model.py:build",
            "fanin plan model.py:build --recipe gpt2 --out plan.json",
            "fanin plan model.py:build --tree",
            "fanin plan model.py:build --override 'head.weight=normal(std=0.02)'",
        ),
        "init": ("fanin init model.py:build --out weights.safetensors",),
        "verify": ("fanin verify weights/", "fanin verify weights/ --plan plan.json"),
        "calibrate": ("fanin calibrate model.py:build --out weights.safetensors",),
        "report": ("fanin report watch.jsonl", "fanin report watch.jsonl --out report.html"),
        "explain": (
            "fanin explain model.py:build::fc1.weight",
            "fanin explain S203",
            "fanin explain rules",
        ),
        "diff": (
            "fanin diff old.json new.json",
            "fanin diff plan.json model.py:build",
            "fanin diff a.safetensors b.safetensors",
        ),
        "graph": ("fanin graph model.py:build --out model.svg", "fanin graph model.py:build --plan --out model.svg"),
        "theory": ("fanin theory --phi tanh --depth 50", "fanin theory --phi relu --phase-diagram --plot phases.png"),
        "gain": ("fanin gain relu gelu 'leaky_relu(0.2)'",),
        "lab": ("fanin lab list", "fanin lab one-third --out figures"),
        "playground": ("fanin playground --out page.html", "fanin playground --open"),
        "demo": ("fanin demo --out demo-out",),
    }
)


def epilog(command: str) -> str | None:
    """The examples as the last lines of a command's help, each on a line of its own.

    Example:
        >>> print(epilog("init").replace(chr(8), ""))
        <BLANKLINE>
        Examples:
          fanin init model.py:build --out weights.safetensors
    """
    lines = EXAMPLES.get(command, ())
    # click wraps a paragraph unless it starts with this character
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)]) if lines else None
