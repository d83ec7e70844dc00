"""Architectures of Hugging Face transformers, built small from their configurations."""

import torch

from zoo.registry import images, numbers, register, token_ids


def from_config(model, config, **settings):
    import transformers

    return getattr(transformers, model)(getattr(transformers, config)(**settings))


@register
def hf_gpt2():
    return from_config(
        "GPT2LMHeadModel", "GPT2Config", vocab_size=128, n_positions=64, n_embd=64, n_layer=3, n_head=4
    ), {"input_ids": token_ids(), "use_cache": False}


@register
def hf_llama():
    return from_config(
        "LlamaForCausalLM",
        "LlamaConfig",
        vocab_size=128,
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
    ), {"input_ids": token_ids(), "use_cache": False}


@register
def hf_qwen3():
    return from_config(
        "Qwen3ForCausalLM",
        "Qwen3Config",
        vocab_size=128,
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
    ), {"input_ids": token_ids(), "use_cache": False}


@register
def hf_gemma3():
    return from_config(
        "Gemma3ForCausalLM",
        "Gemma3TextConfig",
        vocab_size=128,
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        sliding_window=8,
    ), {"input_ids": token_ids(), "use_cache": False}


@register
def hf_phi():
    return from_config(
        "PhiForCausalLM",
        "PhiConfig",
        vocab_size=128,
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
    ), {"input_ids": token_ids(), "use_cache": False}


@register
def hf_bloom():
    return from_config("BloomForCausalLM", "BloomConfig", vocab_size=128, hidden_size=64, n_layer=3, n_head=4), {
        "input_ids": token_ids(),
        "use_cache": False,
    }


@register
def hf_cohere():
    return from_config(
        "CohereForCausalLM",
        "CohereConfig",
        vocab_size=128,
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
    ), {"input_ids": token_ids(), "use_cache": False}


@register
def hf_mixtral():
    return from_config(
        "MixtralForCausalLM",
        "MixtralConfig",
        vocab_size=128,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
    ), {"input_ids": token_ids(), "use_cache": False}


@register
def hf_mamba():
    return from_config(
        "MambaForCausalLM", "MambaConfig", vocab_size=128, hidden_size=64, num_hidden_layers=3, state_size=8
    ), {"input_ids": token_ids(), "use_cache": False}


@register
def hf_rwkv():
    return from_config(
        "RwkvForCausalLM", "RwkvConfig", vocab_size=128, hidden_size=64, num_hidden_layers=3, context_length=64
    ), {"input_ids": token_ids(), "use_cache": False}


@register
def hf_xlstm():
    return from_config(
        "xLSTMForCausalLM",
        "xLSTMConfig",
        vocab_size=128,
        hidden_size=64,
        num_hidden_layers=2,
        num_heads=4,
        chunk_size=16,
    ), {"input_ids": token_ids(), "use_cache": False}


@register
def hf_bert():
    return from_config(
        "BertForSequenceClassification",
        "BertConfig",
        vocab_size=128,
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
    ), {"input_ids": token_ids()}


@register
def hf_deberta_v2():
    return from_config(
        "DebertaV2ForMaskedLM",
        "DebertaV2Config",
        vocab_size=128,
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        max_relative_positions=32,
    ), {"input_ids": token_ids()}


@register
def hf_albert():
    return from_config(
        "AlbertModel",
        "AlbertConfig",
        vocab_size=128,
        embedding_size=32,
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
    ), {"input_ids": token_ids()}


@register
def hf_fnet():
    return from_config(
        "FNetModel",
        "FNetConfig",
        vocab_size=128,
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=3,
        max_position_embeddings=64,
    ), {"input_ids": token_ids()}


@register
def hf_t5():
    return from_config(
        "T5ForConditionalGeneration",
        "T5Config",
        vocab_size=128,
        d_model=64,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_heads=4,
    ), {"input_ids": token_ids(), "decoder_input_ids": token_ids(2, 8), "use_cache": False}


@register
def hf_whisper():
    return from_config(
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        vocab_size=128,
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        num_mel_bins=16,
        max_source_positions=32,
        max_target_positions=32,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    ), {"input_features": numbers(2, 16, 64), "decoder_input_ids": token_ids(2, 8), "use_cache": False}


@register
def hf_vit():
    return from_config(
        "ViTForImageClassification",
        "ViTConfig",
        image_size=32,
        patch_size=8,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
    ), {"pixel_values": images()}


@register
def hf_swin():
    return from_config(
        "SwinForImageClassification",
        "SwinConfig",
        image_size=32,
        patch_size=2,
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=4,
    ), {"pixel_values": images()}


@register
def hf_convnextv2():
    return from_config(
        "ConvNextV2ForImageClassification",
        "ConvNextV2Config",
        image_size=32,
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 2, 1],
    ), {"pixel_values": images(size=64)}


@register
def hf_resnet():
    return from_config(
        "ResNetForImageClassification",
        "ResNetConfig",
        embedding_size=16,
        hidden_sizes=[32, 64, 96, 128],
        depths=[2, 2, 2, 2],
    ), {"pixel_values": images()}


@register
def hf_segformer():
    return from_config(
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 3, 4],
        decoder_hidden_size=32,
    ), {"pixel_values": images(size=64)}


@register
def hf_clip():
    import transformers

    c = transformers.CLIPConfig(
        text_config={
            "vocab_size": 128,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 32,
            "eos_token_id": 2,
            "bos_token_id": 1,
            "pad_token_id": 0,
        },
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
        },
        projection_dim=32,
    )
    return transformers.CLIPModel(c), {"input_ids": token_ids(2, 16), "pixel_values": images()}


@register
def hf_wav2vec2():
    return from_config(
        "Wav2Vec2ForCTC",
        "Wav2Vec2Config",
        vocab_size=32,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        conv_dim=(32, 32, 32),
        conv_stride=(5, 2, 2),
        conv_kernel=(10, 3, 3),
        num_feat_extract_layers=3,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    ), {"input_values": numbers(2, 2000)}


@register
def hf_patchtst():
    return from_config(
        "PatchTSTForPrediction",
        "PatchTSTConfig",
        num_input_channels=3,
        context_length=64,
        patch_length=8,
        patch_stride=8,
        prediction_length=12,
        d_model=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=64,
    ), {"past_values": numbers(2, 64, 3)}


@register
def hf_opt():
    return from_config(
        "OPTForCausalLM",
        "OPTConfig",
        vocab_size=128,
        hidden_size=64,
        ffn_dim=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        word_embed_proj_dim=64,
        max_position_embeddings=64,
    ), {"input_ids": token_ids(), "use_cache": False}


@register
def hf_modernbert():
    return from_config(
        "ModernBertForMaskedLM",
        "ModernBertConfig",
        vocab_size=128,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
    ), {"input_ids": token_ids()}


@register
def hf_bart():
    return from_config(
        "BartForConditionalGeneration",
        "BartConfig",
        vocab_size=128,
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_position_embeddings=64,
    ), {"input_ids": token_ids(), "decoder_input_ids": token_ids(2, 8), "use_cache": False}


@register
def hf_detr():
    import transformers

    bc = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1], out_features=["stage4"]
    )
    c = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=bc,
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        num_queries=10,
    )
    return transformers.DetrForObjectDetection(c), {
        "pixel_values": images(size=64),
        "pixel_mask": torch.ones(2, 64, 64, dtype=torch.long),
    }
