"""Adapts an existing tokenizer to a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.hub import check_available, go_offline, offline
from megatron_sbp.tokenization.tokenizer import ROLES, ROLES_FILE, TextTokenizer, load_tokenizer

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast


def adopt_tokenizer(
    source: Path | str, wanted: dict[str, str], add_missing: bool = True, key: str | None = "tokenizer.path"
) -> TextTokenizer:
    """Loads a Hugging Face tokenizer and assigns roles to its tokens.

    A role gets the requested token if the vocabulary has it; otherwise, end-of-document gets the tokenizer's eos token
    and padding its pad token, unless another role has that token; otherwise, the requested token is added as a new last
    id. Tokens that the tokenizer adds around text (bos) are disabled: documents are trained without them.

    Args:
        source: folder, or name on the Hugging Face hub (from the local cache; see hub.py).
        wanted: token text of every role, as in the recipe.
        add_missing: whether tokens may be added; if not, roles without a token are omitted.
        key: recipe key for error messages.

    Raises:
        InputError: no such tokenizer, or it has no fast (`tokenizers`) version.
    """
    theirs = _load_theirs(source, key)
    backend = _without_template(theirs.backend_tokenizer)
    roles: dict[str, str] = {}
    own = {"end_of_document": theirs.eos_token, "padding": theirs.pad_token}
    for role in ROLES:
        token = wanted[role]
        if backend.token_to_id(token) is None and own.get(role) and own[role] not in roles.values():
            token = own[role]
        if backend.token_to_id(token) is None and not add_missing:
            continue
        roles[role] = token
    # Also marks existing tokens as special, so that decoding leaves them out.
    backend.add_special_tokens([_special(token) for token in roles.values()])
    return TextTokenizer(backend, roles, source=source)


def open_tokenizer(source: str, end_of_document: str | None = None) -> TextTokenizer:
    """Opens a tokenizer for the standalone tools, RUN/tokenizer or any Hugging Face folder or name, without adding
    tokens.

    Args:
        source: folder or name.
        end_of_document: token text; None uses the end-of-document token of the run's tokenizer or the eos token.

    Raises:
        InputError: no such tokenizer, or it has no end-of-document token.
    """
    if (Path(source) / ROLES_FILE).exists() and end_of_document is None:
        return load_tokenizer(Path(source))
    nothing = dict.fromkeys(ROLES, "")
    tokenizer = adopt_tokenizer(source, {**nothing, "end_of_document": end_of_document or ""}, False, "--tokenizer")
    found = tokenizer.roles.get("end_of_document")
    if found is None or (end_of_document and found != end_of_document):
        raise InputError(
            f"'{source}' has no token {end_of_document!r}" if end_of_document else f"'{source}' has no eos token",
            key="--end-of-document",
        )
    return tokenizer


def open_synthesizer_tokenizer(
    folder: Path, source: str | None = None, separator: str | None = None, end_of_document: str | None = None
) -> TextTokenizer:
    """Opens the tokenizer of any causal model used as a synthesizer.

    Args:
        folder: of the checkpoint. If it contains a run's tokenizer, no other argument is needed.
        source: folder or name of the tokenizer; None uses `folder`.
        separator: placed between a seed document and the text to generate: a special token of the tokenizer, or any
            text. None uses the token with this role in roles.json.
        end_of_document: token that ends a text; None uses the one in roles.json, or the eos token.

    Returns:
        The tokenizer, without added tokens. Without roles.json, prompts begin with the tokens that the tokenizer adds
        before a text (bos), and its pad token is never generated unless it also ends texts.

    Raises:
        InputError: no such tokenizer; it has no end-of-text token or no separator. Names the option that sets it.
    """
    if separator == "":
        raise InputError("is empty", key="--separator")
    if source is None and not folder.is_dir():
        raise InputError("no such folder", file=folder)
    place = str(source or folder)
    file = Path(place) / ROLES_FILE
    if file.exists() and separator is None and end_of_document is None:
        return load_tokenizer(Path(place))
    own: dict[str, str] = files.read_json(file) if file.exists() else {}
    theirs = _load_theirs(place, "--tokenizer")
    end = end_of_document or own.get("end_of_document") or theirs.eos_token
    if end is None:
        raise InputError(
            f"'{place}' has no eos token to use as end_of_document; name one with --end-of-document TOKEN",
            key="--end-of-document",
        )
    between = own.get("separator") if separator is None else separator
    if between is None:
        raise InputError(
            f"'{place}' has no {ROLES_FILE}, so no token is the separator between a seed document and its text; name "
            "one with --separator: a special token, or any text",
            key="--separator",
        )
    added = {token.content for token in theirs.added_tokens_decoder.values() if token.special}
    if between == end or between not in added:
        roles, text = {"end_of_document": end}, between
    else:
        roles, text = {"end_of_document": end, "separator": between}, None
    padding = own.get("padding") or theirs.pad_token
    if padding is not None and padding not in roles.values():
        roles["padding"] = padding
    before = () if own else _put_before_text(theirs.backend_tokenizer)
    backend = _without_template(theirs.backend_tokenizer)
    if backend.token_to_id(end) is None:
        raise InputError(f"'{place}' has no token {end!r}", key="--end-of-document")
    backend.add_special_tokens([_special(token) for token in roles.values()])
    return TextTokenizer(backend, roles, place, separator_text=text, before_text=before)


def _load_theirs(source: Path | str, key: str | None) -> PreTrainedTokenizerFast:
    """Loads a Hugging Face tokenizer that has a fast (`tokenizers`) version; raises InputError if there is none."""
    if str(source).startswith((".", "/", "~")) and not Path(source).is_dir():
        raise InputError("no such folder", file=source, key=key)
    go_offline()
    if not Path(source).is_dir():
        check_available(str(source), key)
    from transformers import AutoTokenizer
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        theirs = AutoTokenizer.from_pretrained(str(source), local_files_only=offline())
    except Exception as error:  # raises OSError, ValueError, KeyError, and others, all with the same meaning here
        first_line = str(error).strip().split("\n")[0]
        raise InputError(f"no tokenizer can be loaded from '{source}' ({first_line})", key=key) from error
    finally:
        logging.set_verbosity(verbosity)
    if not getattr(theirs, "is_fast", False):
        raise InputError(f"'{source}' has no fast tokenizer (tokenizer.json)", key=key)
    return theirs


def _put_before_text(backend: Tokenizer) -> list[int]:
    """Ids that a tokenizer adds before a text."""
    text = "text"
    whole, inner = (backend.encode(text, add_special_tokens=special).ids for special in (True, False))
    starts = (start for start in range(len(whole)) if whole[start : start + len(inner)] == inner)
    return whole[: next(starts, 0)]


def _special(token: str) -> AddedToken:
    from tokenizers import AddedToken

    return AddedToken(token, special=True, normalized=False)


def _without_template(backend: Tokenizer) -> Tokenizer:
    """Removes the post-processor if it adds tokens."""
    from tokenizers import Tokenizer

    described = json.loads(backend.to_str())
    described["post_processor"] = None
    return Tokenizer.from_str(json.dumps(described, ensure_ascii=False))
