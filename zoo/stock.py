"""Stock models of transformers and timm, small, as users call them: caches on, their own initialization, no download.

`stock()` builds them. The zoo proper (`zoo.zoo`) holds models whose structure people have reviewed; these are more of
the same libraries, to see that what fanin says of one family holds for the next.
"""

from collections.abc import Callable
from typing import Any

import torch

from zoo.registry import Builder, images, numbers, token_ids

LLAMA = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
BERT = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
IMAGE = {"image_size": 32, "patch_size": 8}
SEQ2SEQ = {
    "d_model": 64,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
}
STAGES = {"hidden_sizes": [16, 32], "depths": [1, 1]}

# name: (model, configuration, settings); called on token ids
TEXT: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {"n_positions": 64, "n_embd": 64, "n_layer": 2, "n_head": 4}),
    "llama": ("LlamaForCausalLM", "LlamaConfig", LLAMA),
    "mistral": ("MistralForCausalLM", "MistralConfig", LLAMA),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", BERT),
    "gpt_neo": (
        "GPTNeoForCausalLM",
        "GPTNeoConfig",
        {
            "hidden_size": 64,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "max_position_embeddings": 64,
        },
    ),
    "gpt_j": (
        "GPTJForCausalLM",
        "GPTJConfig",
        {"n_embd": 64, "n_layer": 2, "n_head": 4, "rotary_dim": 8, "n_positions": 64},
    ),
    "opt": (
        "OPTForCausalLM",
        "OPTConfig",
        {
            "hidden_size": 64,
            "ffn_dim": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
            "word_embed_proj_dim": 64,
        },
    ),
    "bert": ("BertForMaskedLM", "BertConfig", BERT),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", {**BERT, "max_position_embeddings": 64}),
    "distilbert": (
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        {"dim": 64, "hidden_dim": 96, "n_layers": 2, "n_heads": 4},
    ),
    "electra": ("ElectraModel", "ElectraConfig", {**BERT, "embedding_size": 32}),
    "albert": ("AlbertForMaskedLM", "AlbertConfig", {**BERT, "embedding_size": 32}),
    "deberta_v2": (
        "DebertaV2Model",
        "DebertaV2Config",
        {**BERT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    ),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", {**LLAMA, "head_dim": 16}),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", {**LLAMA, "head_dim": 16}),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", LLAMA),
    "qwen3_moe": (
        "Qwen3MoeForCausalLM",
        "Qwen3MoeConfig",
        {**LLAMA, "head_dim": 16, "moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2},
    ),
    "olmo": ("OlmoForCausalLM", "OlmoConfig", LLAMA),
    "olmo2": ("Olmo2ForCausalLM", "Olmo2Config", LLAMA),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", {**LLAMA, "pad_token_id": 0}),
    "stablelm": ("StableLmForCausalLM", "StableLmConfig", LLAMA),
    "starcoder2": ("Starcoder2ForCausalLM", "Starcoder2Config", LLAMA),
    "bloom": ("BloomForCausalLM", "BloomConfig", {"hidden_size": 64, "n_layer": 2, "n_head": 4}),
    "mpt": ("MptForCausalLM", "MptConfig", {"d_model": 64, "n_heads": 4, "n_layers": 2, "max_seq_len": 64}),
    "falcon": (
        "FalconForCausalLM",
        "FalconConfig",
        {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    ),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", {**LLAMA, "num_local_experts": 4}),
    "mamba": ("MambaForCausalLM", "MambaConfig", {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8}),
    "mamba2": (
        "Mamba2ForCausalLM",
        "Mamba2Config",
        {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "state_size": 16,
            "num_heads": 8,
            "head_dim": 16,
            "n_groups": 1,
            "chunk_size": 8,
        },
    ),
    "xlnet": ("XLNetLMHeadModel", "XLNetConfig", {"d_model": 64, "n_layer": 2, "n_head": 4, "d_inner": 96}),
    "longformer": ("LongformerModel", "LongformerConfig", {**BERT, "attention_window": 8}),
    "bart": ("BartForConditionalGeneration", "BartConfig", {**SEQ2SEQ, "max_position_embeddings": 64}),
}

# called on images of 32 pixels
VISION: dict[str, tuple[str, str, dict[str, Any]]] = {
    "vit": ("ViTForImageClassification", "ViTConfig", {**BERT, **IMAGE}),
    "dinov2": (
        "Dinov2Model",
        "Dinov2Config",
        {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, **IMAGE},
    ),
    "swin": (
        "SwinForImageClassification",
        "SwinConfig",
        {
            "embed_dim": 16,
            "depths": [1, 1],
            "num_heads": [2, 4],
            "image_size": 32,
            "patch_size": 2,
            "window_size": 4,
        },
    ),
    "segformer": (
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        {
            **STAGES,
            "num_encoder_blocks": 2,
            "sr_ratios": [4, 2],
            "patch_sizes": [7, 3],
            "strides": [4, 2],
            "num_attention_heads": [1, 2],
            "mlp_ratios": [2, 2],
            "decoder_hidden_size": 32,
        },
    ),
    "hf_resnet18": ("ResNetForImageClassification", "ResNetConfig", {**STAGES, "embedding_size": 16}),
    "hf_convnext": ("ConvNextForImageClassification", "ConvNextConfig", {**STAGES, "num_stages": 2}),
}

TIMM = (
    "resnet18",
    "resnet26",
    "densenet121",
    "mobilenetv2_050",
    "mobilenetv3_small_050",
    "efficientnet_lite0",
    "regnetx_002",
    "regnety_002",
    "vgg11",
    "convnext_atto",
    "ghostnet_050",
    "mnasnet_small",
    "resnext26ts",
    "ese_vovnet19b_dw",
    "hardcorenas_a",
    "lcnet_035",
    "deit_tiny_patch16_224",
    "deit3_small_patch16_224",
    "vit_tiny_patch16_224",
    "mixer_s32_224",
    "poolformer_s12",
    "edgenext_xx_small",
)
_WITH_SIZE = ("deit", "vit", "mixer")


def _text(model: str, config: str, settings: dict[str, Any]) -> Builder:
    def build() -> tuple[torch.nn.Module, dict[str, Any]]:
        import transformers

        made = getattr(transformers, config)(vocab_size=128, **settings)
        return getattr(transformers, model)(made), {"input_ids": token_ids()}

    return build


def _vision(model: str, config: str, settings: dict[str, Any]) -> Builder:
    def build() -> tuple[torch.nn.Module, dict[str, Any]]:
        import transformers

        return getattr(transformers, model)(getattr(transformers, config)(**settings)), {"pixel_values": images()}

    return build


def _timm(name: str) -> Builder:
    def build() -> tuple[torch.nn.Module, dict[str, Any]]:
        import timm

        size = {"img_size": 64} if name.startswith(_WITH_SIZE) else {}
        return timm.create_model(name, pretrained=False, num_classes=10, **size), {"x": images(batch=4, size=64)}

    return build


class _LowRank(torch.nn.Module):
    """A frozen linear map with a trained product of two thin maps beside it, the second one zero at the start."""

    def __init__(self, base: torch.nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = torch.nn.Linear(base.in_features, rank, bias=False)
        self.up = torch.nn.Linear(rank, base.out_features, bias=False)
        torch.nn.init.zeros_(self.up.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + 2.0 * self.up(self.down(x))


def _lora() -> tuple[torch.nn.Module, dict[str, Any]]:
    model, inputs = _text(*TEXT["llama"])()
    model.requires_grad_(False)
    for name, module in list(model.named_modules()):
        if name.endswith(("q_proj", "v_proj")):
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, _LowRank(module))
    return model, inputs


def _t5() -> tuple[torch.nn.Module, dict[str, Any]]:
    import transformers

    config = transformers.T5Config(
        vocab_size=128, d_model=64, d_ff=96, num_layers=2, num_heads=4, d_kv=16, decoder_start_token_id=0
    )
    return transformers.T5ForConditionalGeneration(config), {"input_ids": token_ids(), "labels": token_ids()}


def _clip() -> tuple[torch.nn.Module, dict[str, Any]]:
    import transformers

    config = transformers.CLIPConfig(
        text_config={**BERT, "vocab_size": 128, "max_position_embeddings": 32, "eos_token_id": 2},
        vision_config={**BERT, **IMAGE},
        projection_dim=32,
    )
    return transformers.CLIPModel(config), {"input_ids": token_ids(), "pixel_values": images()}


def _wav2vec2() -> tuple[torch.nn.Module, dict[str, Any]]:
    import transformers

    config = transformers.Wav2Vec2Config(
        **BERT,
        conv_dim=(32, 32),
        conv_stride=(5, 2),
        conv_kernel=(10, 3),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        mask_time_prob=0.0,
    )
    return transformers.Wav2Vec2Model(config), {"input_values": numbers(2, 2000)}


def _whisper() -> tuple[torch.nn.Module, dict[str, Any]]:
    import transformers

    config = transformers.WhisperConfig(
        **SEQ2SEQ,
        vocab_size=128,
        num_mel_bins=16,
        max_source_positions=32,
        max_target_positions=32,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    model = transformers.WhisperForConditionalGeneration(config)
    return model, {"input_features": numbers(2, 16, 64), "decoder_input_ids": token_ids()}


def _patchtst() -> tuple[torch.nn.Module, dict[str, Any]]:
    import transformers

    config = transformers.PatchTSTConfig(
        num_input_channels=2,
        context_length=32,
        patch_length=8,
        stride=8,
        d_model=32,
        num_attention_heads=4,
        num_hidden_layers=2,
        ffn_dim=64,
        prediction_length=8,
    )
    return transformers.PatchTSTForPrediction(config), {"past_values": numbers(4, 32, 2)}


OTHERS: dict[str, Callable[[], tuple[torch.nn.Module, dict[str, Any]]]] = {
    "lora": _lora,
    "t5": _t5,
    "clip": _clip,
    "wav2vec2": _wav2vec2,
    "whisper": _whisper,
    "patchtst": _patchtst,
}


def stock() -> dict[str, Builder]:
    """Builders of (model, keyword arguments of one call) by name."""
    from zoo import make_torchvision_importable

    make_torchvision_importable()
    return {
        **{name: _text(*how) for name, how in TEXT.items()},
        **{name: _vision(*how) for name, how in VISION.items()},
        **OTHERS,
        **{f"timm_{name}": _timm(name) for name in TIMM},
    }
