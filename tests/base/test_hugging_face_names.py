"""Names of transformers' files."""

from __future__ import annotations

from megatron_sbp.base import hugging_face_names as names


def test_transformers_uses_these_names():
    from transformers import tokenization_utils_base as tokenizers
    from transformers.utils import CONFIG_NAME, GENERATION_CONFIG_NAME

    assert (names.CONFIG, names.GENERATION_CONFIG) == (CONFIG_NAME, GENERATION_CONFIG_NAME)
    assert (names.TOKENIZER, names.TOKENIZER_CONFIG) == (
        tokenizers.FULL_TOKENIZER_FILE,
        tokenizers.TOKENIZER_CONFIG_FILE,
    )
    assert (names.SPECIAL_TOKENS, names.ADDED_TOKENS) == (
        tokenizers.SPECIAL_TOKENS_MAP_FILE,
        tokenizers.ADDED_TOKENS_FILE,
    )
