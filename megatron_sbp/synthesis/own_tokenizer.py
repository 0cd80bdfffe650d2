"""Checks that a tokenizer is the one used to train a checkpoint."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.hugging_face_names import CONFIG, TOKENIZER
from megatron_sbp.checkpoint.hugging_face_folder import PROVENANCE
from megatron_sbp.tokenization.tokenizer import ROLES_FILE, TextTokenizer, load_tokenizer


def check_own_tokenizer(checkpoint: Path, tokenizer: TextTokenizer) -> None:
    """Rejects a tokenizer with ids beyond the model's vocabulary, or with a different vocabulary than in training.

    The training vocabulary is recorded in the provenance.json of exports; without it, the tokenizer next to the weights
    is used. If a checkpoint has neither, only the number of tokens is compared.

    Args:
        checkpoint: Hugging Face checkpoint.
        tokenizer: the tokenizer to be used.

    Raises:
        InputError: names both.
    """
    file = checkpoint / CONFIG
    vocabulary = files.read_json(file).get("vocab_size") if file.exists() else None
    if isinstance(vocabulary, int) and vocabulary < tokenizer.vocab_size:
        message = f"{_named(tokenizer)} has {tokenizer.vocab_size:,} tokens, the model {vocabulary:,}"
        raise InputError(message, file=file, key="vocab_size")
    provenance = checkpoint / PROVENANCE
    known = files.read_json(provenance).get("tokenizer") if provenance.exists() else None
    if known is None and (checkpoint / ROLES_FILE).exists():
        provenance = checkpoint / TOKENIZER
        own = load_tokenizer(checkpoint)
        known = {"digest": own.vocabulary_digest, "vocab_size": own.vocab_size}
    if known is not None and known["digest"] != tokenizer.vocabulary_digest:
        raise InputError(
            f"the model was trained with a tokenizer of {known['vocab_size']:,} tokens (digest "
            f"{known['digest'][:12]}), but {_named(tokenizer)} has {tokenizer.vocab_size:,} (digest "
            f"{tokenizer.vocabulary_digest[:12]}): the same ids stand for different text there",
            file=provenance,
            key="tokenizer",
        )


def _named(tokenizer: TextTokenizer) -> str:
    return f"the tokenizer {tokenizer.source}"
