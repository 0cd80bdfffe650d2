"""A tiny checkpoint with the parts of Qwen3-Embedding: a decoder, the last token's state, unit length."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from megatron_sbp.tokenization.bpe import train_bpe

END = "<|endoftext|>"


def save_embedder(folder: Path, texts: Sequence[str], limit: int) -> Path:
    """Writes it; texts end with END, which has the id 0, and are padded on the left.

    Args:
        folder: new.
        texts: its tokenizer is trained on them.
        limit: tokens that it reads.
    """
    import torch
    from sentence_transformers import SentenceTransformer, models
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

    inner = folder.with_name(f"{folder.name}-decoder")
    roles = {"end_of_document": END, "padding": "<pad>", "separator": "<sep>"}
    backend = train_bpe(texts, 600, roles).backend
    backend.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 0)])
    PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=END, pad_token=END, padding_side="left", model_max_length=limit
    ).save_pretrained(inner)
    config = Qwen3Config(
        vocab_size=600, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=limit, initializer_range=0.2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        Qwen3Model(config).save_pretrained(inner)
    decoder = models.Transformer(str(inner), max_seq_length=limit)
    pooling = models.Pooling(decoder.get_word_embedding_dimension(), "lasttoken")
    SentenceTransformer(modules=[decoder, pooling, models.Normalize()], device="cpu").save(
        str(folder), create_model_card=False
    )
    shutil.rmtree(inner)
    return folder
