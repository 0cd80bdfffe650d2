"""Requests to an OpenAI-compatible endpoint: what is retried, after how long, and what ends the evaluation."""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import openai

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.recipe import JudgeEndpoint

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

KEY = "evaluation.judge_endpoint"

_LONGEST_ASKED = 3600.0
"""Seconds. An endpoint that asks for a longer wait is out of quota."""


@dataclass(frozen=True)
class Pauses:
    """Seconds between tries: twice as long after every fault, and a random part, so that requests do not come back all
    at the same moment."""

    first: float = 1.0
    longest: float = 60.0

    def after(self, faults: int, asked: float | None = None) -> float:
        """Seconds to wait after this many faults in a row, and at least as long as the server asked."""
        seconds = min(self.longest, self.first * 2.0 ** min(faults - 1, 60)) * random.uniform(0.5, 1)
        return seconds if asked is None else max(seconds, asked + self.first * random.random())


class NoAnswer(Exception):
    """The endpoint answered, but not with the text of a model; the message says with what."""


class Refused(NoAnswer):
    """The endpoint refuses this request for good: the text is too long, or filtered for its content."""


class Client:
    """Asks a model; an asynchronous context manager.

    Args:
        endpoint: with `base_url` and `model`.
        key: the API key, which no message repeats; empty for none.
        pauses: between tries.

    Attributes:
        retried: requests that were sent again after a fault.
        structured: whether the server takes `response_format`; None before it has answered.
    """

    def __init__(self, endpoint: JudgeEndpoint, key: str, pauses: Pauses | None = None):
        assert endpoint.base_url is not None and endpoint.model is not None
        self._endpoint, self._key, self._pauses = endpoint, key, pauses or Pauses()
        self._model = endpoint.model
        # The client's own retries are not counted, and ignore a server that asks for a wait of more than a minute.
        self._client = openai.AsyncOpenAI(
            base_url=endpoint.base_url, api_key=key or "none", max_retries=0, timeout=endpoint.timeout
        )
        self.retried = 0
        self.structured: bool | None = None

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._client.close()

    async def ask(self, messages: list[dict[str, str]], form: Mapping[str, JsonValue]) -> str:
        """The words of the model, which may repeat the key: see `redacted`.

        Args:
            messages: the chat.
            form: `response_format`; omitted for servers that refuse it.

        Raises:
            Refused: the endpoint takes other requests, not this one.
            NoAnswer: the reply holds no text of a model.
            InputError: the endpoint refuses all requests, or faults continued until the last try.
        """
        faults = 0
        while True:
            try:
                return await self._once(messages, form)
            except (openai.APIConnectionError, openai.APIStatusError, TimeoutError) as error:
                status = getattr(error, "status_code", None)
                self._check_refusal(error, status)
                faults += 1
                if faults > self._endpoint.max_retries:
                    raise self._error(f"{self._what(error)} (tried {_times(faults)})") from None
                asked = _retry_after(error)
                if asked is not None and asked > _LONGEST_ASKED:
                    raise self._error(f"{self._what(error)}; it asks to wait {asked:,.0f} seconds") from None
                if not self.retried:
                    say(f"the judge: {self._what(error)}; retrying, {_times(self._endpoint.max_retries)} at most")
                self.retried += 1
                await asyncio.sleep(self._pauses.after(faults, asked))

    async def _once(self, messages: list[dict[str, str]], form: Mapping[str, JsonValue]) -> str:
        structured = self.structured is not False
        try:
            said = await self._send(messages, form if structured else None)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if not structured or self.structured:  # it has taken other requests of this form
                raise Refused(self._what(error)) from None
            # Old servers refuse the form of the answer; a request without it shows that the text is not at fault.
            try:
                said = await self._send(messages, None)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as other:
                raise Refused(self._what(other)) from None
            if self.structured is None:
                say("the judge: the endpoint does not accept response_format; answers are read from the text")
            self.structured = False
            return said
        if self.structured is None:
            self.structured = structured
        return said

    async def _send(self, messages: list[dict[str, str]], form: Mapping[str, JsonValue] | None) -> str:
        temperature = self._endpoint.temperature
        options: JsonObject = {} if temperature is None else {"temperature": temperature}
        if form is not None:
            options["response_format"] = form
        try:
            async with asyncio.timeout(self._endpoint.timeout):  # the client's own is per byte
                reply = await self._client.chat.completions.create(
                    model=self._model,
                    messages=messages,  # type: ignore[arg-type]
                    **options,
                )
        except (openai.APIResponseValidationError, ValueError) as error:
            raise NoAnswer(f"no JSON: {type(error).__name__}") from None
        return _words(reply)

    def _check_refusal(self, error: Exception, status: int | None) -> None:
        """Raises InputError for a status that another try will not change."""
        if status in (401, 403):
            variable = self._endpoint.api_key_variable
            which = f"the key in {variable}" if self._key else "a request without a key (api_key_variable is null)"
            raise self._error(f"refuses {which}: {self._what(error)}") from None
        if status == 404:
            raise self._error(f"knows no model {self._model!r}, or base_url is wrong: {self._what(error)}") from None
        if getattr(error, "code", None) == "insufficient_quota":
            raise self._error(self._what(error)) from None
        if status is not None and status not in (408, 409, 425, 429) and status < 500:
            raise Refused(self._what(error)) from None

    def _what(self, error: Exception) -> str:
        """An error in words, without the key: some servers repeat what they were sent."""
        if isinstance(error, TimeoutError | openai.APITimeoutError):
            return f"no complete answer within {self._endpoint.timeout:g} seconds"
        status = getattr(error, "status_code", None)
        if status is None:
            cause = error.__cause__ or error
            what = "cannot be reached" if "Connect" in type(cause).__name__ else "the connection broke"
            return self._without_key(f"{what} ({type(cause).__name__}: {cause})")
        body = getattr(error, "body", None)
        told = body.get("message") if isinstance(body, dict) else None
        return self._without_key(f"HTTP {status}: {told or error}")

    def redacted(self, text: str) -> str:
        """A text without the key, for files and messages."""
        return text.replace(self._key, "***") if self._key else text

    def _without_key(self, text: str) -> str:
        text = self.redacted(text)
        return text if len(text) <= 300 else text[:300] + " ..."

    def _error(self, message: str) -> InputError:
        return InputError(f"the judge at {self._endpoint.base_url}: {message}", key=KEY)


def _words(reply: ChatCompletion) -> str:
    """The text of a reply, which may be anything that a server sent."""
    try:
        content = reply.choices[0].message.content
    except (AttributeError, IndexError, KeyError, TypeError):
        content = None
    if not isinstance(content, str):
        raise NoAnswer("a reply without the text of a model")
    return content


def _retry_after(error: Exception) -> float | None:
    """Seconds that a server asks to wait; None where it does not say."""
    if not isinstance(error, openai.APIStatusError):
        return None
    response = error.response
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        told = response.headers.get(name)
        if told is None:
            continue
        try:
            return max(0.0, float(told) * unit)
        except ValueError:
            pass
        try:
            return max(0.0, email.utils.parsedate_to_datetime(told).timestamp() - time.time())
        except ValueError:
            pass
    return None


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
