"""Hugging Face models and checkpoints with random weights, made by transformers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.recipe import Model

if TYPE_CHECKING:
    from transformers import Qwen3ForCausalLM


def tiny_qwen3(vocabulary: int, seed: int = 0, **more) -> Qwen3ForCausalLM:
    """A Qwen3 of two layers with random weights, in memory."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = {"tie_word_embeddings": True, **more}
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8, **config,
        )
    ).eval()  # fmt: skip


def hugging_face_model(
    folder: Path, model: Model, rows: int, seed: int = 0, dtype: str = "float32", shards: str = "50GB", **more
) -> Path:
    """Writes a Llama or Qwen3 checkpoint of the recipe's model, its embedding with `rows` rows; returns its folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    kinds = (Qwen3Config, Qwen3ForCausalLM) if model.qk_layernorm else (LlamaConfig, LlamaForCausalLM)
    config = kinds[0](
        vocab_size=rows,
        hidden_size=model.hidden_size,
        intermediate_size=model.ffn_hidden_size,
        num_hidden_layers=model.num_layers,
        num_attention_heads=model.num_attention_heads,
        num_key_value_heads=model.num_query_groups,
        head_dim=model.head_size,
        max_position_embeddings=model.sequence_length,
        rms_norm_eps=model.norm_epsilon,
        tie_word_embeddings=model.tied_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": model.rotary_base},
        bos_token_id=None,
        eos_token_id=None,
        **more,
    )
    torch.manual_seed(seed)
    made = kinds[1](config)
    with torch.no_grad():
        for parameter in made.parameters():  # norms too: all ones would hide a mix-up
            parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.2)
    made.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shards)
    return folder


def shape(tied: bool, norm: bool, heads: int = 6, groups: int = 2, kv_channels: int = 16, layers: int = 3) -> Model:
    """A small model; its heads have a size of their own, not hidden size / heads."""
    return Model(
        num_layers=layers, hidden_size=64, ffn_hidden_size=112, num_attention_heads=heads, num_query_groups=groups,
        sequence_length=64, kv_channels=kv_channels, qk_layernorm=norm, tied_embeddings=tied, norm_epsilon=1e-5,
    )  # fmt: skip


def as_job(model: Model) -> dict:
    """The model as megatron_logits.py reads it."""
    return model.model_dump()


def logits_of(folder: Path, tokens: list[list[int]]):
    """What transformers says with a checkpoint: float32 [batch, sequence, vocabulary]."""
    import torch
    from transformers import AutoModelForCausalLM

    model, problems = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(problems[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), problems
    with torch.inference_mode():
        return model.float()(torch.tensor(tokens)).logits.numpy()
