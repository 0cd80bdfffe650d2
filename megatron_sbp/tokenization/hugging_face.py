"""An existing tokenizer, adapted to a run."""

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
    """Loads a Hugging Face tokenizer and gives its tokens the roles.

    A role gets the wanted token where the vocabulary has it; otherwise end-of-document gets the tokenizer's eos token
    and padding its pad token, unless that is taken by another role; otherwise the wanted token is added as a new last
    id. Tokens that the tokenizer puts around text by itself (bos) are switched off: documents are trained without.

    Args:
        source: folder, or name on the Hugging Face hub (from the local cache; see hub.py).
        wanted: token text of every role, as in the recipe.
        add_missing: whether tokens may be added; without, roles that find no token are left out.
        key: recipe key that error messages name.

    Raises:
        InputError: no such tokenizer, or one that has no `tokenizers` form.
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
    """A tokenizer for the stand-alone tools: RUN/tokenizer, or any Hugging Face folder or name, nothing added to it.

    Args:
        source: folder or name.
        end_of_document: token text; None takes that of the run's tokenizer or the eos token.

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
    """The tokenizer of any causal model that is to write related texts.

    Args:
        folder: of the checkpoint. With the tokenizer of a run in it, nothing else has to be said.
        source: folder or name of the tokenizer; None takes `folder`.
        separator: what is put between a seed document and the text to write: a special token of the tokenizer, or any
            text. None takes the token that has this role in roles.json.
        end_of_document: token that ends a text; None takes that of roles.json, or the eos token.

    Returns:
        A tokenizer to which nothing was added. Where there is no roles.json, prompts begin with what the tokenizer puts
        before a text by itself (bos), and its pad token is never written unless it also ends texts.

    Raises:
        InputError: no such tokenizer; it has no token that ends a text, or nothing that separates. Names the option
            that gives it.
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
            f"'{place}' names no eos token, so that nothing has the role end_of_document, which ends a text; "
            "--end-of-document TOKEN gives it",
            key="--end-of-document",
        )
    between = own.get("separator") if separator is None else separator
    if between is None:
        raise InputError(
            f"'{place}' has no {ROLES_FILE}, so that nothing has the role separator, which is between a seed document "
            "and the text to write; --separator gives it: a special token, or any text",
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
    """A Hugging Face tokenizer with a `tokenizers` form; raises InputError where there is none."""
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
    except Exception as error:  # it raises OSError, ValueError, KeyError and others, all meaning the same here
        first_line = str(error).strip().split("\n")[0]
        raise InputError(f"no tokenizer can be loaded from '{source}' ({first_line})", key=key) from error
    finally:
        logging.set_verbosity(verbosity)
    if not getattr(theirs, "is_fast", False):
        raise InputError(f"'{source}' has no fast tokenizer (tokenizer.json)", key=key)
    return theirs


def _put_before_text(backend: Tokenizer) -> list[int]:
    """Ids that a tokenizer puts before a text by itself."""
    text = "text"
    whole, inner = (backend.encode(text, add_special_tokens=special).ids for special in (True, False))
    starts = (start for start in range(len(whole)) if whole[start : start + len(inner)] == inner)
    return whole[: next(starts, 0)]


def _special(token: str) -> AddedToken:
    from tokenizers import AddedToken

    return AddedToken(token, special=True, normalized=False)


def _without_template(backend: Tokenizer) -> Tokenizer:
    """The tokenizer without its post-processor, where that one adds tokens."""
    from tokenizers import Tokenizer

    described = json.loads(backend.to_str())
    described["post_processor"] = None
    return Tokenizer.from_str(json.dumps(described, ensure_ascii=False))
