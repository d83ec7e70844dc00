"""How far a role that fanin finds agrees with what people wrote in `labels.json`, and where it differs on purpose."""

from __future__ import annotations

import math
from fnmatch import fnmatch
from typing import Any

from fanin.graph.roles.data import ParameterRole
from fanin.layout import fans

# a reviewed role -> the roles that say the same or more
SAME_ROLE = {
    "norm": {"norm_scale", "norm_shift"},
    "norm_scale|scale": {"norm_scale", "scale"},
    "weight": {"weight", "embedding", "position", "attn_bias"},
    "wgain": {"gain"},
    "scale": {"scale", "layer_scale", "norm_scale"},
    "shift": {"shift", "position", "bias"},
}
# a reviewed tag -> the tags that say the same or more
SAME_TAG = {"attn_qk": {"attn_q", "attn_k"}, "act": {"act", "router"}}

# (model, parameter, field) patterns where fanin says something else on purpose, and why
ARGUED = {
    ("lowrank_lora", "[24].*", "*"): "a low-rank update is a second summand of the same map: both feed the activation",
    (
        "wavenet_gated",
        "b.[23].skip.weight",
        "*",
    ): "skip outputs are summed side by side; none is added to what it was computed from",
    (
        "hf_detr",
        "*.layers.*_proj.weight",
        "src",
    ): "normalized stream plus positions: fed by a norm (and by positions), not by the raw stream",
    (
        "hf_detr",
        "model.decoder.layers.0.self_attn.o_proj.weight",
        "norm_after",
    ): "added to zero queries: the sum is the first value of the stream",
    (
        "hf_patchtst",
        "model.encoder.embedder.input_embedding.weight",
        "src",
    ): "the input is scaled by its own statistics: a norm",
    (
        "nn_transformer",
        "tr.decoder.layers.*.multihead_attn.in_proj_weight",
        "*",
    ): "one weight for query and memory: three parts, and the depth of its first use",
}


def argued(model: str, name: str, field: str) -> bool:
    """Whether `ARGUED` gives a reason for a difference in this field."""
    return any(fnmatch(model, m) and fnmatch(name, p) and fnmatch(field, f) for m, p, f in ARGUED)


def disagreements(found: ParameterRole, label: dict[str, Any]) -> dict[str, tuple[Any, ParameterRole]]:
    """Fields in which a role differs from a reviewed label."""
    said = {"role": found.role in SAME_ROLE.get(label["role"], {label["role"]})}
    if "tags" in label and label["role"] == "weight":
        use = found.use
        counted = fans(found.shape, found.layout)
        parts = len(found.parts) or 1
        strides = (
            found.layout.stride
            if isinstance(found.layout.stride, tuple)
            else (found.layout.stride,) * len(found.layout.tap_axes)
        )
        decimation = 1
        for s in strides:
            decimation *= 1 if found.layout.transposed else s
        said |= {
            "fan_in": math.isclose(found.fan_in, label["fan_in"], rel_tol=1e-6),
            "fan_out": math.isclose(counted.fan_out * parts * decimation, label["fan_out"], rel_tol=1e-6),
            "tags": has_tags(found, label["tags"]),
            "act": label["act"] is None or has_activation(found, label["act"]),
            "residual": found.writes_residual == label["residual"],
            "norm_after": bool(use.norm_after) == label["norm_after"],
            "src": has_source(found, label["src"]),
            "depth": found.depth == label["depth"],
        }
    return {field: (label.get(field), found) for field, agrees in said.items() if not agrees}


def has_tags(found, reviewed):
    have = {t for tag in found.tags for t in tag.split("+")}
    return all(have & SAME_TAG.get(t, {t}) for tag in reviewed for t in tag.split("+"))


def has_activation(found, reviewed):
    names = {a.name for use in found.uses for a in use.activations} | {
        a.label for use in found.uses for a in use.activations
    }
    if reviewed.startswith("custom"):  # sin(30 x) has a name now
        return "sin" in names
    return all(n in names for n in reviewed.split("|")) or reviewed == "softmax"


def has_source(found, reviewed):
    if reviewed.startswith("act:custom"):
        reviewed = "act:sin(30x)"
    wanted = set(reviewed[4:-1].split("+")) if reviewed.startswith("sum(") else {reviewed}
    same = {"param": {"param", "const"}, "lin": {"lin", "rnn"}}
    return all(set(found.use.feeds) & same.get(w, {w}) for w in wanted if w != "act:sin")
