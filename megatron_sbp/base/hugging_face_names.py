"""Names of files that transformers defines, for everything that reads or writes a folder of its kind."""

from __future__ import annotations

CONFIG, GENERATION_CONFIG = "config.json", "generation_config.json"
"""Of a model."""
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
SPECIAL_TOKENS, ADDED_TOKENS = "special_tokens_map.json", "added_tokens.json"
"""Of a tokenizer."""
