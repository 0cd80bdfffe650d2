"""What a model is asked about a text, and how its answer is read. The prompt is prompts/judge.txt."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe import JudgeEndpoint

_FOLDER = Path(__file__).with_name("prompts")
_PROMPT, _SCHEMA = _FOLDER / "judge.txt", _FOLDER / "judge.schema.json"
_WORDS = {"yes": True, "no": False, "unclear": None}

type Answer = dict[str, bool | None]
"""`factual` and `relevant`; None where it cannot be told."""


def prompt_digest() -> str:
    """SHA-256, in hexadecimal, of the prompt and of the form of the answer."""
    return hashlib.sha256(_PROMPT.read_bytes() + _SCHEMA.read_bytes()).hexdigest()


def endpoint_settings(endpoint: JudgeEndpoint) -> JsonObject:
    """What an answer depends on besides the text: `model`, `prompt` (its digest), `temperature`."""
    return {"model": endpoint.model, "prompt": prompt_digest(), "temperature": endpoint.temperature}


def messages(seed: str | None, text: str) -> list[dict[str, str]]:
    """The chat that asks about one text. The text is JSON, so that it cannot pretend to end early."""
    case = json.dumps({"seed": seed, "text": text}, ensure_ascii=False)
    return [{"role": "system", "content": _PROMPT.read_text("utf-8")}, {"role": "user", "content": case}]


def response_format() -> JsonObject:
    """The form of the answer, for servers that can hold a model to it."""
    schema = json.loads(_SCHEMA.read_text("utf-8"))
    return {"type": "json_schema", "json_schema": {"name": "judgment", "strict": True, "schema": schema}}


def read_answer(said: str) -> Answer | None:
    """The last JSON object of the right form in an answer; None where there is none.

    A server without `response_format` lets a model think aloud first, and put its answer into a fence.
    """
    decoder, found, place = json.JSONDecoder(), None, said.find("{")
    while place >= 0:
        end = place + 1
        try:
            value, end = decoder.raw_decode(said, place)
        except (ValueError, RecursionError):
            value = None
        found = _form(value) or found
        place = said.find("{", end)
    return found


def _form(value: object) -> Answer | None:
    if not isinstance(value, dict):
        return None
    words = {name: str(value.get(name)).strip().lower() for name in ("factual", "relevant")}
    return {name: _WORDS[word] for name, word in words.items()} if {*words.values()} <= {*_WORDS} else None
