"""A checkpoint with the parts of Qwen3-Embedding: a decoder, the last token's state, unit length. Random weights."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from megatron_sbp.tokenization.bpe import train_bpe

END = "<|endoftext|>"
TINY = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 32, "initializer_range": 0.2,
}  # fmt: skip
OF_THE_PAPER = {  # Qwen3-Embedding-0.6B
    "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128,
}  # fmt: skip


def save_embedder(
    folder: Path, texts: Sequence[str], limit: int, *, vocabulary: int = 600, shape: Mapping[str, float] = TINY
) -> Path:
    """Writes it; texts end with END, which has the id 0, and are padded on the left.

    Args:
        folder: new.
        texts: its tokenizer is trained on them.
        limit: tokens that it reads.
        vocabulary: of its tokenizer.
        shape: settings of Qwen3Config.
    """
    import torch
    from sentence_transformers import SentenceTransformer, models
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

    inner = folder.with_name(f"{folder.name}-decoder")
    roles = {"end_of_document": END, "padding": "<pad>", "separator": "<sep>"}
    backend = train_bpe(texts, vocabulary, roles).backend
    backend.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 0)])
    PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=END, pad_token=END, padding_side="left", model_max_length=limit
    ).save_pretrained(inner)
    config = Qwen3Config(vocab_size=vocabulary, max_position_embeddings=limit, **shape)
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
