"""Builds a run's tokenizer from its settings: trained on documents, or loaded from Hugging Face."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.recipe import Tokenizer
from megatron_sbp.tokenization.bpe import MIN_VOCAB_SIZE, train_bpe
from megatron_sbp.tokenization.hugging_face import adopt_tokenizer
from megatron_sbp.tokenization.tokenizer import ROLES, TextTokenizer


def build_tokenizer(
    settings: Tokenizer, texts: Iterable[str], *, folder: Path | None = None, source: Path | None = None
) -> TextTokenizer:
    """Loads the tokenizer that `settings.path` names, or trains a byte-level BPE if there is no path.

    Args:
        settings: the recipe's tokenizer section.
        texts: training documents for the BPE, in order.
        folder: location of `settings.path`; None treats the path as a Hugging Face hub name.
        source: file that the settings were read from, for messages.

    Raises:
        InputError: a role without a token or two roles with the same one, a vocabulary that is too small, or a
            tokenizer that cannot be loaded.
    """
    roles = {role: getattr(settings, role) for role in ROLES}
    for place, role in enumerate(ROLES):
        if not roles[role] or roles[role] in list(roles.values())[:place]:
            raise InputError(f"{roles[role]!r} is empty or used for two roles", key=f"tokenizer.{role}")
    if settings.path is None:
        return _train(settings, roles, texts, source)
    tokenizer = adopt_tokenizer(folder or settings.path, roles)
    given = ", ".join(f"{role} {token}" for role, token in tokenizer.roles.items())
    say(f"tokenizer: {settings.path}, {tokenizer.vocab_size:,} entries; {given}")
    return tokenizer


def _train(settings: Tokenizer, roles: dict[str, str], texts: Iterable[str], source: Path | None) -> TextTokenizer:
    if settings.vocab_size < MIN_VOCAB_SIZE:
        raise InputError(
            f"must be at least {MIN_VOCAB_SIZE} (256 bytes and {len(roles)} special tokens), not {settings.vocab_size}",
            file=source,
            key="tokenizer.vocab_size",
        )
    tokenizer = train_bpe(texts, settings.vocab_size, roles, settings.train_characters)
    if tokenizer.vocab_size < settings.vocab_size:
        say(
            f"tokenizer: byte-level BPE, {tokenizer.vocab_size:,} entries: the train split has no more merges than "
            f"that (tokenizer.vocab_size is {settings.vocab_size:,})"
        )
    else:
        say(f"tokenizer: byte-level BPE, {tokenizer.vocab_size:,} entries")
    return tokenizer
