"""Whether a tokenizer is the one that a checkpoint was trained with: with another, all ids mean something else."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.hugging_face_names import CONFIG, TOKENIZER
from megatron_sbp.checkpoint.hugging_face_folder import PROVENANCE
from megatron_sbp.tokenization.tokenizer import ROLES_FILE, TextTokenizer, load_tokenizer


def check_own_tokenizer(checkpoint: Path, tokenizer: TextTokenizer) -> None:
    """Refuses a tokenizer with ids that the model does not have, or with another vocabulary than in training.

    The vocabulary in training is that in provenance.json, which exports write; without it, that of the tokenizer beside
    the weights. A checkpoint that has neither is compared by the number of tokens alone.

    Args:
        checkpoint: Hugging Face checkpoint.
        tokenizer: what its ids are to be read with.

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
            f"{tokenizer.vocabulary_digest[:12]}): the same ids are other text in it",
            file=provenance,
            key="tokenizer",
        )


def _named(tokenizer: TextTokenizer) -> str:
    return f"the tokenizer {tokenizer.source}"
