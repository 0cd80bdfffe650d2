"""A server on this machine that speaks the protocol of chat completions, and fails as it is told to."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Asked:
    """One request that came in."""

    seed: str | None
    text: str
    body: dict[str, Any]
    authorization: str
    at: float
    """time.monotonic()."""
    number: int
    """Of the requests about the same text, from 0."""


@dataclass(frozen=True)
class Reply:
    """What the server does about a request.

    Attributes:
        content: words of the model, in a reply of the protocol.
        status: of HTTP.
        raw: the whole body instead.
        headers: more of them.
        seconds: until it comes.
        broken: the connection is closed after half of the body.
        drips: the body comes byte by byte, one in a twentieth of a second.
    """

    content: str | None = ""
    status: int = 200
    raw: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    broken: bool = False
    drips: bool = False


def verdict(factual: str = "yes", relevant: str = "yes") -> Reply:
    """A reply of the right form."""
    return Reply(json.dumps({"reason": "so it is", "factual": factual, "relevant": relevant}))


def refusal(status: int, message: str, **more: Any) -> Reply:
    """An error in the form of the protocol."""
    return Reply(status=status, raw=json.dumps({"error": {"message": message, **more}}))


class ChatServer:
    """Runs in a thread of its own; a context manager.

    Args:
        behave: what is replied to a request.

    Attributes:
        asked: all requests, in the order they came in.
        most_at_once: requests that were under way at the same time.
    """

    def __init__(self, behave: Callable[[Asked], Reply]):
        self.behave, self.most_at_once = behave, 0
        self.asked: list[Asked] = []
        self._loop, self._ready, self._now = asyncio.new_event_loop(), threading.Event(), 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> ChatServer:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *raised: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def texts(self) -> list[str]:
        """Texts that were asked about, in order."""
        return [one.text for one in self.asked]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):  # replies that have not come yet
            task.cancel()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _start(self) -> web.AppRunner:
        application = web.Application()
        application.router.add_post("/v1/chat/completions", self._answer)
        runner = web.AppRunner(application, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self._port = runner.addresses[0][1]
        return runner

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        case = json.loads(body["messages"][-1]["content"])
        number = self.texts().count(case["text"])
        authorization = request.headers.get("Authorization", "")
        asked = Asked(case["seed"], case["text"], body, authorization, time.monotonic(), number)
        self.asked.append(asked)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            return await self._send(request, self.behave(asked))
        finally:
            self._now -= 1

    async def _send(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        await asyncio.sleep(reply.seconds)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": reply.content}}
        whole = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        text = json.dumps(whole) if reply.raw is None else reply.raw
        if not (reply.broken or reply.drips):
            return web.Response(text=text, status=reply.status, headers=reply.headers, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Length": str(len(text)), "Content-Type": "application/json"})
        await response.prepare(request)
        for letter in text if reply.drips else "":
            await response.write(letter.encode())
            await asyncio.sleep(0.05)
        await response.write(text[: len(text) // 2].encode())
        assert request.transport is not None
        request.transport.close()
        return response
