"""Size of a vocabulary, read from tokenizer.json without any tokenizer library."""

from __future__ import annotations

import json
from pathlib import Path


def vocab_size_of(tokenizer_json: Path) -> int:
    """Largest id + 1 in a tokenizer.json."""
    tree = json.loads(tokenizer_json.read_text(encoding="utf-8"))
    vocab = tree["model"].get("vocab") or {}
    # BPE and WordPiece map tokens to ids; Unigram lists its tokens in order.
    largest = max(vocab.values(), default=-1) if isinstance(vocab, dict) else len(vocab) - 1
    return max([largest, *(token["id"] for token in tree.get("added_tokens", []))]) + 1
