"""Size of a vocabulary, read from tokenizer.json without any tokenizer library."""

from __future__ import annotations

import json
from pathlib import Path

from megatron_sbp.base.errors import InputError


def vocab_size_of(tokenizer_json: Path) -> int:
    """Largest id + 1 in a tokenizer.json; raises InputError for any other file."""
    try:
        tree = json.loads(tokenizer_json.read_text(encoding="utf-8"))
        vocab = tree["model"].get("vocab") or {}
        # BPE and WordPiece map tokens to ids; Unigram lists its tokens in order.
        largest = max(vocab.values(), default=-1) if isinstance(vocab, dict) else len(vocab) - 1
        return max([largest, *(token["id"] for token in tree.get("added_tokens", []))]) + 1
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        message = f"is not a tokenizer of Hugging Face's tokenizers ({type(error).__name__}: {error})"
        raise InputError(message, file=tokenizer_json) from error
