"""Tiny models of many architectures of transformers: text, vision, audio, two towers, encoders and decoders."""

from collections.abc import Callable
from typing import Any

import transformers as t

_SIZES = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37}
_TEXT: dict[str, Any] = {"vocab_size": 99, "hidden_size": 32, "max_position_embeddings": 64, **_SIZES}
_PICTURE: dict[str, Any] = {"hidden_size": 32, "image_size": 32, "patch_size": 8, **_SIZES}
_WAVE: dict[str, Any] = {
    "hidden_size": 32, "conv_dim": (16, 16, 16), "conv_kernel": (8, 4, 4), "conv_stride": (4, 2, 2),
    "num_feat_extract_layers": 3, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4, "vocab_size": 32,
    **_SIZES,
}  # fmt: skip
_SEQ2SEQ: dict[str, Any] = {
    "vocab_size": 99, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 37, "decoder_ffn_dim": 37, "max_position_embeddings": 64,
}  # fmt: skip
_T5: dict[str, Any] = {"vocab_size": 99, "d_model": 32, "d_ff": 37, "num_layers": 2, "num_heads": 4, "d_kv": 8,
                       "decoder_start_token_id": 0}  # fmt: skip
_GROUPED: dict[str, Any] = {**_TEXT, "num_key_value_heads": 2}
_STAGES: dict[str, Any] = {"depths": [2, 2, 2, 2], "hidden_sizes": [8, 16, 24, 32]}
_TOWER: dict[str, Any] = {"hidden_size": 32, **_SIZES}


def _of(model_class: Any, config_class: Any, **config: Any) -> Callable[[], Any]:
    return lambda: model_class(config_class(**config))


def _clip(model: Any, config: Any) -> Callable[[], Any]:
    towers = {"text_config": {**_TEXT, "bos_token_id": 97, "eos_token_id": 98}, "vision_config": _PICTURE}
    return lambda: model(config(**towers, projection_dim=16))


