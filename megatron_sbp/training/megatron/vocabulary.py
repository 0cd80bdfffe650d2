"""The tokenizer properties needed for training on token ids: the vocabulary size and two ids.

For these, Megatron builds a Hugging Face tokenizer in every rank. The import of transformers alone opens thousands of
files and takes a fifth of a rank's startup time on a CPU; when a thousand ranks start, a parallel file system serves
millions of opens. The tokenizer of a run is read without it.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.tokenization.tokenizer import ROLES_FILE, load_tokenizer

if TYPE_CHECKING:
    from megatron.core.tokenizers import MegatronTokenizer

OTHER_WAYS = ("vocab_file", "merge_file", "special_tokens", "metadata_path")
"""Megatron arguments that change the tokenizer loaded from a folder."""


@dataclass(frozen=True)
class Vocabulary:
    """Replaces Megatron's tokenizer if no text is tokenized."""

    folder: str
    """The tokenizer's."""
    vocab_size: int
    """Number of tokens, including added ones, not padded."""
    eod: int
    """Id of the token that ends every document."""
    pad: int
    """Id of the token that pads a sequence."""

    @property
    def unique_identifiers(self) -> JsonObject:
        """Identifies cached indices in Megatron."""
        return {"class": type(self).__name__, "tokenizer_path": [self.folder]}


def build_tokenizer(args: Namespace, **options: object) -> MegatronTokenizer:
    """Like Megatron's `build_tokenizer`: a `Vocabulary` for a run's tokenizer, and Megatron's own for any other.

    Args:
        args: Megatron's arguments; `padded_vocab_size` is set as in Megatron.
        options: for Megatron's function.

    Raises:
        InputError: a run's tokenizer is damaged.
    """
    from megatron.core.tokenizers.utils import build_tokenizer as megatrons

    folder = Path(args.tokenizer_model or "")
    other = any(getattr(args, name, None) for name in OTHER_WAYS)
    if args.tokenizer_type != "HuggingFaceTokenizer" or other or not (folder / ROLES_FILE).is_file():
        return megatrons.build_tokenizer(args, **options)
    tokenizer = load_tokenizer(folder)
    size = tokenizer.backend.get_vocab_size(with_added_tokens=True)
    if args.pad_vocab_size and getattr(args, "padded_vocab_size", None) is None:
        args.padded_vocab_size = megatrons.vocab_size_with_padding(size, args)
    return Vocabulary(str(folder), size, tokenizer.end_of_document, tokenizer.padding)
