"""Example inputs for models that were given none: from what the model says about itself, or from its first layer.

Every model family is one function in a table that gives candidate calls, most likely first; `capture` takes the first
that runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from fanin.model.calling import Call
from fanin.model.made_up import tensor_source

__all__ = ["example_calls", "how_to_give_inputs"]


_BATCH, _TOKENS = 2, 16


def example_calls(model: Any) -> Iterator[Call]:
    """Candidate (args, kwargs) for a forward call, most likely first."""
    for says in (_own_words, _transformers, _timm, _first_layer):
        yield from says(model)


def how_to_give_inputs(model: Any) -> str:
    """A sentence with forward's signature that shows how to pass inputs."""
    try:
        signature = str(inspect.signature(model.forward))
    except (TypeError, ValueError):
        signature = "(...)"
    return (
        f"no inputs were given for {type(model).__name__}.forward{signature:.300}, and none could be made up. Pass "
        "what forward takes: a tensor (torch.zeros(2, 3, 224, 224)), a tuple of positional arguments, or a dict of "
        "keyword arguments ({'input_ids': torch.zeros(2, 16, dtype=torch.long)}); on the command line --input "
        "2,3,224,224. Only shapes and integers matter."
    )


def _numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=tensor_source())


def _ids(high: int, *shape: int) -> torch.Tensor:
    high = max(high, 2)
    return torch.randint(min(5, high // 2), high, shape, generator=tensor_source())


def _own_words(model: Any) -> Iterator[Call]:
    """Lightning's ``example_input_array``."""
    given = getattr(model, "example_input_array", None)
    if isinstance(given, torch.Tensor):
        yield (given,), {}
    elif isinstance(given, tuple):
        yield given, {}
    elif isinstance(given, dict):
        yield (), given


# ---------------------------------------------------------------------- Hugging Face transformers
def _transformers(model: Any) -> Iterator[Call]:
    config = getattr(model, "config", None)
    if config is None or not hasattr(model, "main_input_name"):
        return
    takes = set(inspect.signature(model.forward).parameters)
    main = str(model.main_input_name)
    for tensors in _hf_inputs(main, config, takes):
        call: dict[str, Any] = dict(tensors)
        if "decoder_input_ids" in takes and getattr(config, "is_encoder_decoder", False):
            call["decoder_input_ids"] = _ids(_of(config, "vocab_size", 100), _BATCH, _TOKENS // 2)
        if "use_cache" in takes:
            call["use_cache"] = False
        yield (), call
    dummy = getattr(model, "dummy_inputs", None)
    if dummy:
        yield (), dict(dummy)


def _of(config: Any, name: str, default: Any) -> Any:
    """An entry of a config or of its text or vision part."""
    for part in (
        config,
        *(getattr(config, n, None) for n in ("text_config", "vision_config", "encoder", "decoder", "audio_config")),
    ):
        found = _attribute(part, name)
        if (found is not None and not isinstance(found, (dict, list))) or isinstance(found, (list, tuple)):
            return found
    return default


def _attribute(part: Any, name: str) -> Any:
    try:
        return getattr(part, name, None)
    except Exception:  # some configs raise errors of their own for entries that differ between layers
        return None


def _hf_inputs(main: str, config: Any, takes: set[str]) -> Iterator[dict[str, Any]]:
    tokens = min(_TOKENS, int(_of(config, "max_position_embeddings", _TOKENS) or _TOKENS))
    text = {"input_ids": _ids(min(int(_of(config, "vocab_size", 100)), 1000), _BATCH, tokens)}
    if main == "input_ids":
        if {"pixel_values"} <= takes and getattr(config, "vision_config", None) is not None:
            yield from ({**text, "pixel_values": image} for image in _hf_images(config))
        yield text
        if "bbox" in takes:
            yield {**text, "bbox": torch.zeros(_BATCH, tokens, 4, dtype=torch.long)}
        if "pixel_values" in takes:
            yield from ({**text, "pixel_values": image} for image in _hf_images(config))
    elif main == "pixel_values":
        yield from ({"pixel_values": image} for image in _hf_images(config))
        yield from ({**text, "pixel_values": image} for image in _hf_images(config))
    elif main == "input_values":
        for shape in (
            (_BATCH, 16_000),
            (_BATCH, 1, 16_000),
            (_BATCH, _of(config, "max_length", 1024), _of(config, "num_mel_bins", 128)),
        ):
            yield {"input_values": _numbers(*shape)}
    elif main == "input_features":
        mels = int(_of(config, "num_mel_bins", _of(config, "input_feat_per_channel", 80)))
        frames = 2 * int(_of(config, "max_source_positions", 64))
        for shape in (
            (_BATCH, mels, frames),
            (_BATCH, 128, mels),
            (_BATCH, 128, int(_of(config, "feature_projection_input_dim", 160))),
        ):
            yield {"input_features": _numbers(*shape)}
    elif main == "past_values":
        length = int(_of(config, "context_length", 64)) + max(_of(config, "lags_sequence", [0]) or [0])
        channels = int(_of(config, "num_input_channels", _of(config, "input_size", 1)))
        for shape in ((_BATCH, length, channels), (_BATCH, length)):
            yield {"past_values": _numbers(*shape)}
    elif main in takes:
        yield {main: _numbers(_BATCH, tokens)}


def _hf_images(config: Any) -> Iterator[torch.Tensor]:
    size = _of(config, "image_size", 224)
    height, width = (size[0], size[-1]) if isinstance(size, (list, tuple)) else (size, size)
    channels = int(_of(config, "num_channels", 3))
    frames = getattr(config, "num_frames", None)
    if isinstance(frames, int):
        yield _numbers(_BATCH, frames, channels, height, width)
    yield _numbers(_BATCH, channels, height, width)


# ---------------------------------------------------------------------- timm
def _timm(model: Any) -> Iterator[Call]:
    config = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    size = config.get("input_size") if isinstance(config, dict) else getattr(config, "input_size", None)
    if size:
        yield (_numbers(_BATCH, *size),), {}


# ---------------------------------------------------------------------- the first layer
def _first_layer(model: Any) -> Iterator[Call]:
    """Shapes that the first layer with weights would take, if forward asks for one argument."""
    if _required_arguments(model) > 1:
        return
    for module in model.modules():
        known = next((kind for kind in _FIRST if isinstance(module, kind)), None)
        if known is not None:
            yield from (((tensor,), {}) for tensor in _FIRST[known](module))
            return


def _required_arguments(model: Any) -> int:
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return 1
    return sum(
        1
        for p in parameters
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    )


def _for_linear(m: Any) -> Iterator[torch.Tensor]:
    yield _numbers(_BATCH, m.in_features)
    yield _numbers(_BATCH, _TOKENS, m.in_features)
    side = round(m.in_features**0.5)
    if side * side == m.in_features:
        yield _numbers(_BATCH, 1, side, side)
    side = round((m.in_features / 3) ** 0.5)
    if 3 * side * side == m.in_features:
        yield _numbers(_BATCH, 3, side, side)


def _for_convolution(rank: int, *sizes: int) -> Callable[[Any], Iterator[torch.Tensor]]:
    def give(m: Any) -> Iterator[torch.Tensor]:
        yield from (_numbers(_BATCH, m.in_channels, *(size,) * rank) for size in sizes)

    return give


def _for_embedding(m: Any) -> Iterator[torch.Tensor]:
    yield _ids(m.num_embeddings, _BATCH, _TOKENS)
    yield _ids(m.num_embeddings, _BATCH)


def _for_recurrent(m: Any) -> Iterator[torch.Tensor]:
    yield _numbers(_BATCH, _TOKENS, m.input_size)
    yield _numbers(_BATCH, m.input_size)


def _for_attention(m: Any) -> Iterator[torch.Tensor]:
    width = m.embed_dim if hasattr(m, "embed_dim") else m.self_attn.embed_dim
    yield _numbers(_BATCH, _TOKENS, width)


_FIRST: dict[type, Callable[[Any], Iterator[torch.Tensor]]] = {
    nn.TransformerEncoderLayer: _for_attention,
    nn.MultiheadAttention: _for_attention,
    nn.Linear: _for_linear,
    nn.Conv1d: _for_convolution(1, 64, 1024, 16_000),
    nn.Conv2d: _for_convolution(2, 64, 32, 224, 28, 84, 256),
    nn.Conv3d: _for_convolution(3, 16, 32),
    nn.ConvTranspose1d: _for_convolution(1, 16),
    nn.ConvTranspose2d: _for_convolution(2, 1, 8),
    nn.ConvTranspose3d: _for_convolution(3, 4),
    nn.Embedding: _for_embedding,
    nn.EmbeddingBag: _for_embedding,
    nn.RNNBase: _for_recurrent,
    nn.RNNCellBase: _for_recurrent,
}