ARCHITECTURES: dict[str, Callable[[], Any]] = {
    # encoders of text
    "bert": _of(t.BertForSequenceClassification, t.BertConfig, **_TEXT),
    "roberta": _of(t.RobertaForMaskedLM, t.RobertaConfig, **_TEXT, type_vocab_size=1),
    "xlm-roberta": _of(t.XLMRobertaForTokenClassification, t.XLMRobertaConfig, **_TEXT, type_vocab_size=1),
    "camembert": _of(t.CamembertModel, t.CamembertConfig, **_TEXT, type_vocab_size=1),
    "distilbert": _of(
        t.DistilBertForSequenceClassification,
        t.DistilBertConfig,
        vocab_size=99,
        dim=32,
        n_layers=2,
        n_heads=4,
        hidden_dim=37,
        max_position_embeddings=64,
    ),
    "albert": _of(t.AlbertModel, t.AlbertConfig, embedding_size=16, **_TEXT),
    "electra": _of(t.ElectraForTokenClassification, t.ElectraConfig, embedding_size=16, **_TEXT),
    "deberta": _of(t.DebertaModel, t.DebertaConfig, relative_attention=True, pos_att_type=["c2p", "p2c"], **_TEXT),
    "deberta-v2": _of(
        t.DebertaV2ForSequenceClassification,
        t.DebertaV2Config,
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        position_buckets=8,
        share_att_key=True,
        **_TEXT,
    ),
    "mpnet": _of(t.MPNetModel, t.MPNetConfig, **_TEXT),
    "mobilebert": _of(
        t.MobileBertForQuestionAnswering,
        t.MobileBertConfig,
        embedding_size=32,
        intra_bottleneck_size=32,
        true_hidden_size=32,
        **_TEXT,
    ),
    "squeezebert": _of(
        t.SqueezeBertModel, t.SqueezeBertConfig, embedding_size=32, **{**_TEXT, "intermediate_size": 64}
    ),
    "roformer": _of(t.RoFormerForMaskedLM, t.RoFormerConfig, embedding_size=32, **_TEXT),
    "convbert": _of(t.ConvBertModel, t.ConvBertConfig, embedding_size=32, **_TEXT),
    "nystromformer": _of(
        t.NystromformerModel, t.NystromformerConfig, num_landmarks=64, segment_means_seq_len=64, **_TEXT
    ),
    "modernbert": _of(
        t.ModernBertForMaskedLM,
        t.ModernBertConfig,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
        local_attention=8,
        **_TEXT,
    ),
    "esm": _of(t.EsmModel, t.EsmConfig, pad_token_id=1, mask_token_id=32, **_TEXT),
    "flaubert": _of(
        t.FlaubertModel, t.FlaubertConfig, vocab_size=99, emb_dim=32, n_layers=2, n_heads=4, max_position_embeddings=64
    ),
    # decoders, without a cache
    "gpt2": _of(t.GPT2LMHeadModel, t.GPT2Config, vocab_size=99, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "gpt-neo": _of(
        t.GPTNeoForCausalLM,
        t.GPTNeoConfig,
        vocab_size=99,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=8,
        max_position_embeddings=64,
    ),
    "gpt-neox": _of(t.GPTNeoXForCausalLM, t.GPTNeoXConfig, **_TEXT),
    "gptj": _of(
        t.GPTJForCausalLM, t.GPTJConfig, vocab_size=99, n_embd=32, n_layer=2, n_head=4, n_positions=64, rotary_dim=4
    ),
    "opt": _of(
        t.OPTForCausalLM,
        t.OPTConfig,
        vocab_size=99,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=37,
        max_position_embeddings=64,
        word_embed_proj_dim=32,
    ),
    "bloom": _of(t.BloomForCausalLM, t.BloomConfig, vocab_size=99, hidden_size=32, n_layer=2, n_head=4),
    "llama": _of(t.LlamaForCausalLM, t.LlamaConfig, **_GROUPED),
    "mistral": _of(t.MistralForCausalLM, t.MistralConfig, sliding_window=8, **_GROUPED),
    "qwen2": _of(t.Qwen2ForCausalLM, t.Qwen2Config, **_GROUPED),
    "qwen3": _of(t.Qwen3ForCausalLM, t.Qwen3Config, head_dim=8, **_GROUPED),
    "gemma": _of(t.GemmaForCausalLM, t.GemmaConfig, head_dim=8, **_GROUPED),
    "phi": _of(t.PhiForCausalLM, t.PhiConfig, **_TEXT),
    "phi3": _of(t.Phi3ForCausalLM, t.Phi3Config, pad_token_id=0, **_GROUPED),
    "falcon": _of(
        t.FalconForCausalLM,
        t.FalconConfig,
        vocab_size=99,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
    ),
    "olmo": _of(t.OlmoForCausalLM, t.OlmoConfig, **_GROUPED),
    "stablelm": _of(t.StableLmForCausalLM, t.StableLmConfig, **_GROUPED),
    # encoders with a decoder, and encoders of such
    "t5": _of(t.T5ForConditionalGeneration, t.T5Config, **_T5),
    "t5-encoder": _of(t.T5EncoderModel, t.T5Config, **_T5),
    "mt5-encoder": _of(t.MT5EncoderModel, t.MT5Config, **_T5),
    "bart": _of(t.BartForConditionalGeneration, t.BartConfig, **_SEQ2SEQ),
    "marian": _of(t.MarianMTModel, t.MarianConfig, pad_token_id=1, decoder_start_token_id=1, **_SEQ2SEQ),
    "whisper": _of(
        t.WhisperForConditionalGeneration,
        t.WhisperConfig,
        num_mel_bins=8,
        max_source_positions=20,
        max_target_positions=30,
        pad_token_id=98,
        bos_token_id=98,
        eos_token_id=98,
        decoder_start_token_id=97,
        **{k: v for k, v in _SEQ2SEQ.items() if k != "max_position_embeddings"},
    ),
    # pictures
    "vit": _of(t.ViTForImageClassification, t.ViTConfig, **_PICTURE),
    "deit": _of(t.DeiTModel, t.DeiTConfig, **_PICTURE),
    "beit": _of(t.BeitForImageClassification, t.BeitConfig, use_relative_position_bias=True, **_PICTURE),
    "dinov2": _of(t.Dinov2Model, t.Dinov2Config, **_PICTURE),
    "swin": _of(
        t.SwinForImageClassification,
        t.SwinConfig,
        image_size=32,
        patch_size=4,
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=4,
    ),
    "convnext": _of(t.ConvNextForImageClassification, t.ConvNextConfig, image_size=64, **_STAGES),
    "resnet": _of(
        t.ResNetForImageClassification, t.ResNetConfig, embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]
    ),
    "regnet": _of(
        t.RegNetModel,
        t.RegNetConfig,
        embedding_size=8,
        hidden_sizes=[8, 16, 16, 16],
        depths=[1, 1, 1, 1],
        groups_width=8,
    ),
    "mobilenet-v2": _of(t.MobileNetV2ForImageClassification, t.MobileNetV2Config, image_size=64, depth_multiplier=0.25),
    "mobilevit": _of(
        t.MobileViTForImageClassification,
        t.MobileViTConfig,
        image_size=64,
        hidden_sizes=[16, 24, 32],
        neck_hidden_sizes=[8, 8, 16, 16, 24, 24, 32],
        num_attention_heads=2,
    ),
    "segformer": _of(
        t.SegformerForSemanticSegmentation,
        t.SegformerConfig,
        image_size=64,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
    ),
    "poolformer": _of(
        t.PoolFormerForImageClassification, t.PoolFormerConfig, hidden_sizes=[8, 16, 16, 24], depths=[1, 1, 1, 1]
    ),
    "yolos": _of(
        t.YolosForObjectDetection, t.YolosConfig, num_detection_tokens=5, **{**_PICTURE, "image_size": [32, 48]}
    ),
    "dpt": _of(
        t.DPTForDepthEstimation,
        t.DPTConfig,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=8,
        readout_type="project",
        **{**_PICTURE, "num_hidden_layers": 4},
    ),
    # sound
    "wav2vec2": _of(t.Wav2Vec2ForCTC, t.Wav2Vec2Config, **_WAVE),
    "hubert": _of(t.HubertModel, t.HubertConfig, **_WAVE),
    "wavlm": _of(t.WavLMModel, t.WavLMConfig, **_WAVE),
    "audio-spectrogram": _of(
        t.ASTForAudioClassification,
        t.ASTConfig,
        num_mel_bins=16,
        max_length=32,
        patch_size=8,
        frequency_stride=8,
        time_stride=8,
        hidden_size=32,
        **_SIZES,
    ),
    # two towers
    "clip": _clip(t.CLIPModel, t.CLIPConfig),
    "clip-text": _of(t.CLIPTextModelWithProjection, t.CLIPTextConfig, bos_token_id=97, eos_token_id=98, **_TEXT),
    "clip-vision": _of(t.CLIPVisionModelWithProjection, t.CLIPVisionConfig, **_PICTURE),
    "siglip": _clip(t.SiglipModel, lambda projection_dim, **towers: t.SiglipConfig(**towers)),
}
"""Makes a model of each, by a name."""
