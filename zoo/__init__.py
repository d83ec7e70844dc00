"""Architectures that fanin is tested on: `zoo()` builds them, `reviewed_labels()` says what people see in them."""

import json
from pathlib import Path
from typing import Any

from zoo.registry import BUILDERS, Builder

FAST = (
    "hf_gpt2",
    "hf_llama",
    "hf_gemma3",
    "hf_mixtral",
    "hf_mamba",
    "hf_bert",
    "hf_t5",
    "hf_swin",
    "hf_detr",
    "timm_vit_tiny",
    "timm_nfnet",
    "mlp_relu",
    "lstm_lm",
    "unet",
    "siren",
    "functional_raw_params",
    "weight_normed",
    "shared_twice",
    "einsum_attention",
    "data_dependent",
    "custom_autograd",
    "dlrm",
    "gru_classifier",
    "spectral_normed",
    "mha_module",
)


def zoo() -> dict[str, Builder]:
    """All builders; transformers and timm are imported where a model of theirs is built."""
    make_torchvision_importable()
    from zoo import plain_models, timm_models, transformers_models  # noqa: F401

    return BUILDERS


def reviewed_labels() -> dict[str, dict[str, dict[str, Any]]]:
    """What reviewers say of every parameter: role, and for weights fans, what follows, what feeds, depth.

    A row is ``[role, shape, fan_in, fan_out, tags, act, residual, norm_after, src, depth]``; others the first two.
    """
    keys = ("role", "shape", "fan_in", "fan_out", "tags", "act", "residual", "norm_after", "src", "depth")
    table = json.loads((Path(__file__).parent / "labels.json").read_text())
    return {model: {p: dict(zip(keys, row, strict=False)) for p, row in rows.items()} for model, rows in table.items()}


def make_torchvision_importable() -> None:
    """A CUDA build of torchvision beside a CPU torch fails to import unless its operators are declared first."""
    import torch

    if hasattr(torch.ops.torchvision, "nms"):
        return
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(library)


_KEPT: list[Any] = []
