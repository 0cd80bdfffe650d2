"""Texts of an engine that makes its own batches: which are asked for, and which are on disk when it dies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.synthesis import streaming
from megatron_sbp.synthesis.engine import StreamingEngine, Written
from megatron_sbp.synthesis.generations import Generation
from megatron_sbp.synthesis.streaming import stream_all
from megatron_sbp.synthesis.unfinished import Unfinished

PLANNED = [Generation(row, 0) for row in (4, 1, 3, 0, 2)]
PROMPTS = [np.full(length, 7) for length in (2, 9, 5, 9, 3)]


class Backwards:
    """Gives the last text first; a text is its seed document's row and the length of its prompt."""

    settings = None

    def __init__(self, dies_after: int = 10**9):
        self.dies_after, self.asked = dies_after, []

    def stream(self, generations, prompts) -> Iterator[tuple[int, Written]]:
        self.asked = list(generations)
        for told, number in enumerate(reversed(range(len(generations)))):
            if told == self.dies_after:
                raise RuntimeError("out of memory")
            yield number, text_of(generations[number], prompts[number])


def text_of(generation: Generation, prompt: np.ndarray) -> Written:
    return Written(np.array([generation.row, len(prompt)]), finished=generation.row != 3)


def as_lists(texts: dict[int, Written]) -> dict[int, tuple[list[int], bool]]:
    return {place: (text.tokens.tolist(), text.finished) for place, text in texts.items()}


def lines(unfinished: Unfinished) -> list[list[int]]:
    """Places that were put on disk together, in order."""
    values = map(json.loads, unfinished.file.read_text().splitlines())
    return [value["places"] for value in values if "places" in value]


def test_every_text_comes_to_the_place_of_its_generation_whatever_the_order():
    engine, told = Backwards(), []
    assert isinstance(engine, StreamingEngine)
    written = stream_all(engine, PLANNED, PROMPTS, done={}, advance=told.append)
    every = zip(PLANNED, PROMPTS, strict=True)
    assert as_lists(written) == as_lists({place: text_of(*each) for place, each in enumerate(every)})
    assert told == [1] * 5
    # Longest prompts first, those of equal length by row.
    assert [generation.row for generation in engine.asked] == [0, 1, 3, 2, 4]


def test_only_what_is_missing_is_asked_for():
    engine, told = Backwards(), []
    before = {1: Written(np.array([99]), True), 4: Written(np.array([98]), False)}
    written = stream_all(engine, PLANNED, PROMPTS, done=before, advance=told.append)
    assert [generation.row for generation in engine.asked] == [0, 3, 4] and told == [1, 1, 1]
    assert sorted(written) == [0, 1, 2, 3, 4] and written[1] is before[1] and written[4] is before[4]
    assert written[3].tokens.tolist() == [0, 9]
    assert set(before) == {1, 4}, "the caller's mapping stays as it is"


def test_a_shard_without_generations():
    assert stream_all(Backwards(), [], [], done={}) == {}


@pytest.mark.parametrize(
    ("texts", "expected"), [(2, [[0, 4], [2, 1], [3]]), (5, [[0, 4, 2, 1, 3]]), (9, [[0, 4, 2, 1, 3]])]
)
def test_so_many_finished_texts_are_put_on_disk_together(tmp_path, monkeypatch, texts, expected):
    monkeypatch.setattr(streaming, "KEPT_TEXTS", texts)
    unfinished = Unfinished(tmp_path / "00000.jsonl.zst", "x")
    written = stream_all(Backwards(), PLANNED, PROMPTS, done={}, unfinished=unfinished)
    assert lines(unfinished) == expected
    assert as_lists(Unfinished(tmp_path / "00000.jsonl.zst", "x").done) == as_lists(written)


def test_a_text_that_waited_long_enough_is_put_on_disk_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "KEPT_SECONDS", 0.0)
    unfinished = Unfinished(tmp_path / "00000.jsonl.zst", "x")
    stream_all(Backwards(), PLANNED, PROMPTS, done={}, unfinished=unfinished)
    assert lines(unfinished) == [[0], [4], [2], [1], [3]]


def test_an_engine_that_dies_loses_no_finished_text(tmp_path: Path):
    output = tmp_path / "00000.jsonl.zst"
    with pytest.raises(RuntimeError, match="out of memory"):
        stream_all(Backwards(dies_after=3), PLANNED, PROMPTS, done={}, unfinished=Unfinished(output, "x"))
    again, engine = Unfinished(output, "x"), Backwards()
    assert sorted(again.done) == [0, 2, 4]
    written = stream_all(engine, PLANNED, PROMPTS, done=again.done, unfinished=again)
    assert [generation.row for generation in engine.asked] == [0, 1]
    assert as_lists(written) == as_lists(stream_all(Backwards(), PLANNED, PROMPTS, done={}))
    assert sorted(Unfinished(output, "x").done) == [0, 1, 2, 3, 4]


def test_one_who_stops_the_run_loses_no_finished_text(tmp_path):
    """Ctrl-C arrives while the progress is told."""
    unfinished, told = Unfinished(tmp_path / "00000.jsonl.zst", "x"), []

    def interrupted(count: int) -> None:
        told.append(count)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream_all(Backwards(), PLANNED, PROMPTS, done={}, advance=interrupted, unfinished=unfinished)
    assert lines(unfinished) == [[0, 4]]
