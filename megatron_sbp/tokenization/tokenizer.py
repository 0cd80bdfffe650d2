"""The package's tokenizer interface: encoding, decoding, and the three tokens with roles."""

from __future__ import annotations

import json
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.hugging_face_names import TOKENIZER, TOKENIZER_CONFIG
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.tokenization.indexed import flatten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer

    from megatron_sbp.tokenization.words import Words

_MUCH_TEXT = 200_000
"""Minimum number of characters that justifies loading compiled code (half a second)."""

ROLES = ("end_of_document", "padding", "separator")
"""Roles of tokens; recipe.tokenizer has a field for each."""

ROLES_FILE = "roles.json"
FILES = (TOKENIZER, TOKENIZER_CONFIG, ROLES_FILE)
"""Files written by `save_tokenizer`."""


class TextTokenizer:
    """A tokenizer that never parses special tokens in text and never adds any.

    Args:
        backend: The `tokenizers` tokenizer. Modified in place: truncation, padding, and the parsing of special tokens
            in text are disabled.
        roles: Role to token text, e.g. {"end_of_document": "<|endoftext|>"}.
        source: Named in error messages.
        separator_text: Text between a seed document and its target if no token has that role.
        before_text: Ids that a model was trained to see before every text, such as a bos token.

    Raises:
        InputError: a role names a token that the vocabulary lacks, or two roles share one.
    """

    def __init__(
        self,
        backend: Tokenizer,
        roles: dict[str, str],
        source: Path | str = "tokenizer",
        *,
        separator_text: str | None = None,
        before_text: Sequence[int] = (),
    ):
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True  # "<|endoftext|>" in a document is ordinary text
        self.backend, self.roles, self.source = backend, dict(roles), source
        self._words: Words | Literal[False] | None = None  # None: not needed yet; False: unsuitable for this tokenizer
        self._ids: dict[str, int] = {}
        for role, token in roles.items():
            number = backend.token_to_id(token)
            if number is None:
                raise InputError(f"token {token!r} is not in the vocabulary", file=source, key=role)
            if number in self._ids.values():
                raise InputError(f"token {token!r} has two roles", file=source, key=role)
            self._ids[role] = number
        self.before_text = tuple(before_text)
        """Ids before every prompt; empty for a run's tokenizer."""
        self._separator_text = separator_text

    def __reduce__(self) -> tuple[object, ...]:
        # For other processes: rebuilt, since a copy of the backend would parse special tokens in text again.
        made = partial(TextTokenizer, separator_text=self._separator_text, before_text=self.before_text)
        return made, (self.backend, self.roles, self.source)

    @property
    def end_of_document(self) -> int:
        """Id of the token that ends every document."""
        return self._ids["end_of_document"]

    @property
    def padding(self) -> int:
        """Id of the token that pads a sequence."""
        return self._ids["padding"]

    @property
    def separator(self) -> int:
        """Id of the token between a seed document and its target."""
        return self._ids["separator"]

    @cached_property
    def between(self) -> list[int]:
        """Ids between a seed document and its target: the separator token, or the tokens of the separator text."""
        if self._separator_text is None:
            return [self.separator]
        return self.encode_batch([self._separator_text])[0]

    @property
    def never_in_text(self) -> tuple[int, ...]:
        """Ids that never occur inside a document: padding and separator, if tokens have these roles."""
        return tuple(self._ids[role] for role in ("padding", "separator") if role in self._ids)

    @cached_property
    def vocab_size(self) -> int:
        """Largest id + 1, added tokens included, not padded."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def dtype(self) -> type[np.uint16] | type[np.int32]:
        """Dtype of ids on disk: uint16 if they fit, with the same margin as in Megatron."""
        return np.uint16 if self.vocab_size <= 65_500 else np.int32

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without special tokens; special-token strings in the text are text.

        Args:
            texts: any strings of valid Unicode (no lone surrogates).
        """
        return [encoding.ids for encoding in self.backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_flat(
        self, texts: Sequence[str], closing: int | None, dtype: type[np.number]
    ) -> tuple[np.ndarray, np.ndarray]:
        """`encode_batch` into one array: the same ids, many times faster for large texts (see words.py).

        Args:
            texts: any strings of valid Unicode (no lone surrogates).
            closing: id appended to every text, or None.
            dtype: of the ids.

        Returns:
            ids [sum of lengths] of that type, lengths int32 [texts].
        """
        if self._words is None and sum(map(len, texts)) >= _MUCH_TEXT:
            from megatron_sbp.tokenization.words import Words, suits

            self._words = Words(self.backend) if suits(self.backend) else False
        if not self._words:
            return flatten(self.encode_batch(texts), closing, dtype)
        return self._words.encode(texts, closing, dtype)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Decodes ids without special tokens; bytes that do not form a character become U+FFFD.

        Ids outside the vocabulary (possible with a padded embedding) are ignored.
        """
        return self.backend.decode(np.asarray(ids).tolist(), skip_special_tokens=True)

    @cached_property
    def has_text(self) -> np.ndarray:
        """bool [vocab_size]: whether an id represents text: False for special tokens and unused ids."""
        found = np.zeros(self.vocab_size, bool)
        found[list(self.backend.get_vocab(with_added_tokens=True).values())] = True
        for number, token in self.backend.get_added_tokens_decoder().items():
            found[number] &= not token.special
        found.setflags(write=False)
        return found

    @cached_property
    def vocabulary_digest(self) -> str:
        """Digest of all tokens with their ids, to check whether a model was trained with this tokenizer.

        Returns:
            32 hexadecimal digits; unchanged if another version of a library saves the files again.
        """
        return files.digest(self.backend.get_vocab(with_added_tokens=True))

    @cached_property
    def starts_character(self) -> np.ndarray:
        """bool [vocab_size]: whether the token's bytes begin at the first byte of a UTF-8 character.

        A text may be truncated before such a token, and nowhere else. True for special tokens and unused ids.
        """
        starts = np.ones(self.vocab_size, bool)
        described = json.loads(self.backend.to_str())
        added = {token["id"] for token in described["added_tokens"]}
        byte_level = _has_type(described["decoder"], "ByteLevel") or _has_type(described["pre_tokenizer"], "ByteLevel")
        for token, number in self.backend.get_vocab(with_added_tokens=True).items():
            if number in added or not token:
                continue
            if byte_level:
                first = _BYTE_OF.get(token[0])
            elif len(token) == 6 and token.startswith("<0x") and token.endswith(">"):  # byte fallback: <0xE2>
                first = int(token[3:5], 16)
            else:
                first = None
            starts[number] = first is None or first & 0b1100_0000 != 0b1000_0000
        starts.setflags(write=False)
        return starts


def load_tokenizer(folder: Path) -> TextTokenizer:
    """Loads RUN/tokenizer.

    Raises:
        InputError: the tokenizer is missing or damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("no such folder", file=folder)
    roles_file, tokenizer_file = folder / ROLES_FILE, folder / TOKENIZER
    for file in (roles_file, tokenizer_file):
        if not file.exists():
            raise InputError("not the tokenizer of a run: the file is missing", file=file)
    return TextTokenizer(read_backend(tokenizer_file), files.read_json(roles_file), source=tokenizer_file)


def read_backend(file: Path) -> Tokenizer:
    """Reads a tokenizer.json; raises InputError if it is damaged."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise InputError(f"not a tokenizer ({error})", file=file) from error


def save_tokenizer(folder: Path, tokenizer: TextTokenizer) -> list[Path]:
    """Writes tokenizer.json, tokenizer_config.json and roles.json, which transformers' AutoTokenizer loads too.

    Returns:
        The files written, each atomically.

    Raises:
        InputError: plain text is encoded to a token with a role, so text and structure would be ambiguous.
    """
    for role, token in tokenizer.roles.items():
        if tokenizer._ids[role] in tokenizer.encode_batch([token])[0]:
            raise InputError(f"plain text {token!r} gives the special token; choose another", key=f"tokenizer.{role}")
    described = json.loads(tokenizer.backend.to_str(pretty=False))
    described["truncation"] = described["padding"] = None
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": tokenizer.roles["end_of_document"],
        "pad_token": tokenizer.roles["padding"],
        "extra_special_tokens": [tokenizer.roles["separator"]],
        "additional_special_tokens": [tokenizer.roles["separator"]],  # the name of the same list in transformers 4
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / name for name in FILES]
    for path, value in zip(written, (described, config, tokenizer.roles), strict=True):
        files.write_json(path, value)
    return written


def _has_type(part: JsonObject | None, name: str) -> bool:
    """Whether a component of tokenizer.json, or a nested one, has that type."""
    if part is None:
        return False
    if part.get("type") == name:
        return True
    return any(_has_type(inner, name) for key in ("decoders", "pretokenizers") for inner in part.get(key, []))


def _byte_of() -> dict[str, int]:
    """Byte-level BPE writes each byte as one printable character: the printable ones of Latin-1 as themselves, the
    others, in order, as the characters from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + place): byte for place, byte in enumerate(others)}


_BYTE_OF = _byte_of()
