"""Collects texts from a streaming engine and saves them to disk soon after each is finished."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from megatron_sbp.synthesis.engine import StreamingEngine, Written
from megatron_sbp.synthesis.generations import Generation, batches
from megatron_sbp.synthesis.unfinished import Unfinished

KEPT_TEXTS, KEPT_SECONDS = 256, 10.0
"""Finished texts are saved after this many texts, or after this many seconds."""


def stream_all(
    engine: StreamingEngine,
    planned: Sequence[Generation],
    prompts: Sequence[np.ndarray],
    *,
    done: Mapping[int, Written],
    advance: Callable[[int], None] | None = None,
    unfinished: Unfinished | None = None,
) -> dict[int, Written]:
    """Generates the missing texts, longest prompts first.

    Args:
        engine: generates them.
        planned: all generations of the shard.
        prompts: of each, integers [n].
        done: texts that exist already, by place in `planned`.
        advance: called with the number of texts written since the last call.
        unfinished: stores finished texts while others are being generated.

    Returns:
        All texts by place in `planned`.
    """
    written = dict(done)
    order = batches(planned, np.array([len(prompt) for prompt in prompts]), max(1, len(planned)))
    missing = [place for batch in order for place in batch if place not in written]
    fresh: list[int] = []
    saved = time.monotonic()

    def keep() -> None:
        nonlocal saved
        places, saved = fresh.copy(), time.monotonic()
        fresh.clear()
        if unfinished is not None and places:
            unfinished.add(places, [written[place] for place in places])

    try:
        for number, text in engine.stream([planned[place] for place in missing], [prompts[place] for place in missing]):
            written[missing[number]] = text
            fresh.append(missing[number])
            if advance:
                advance(1)
            if len(fresh) >= KEPT_TEXTS or time.monotonic() - saved >= KEPT_SECONDS:
                keep()
    finally:
        keep()
    return written
