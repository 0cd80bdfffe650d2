"""Tiny models with random weights, in the formats of real ones. The same texts and shapes give the same files."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from megatron_sbp.base.quiet import quiet_libraries
from megatron_sbp.checkpoint.hugging_face_config import write_config
from megatron_sbp.recipe import Model, Tokenizer
from megatron_sbp.tokenization.bpe import train_bpe
from megatron_sbp.tokenization.hugging_face import adopt_tokenizer
from megatron_sbp.tokenization.tokenizer import ROLES, TextTokenizer, save_tokenizer

_ROLES = {role: f"<|{role}|>" for role in ROLES}
_WORDS = 1024
"""Entries of a made-up tokenizer."""


def make_embedder(folder: Path, texts: Sequence[str], max_tokens: int, seed: int) -> None:
    """Writes a sentence-transformers model: a BERT of two layers, and the mean over its last one.

    Args:
        folder: new.
        texts: its tokenizer is trained on them.
        max_tokens: that it reads at most.
        seed: of its weights.
    """
    import torch

    with quiet_libraries():
        from sentence_transformers import SentenceTransformer, models
        from transformers import BertConfig, BertModel

        inner = folder.with_name(f"{folder.name}-bert")
        words = _save_for_transformers(train_bpe(texts, _WORDS, _ROLES), inner, max_tokens)
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        config = BertConfig(vocab_size=words, max_position_embeddings=max_tokens + 8, initializer_range=0.5, **sizes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            BertModel(config).save_pretrained(inner)
        layer = models.Transformer(str(inner), max_seq_length=max_tokens)
        pooling = models.Pooling(layer.get_word_embedding_dimension(), "mean")
        SentenceTransformer(modules=[layer, pooling], device="cpu").save(str(folder), create_model_card=False)
    shutil.rmtree(inner)


def make_start(
    folder: Path, model: Model, settings: Tokenizer, *, texts: Sequence[str], tokenizer: Path | str | None, seed: int
) -> None:
    """Writes a Hugging Face checkpoint (Qwen3 with QK-norm, else Llama) of a model's shape, with a tokenizer.

    Args:
        folder: new.
        model: its shape.
        settings: the tokens of every role.
        texts: on which a tokenizer is trained where none is given.
        tokenizer: folder or name on the hub.
        seed: of its weights.
    """
    import torch

    with quiet_libraries():
        from transformers import AutoConfig, AutoModelForCausalLM

        roles = {role: getattr(settings, role) for role in ROLES}
        own = train_bpe(texts, _WORDS, roles) if tokenizer is None else adopt_tokenizer(tokenizer, roles)
        config = write_config(model, own, "float32")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            causal = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
        causal.save_pretrained(folder)
        save_tokenizer(folder, own)


def _save_for_transformers(tokenizer: TextTokenizer, folder: Path, max_tokens: int) -> int:
    """Writes a tokenizer that AutoTokenizer loads; returns its entries."""
    from transformers import PreTrainedTokenizerFast

    padding, closing = _ROLES["padding"], _ROLES["end_of_document"]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend, pad_token=padding, eos_token=closing)
    fast.model_max_length = max_tokens
    fast.save_pretrained(folder)
    return tokenizer.vocab_size
