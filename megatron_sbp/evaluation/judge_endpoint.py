"""A judge that is a model behind an OpenAI-compatible endpoint, asked about one text at a time, several at once.

`evaluation.judge_endpoint` names it. Answers are kept by what was asked (`judge_answers`), so that a second measurement
asks nothing, and one that was interrupted continues. `factual` and `relevant` are True, False, or no opinion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.judge_answers import Answers
from megatron_sbp.evaluation.judge_client import KEY, Client, NoAnswer, Pauses, Refused
from megatron_sbp.evaluation.judge_file import api_key
from megatron_sbp.evaluation.judge_prompt import (
    Answer,
    endpoint_settings,
    messages,
    prompt_digest,
    read_answer,
    response_format,
)
from megatron_sbp.evaluation.opinions import Case, Judge, Opinion
from megatron_sbp.recipe import JudgeEndpoint, Recipe

TRIES = 3
"""Times that a text is asked about until an answer can be read."""


class EndpointJudge(Judge):
    """A model behind an endpoint: see `load_endpoint`.

    Args:
        endpoint: with `base_url` and `model`.
        api_key: sent with every request; empty for none.
        answers: those that are kept.
        pauses: between tries after a fault.
    """

    def __init__(self, endpoint: JudgeEndpoint, api_key: str, answers: Answers, pauses: Pauses | None = None):
        self._endpoint, self._api_key, self._answers, self._pauses = endpoint, api_key, answers, pauses
        self._counts = dict.fromkeys(("asked", "cached", "malformed", "no_answer", "retried"), 0)
        self._structured: bool | None = None
        self._met: set[str] = set()

    def about(self) -> JsonObject:
        """`model`, `base_url`, `prompt` (its digest), `temperature`, and `structured`: whether the endpoint held
        answers to a form, None where nothing was asked.

        Counts of this measurement: different texts that were `asked` about, and `cached` ones, whose answers had been
        kept before; answers that could not be read (`malformed`), and texts that got no other (`no_answer`); requests
        that were `retried` after a fault.
        """
        return {
            "model": self._endpoint.model,
            "base_url": self._endpoint.base_url,
            "prompt": prompt_digest(),
            "temperature": self._endpoint.temperature,
            "structured": self._structured,
            **self._counts,
        }

    def opinions(self, cases: Sequence[Case], progress: Progress) -> list[dict[str, Opinion]]:
        keys = [self._key(case) for case in cases]
        missing = {key: case for key, case in zip(keys, cases, strict=True) if key not in self._answers}
        self._counts["cached"] += len({*keys} - missing.keys() - self._met)
        self._met |= {*keys}
        progress.advance(len(cases) - len(missing))
        if missing:
            asyncio.run(self._ask_all(missing, int(self._endpoint.max_malformed * len({*keys})), progress))
        return [_opinions(case, self._answers[key]) for case, key in zip(cases, keys, strict=True)]

    def _key(self, case: Case) -> str:
        """Digest of all that an answer depends on."""
        return files.digest([endpoint_settings(self._endpoint), case.seed, case.text])

    async def _ask_all(self, missing: Mapping[str, Case], spared: int, progress: Progress) -> None:
        """Asks about texts, by key; `spared` of them may remain without a readable answer."""
        unread: dict[str, str] = {}
        async with Client(self._endpoint, self._api_key, self._pauses) as client:
            client.structured = self._structured

            async def work(waiting: Iterator[tuple[str, Case]]) -> None:
                for key, case in waiting:
                    self._counts["asked"] += 1
                    why = await self._ask(client, key, case)
                    if why is not None:
                        unread[key] = why
                        if len(unread) > spared:
                            raise self._too_many(len(unread), spared, why)
                    progress.advance()

            waiting = iter(missing.items())
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(self._endpoint.requests_at_once, len(missing))):
                        group.create_task(work(waiting))
            except BaseExceptionGroup as failed:
                raise failed.exceptions[0] from None
            finally:
                self._counts["retried"] += client.retried
                self._structured = client.structured
        # Kept only now: if there are too many of them, the endpoint will be fixed and asked again.
        for key, why in unread.items():
            self._counts["no_answer"] += 1
            self._answers.add(key, {"factual": None, "relevant": None}, why)

    async def _ask(self, client: Client, key: str, case: Case) -> str | None:
        """Keeps the answer about a text; returns what came instead if it could not be read."""
        why, refused = "", False
        for _ in range(TRIES):
            try:
                said = await client.ask(messages(case.seed, case.text), response_format())
            except NoAnswer as error:
                why, refused = str(error), isinstance(error, Refused)
            else:
                answer = read_answer(said)
                said = client.redacted(said)
                if answer is not None:
                    self._answers.add(key, answer, said)
                    return None
                why = f"{said:.200}"
            self._counts["malformed"] += 1
            if refused:
                break
        return why

    def _too_many(self, unread: int, spared: int, why: str) -> InputError:
        return InputError(
            f"the judge {self._endpoint.model} gave no readable answer about {unread:,} texts, and "
            f"max_malformed {self._endpoint.max_malformed:g} allows {spared:,}; the last was: {why}",
            key=KEY,
        )


def load_endpoint(recipe: Recipe, answers: Path | None, pauses: Pauses | None = None) -> EndpointJudge:
    """The judge that `evaluation.judge_endpoint` names; nothing is sent yet.

    Args:
        recipe: with an endpoint.
        answers: file of kept answers, or None.
        pauses: between tries after a fault.

    Raises:
        InputError: see `judge_file.api_key`.
    """
    return EndpointJudge(recipe.evaluation.judge_endpoint, api_key(recipe), Answers(answers), pauses)


def _opinions(case: Case, answer: Answer) -> dict[str, Opinion]:
    """A text without a seed document has no relevance, whatever the model says."""
    known = {name: right for name, right in answer.items() if name == "factual" or case.seed is not None}
    return {name: (0.0, 1.0) if right else (1.0, 1.0) for name, right in known.items() if right is not None}
