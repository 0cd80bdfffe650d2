"""Rate, time left and acceptance over all workers, from counts on disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from megatron_sbp.base import files
from megatron_sbp.synthesis import live
from megatron_sbp.synthesis.live import Glances, Live, look
from megatron_sbp.synthesis.shard_record import write_record
from megatron_sbp.synthesis.tally import Tally

UNITS = ["00000", "00001", "00002", "00003"]


def tally(texts: int, begun: float, updated: float, fresh: int | None = None, **counts: int) -> Tally:
    fresh = texts if fresh is None else fresh
    return Tally(texts, fresh, updated - begun, begun, updated, **{"min_tokens": 16, **counts})


def half(folder: Path, unit: str, counts: Tally) -> None:
    (folder / f".{unit}.jsonl.zst.unfinished").write_bytes(b'{"identity": "x"}\n' + counts.as_line())


def whole(folder: Path, unit: str, counts: Tally | None) -> None:
    files.write_jsonl_zst(folder / f"{unit}.jsonl.zst", [])
    if counts:
        write_record(folder / f"{unit}.jsonl.zst", "x", counts)


def seen(folder: Path, units=UNITS, documents: int = 100, min_tokens: int = 16, drops: bool = True) -> Live:
    return look(folder, units, documents, min_tokens=min_tokens, drops_unfinished=drops)


def test_nothing_yet(tmp_path):
    found = seen(tmp_path / "none")
    assert (found.done, found.planned, found.rate, found.updated) == (0, 400, 0.0, 0.0)
    assert found.seconds_left is None and str(found) == "0 of 400 documents (0%)"


def test_two_workers_are_twice_as_fast_as_one(tmp_path):
    half(tmp_path, "00000", tally(40, 1000.0, 1020.0))
    assert seen(tmp_path).rate == pytest.approx(2.0)
    half(tmp_path, "00001", tally(60, 1000.0, 1020.0))
    found = seen(tmp_path)
    assert found.rate == pytest.approx(5.0) and found.done == 100 and found.seconds_left == pytest.approx(60)
    assert str(found).startswith("100 of 400 documents (25%), 5.0/s, 1m 00s left")


def test_one_worker_after_another_is_not_two_workers(tmp_path):
    whole(tmp_path, "00000", tally(100, 1000.0, 1050.0))
    half(tmp_path, "00001", tally(40, 1050.0, 1070.0))
    found = seen(tmp_path)
    assert found.rate == pytest.approx(2.0) and found.done == 140 and found.updated == 1070.0


def test_texts_from_before_a_restart_and_the_pause_do_not_count_for_the_rate(tmp_path):
    whole(tmp_path, "00000", tally(100, 1000.0, 1100.0))  # 1/s, before
    half(tmp_path, "00001", tally(90, 1300.0, 1310.0, fresh=10))
    found = seen(tmp_path)
    assert found.done == 190 and found.rate == pytest.approx(110 / 110)


def test_only_the_last_minutes_count(tmp_path):
    whole(tmp_path, "00000", tally(100, 0.0, 100_000.0))  # slow, and reaches into the window
    half(tmp_path, "00001", tally(60, 99_970.0, 100_000.0))
    expected = (100 * live.WINDOW / 100_000 + 60) / live.WINDOW
    assert seen(tmp_path).rate == pytest.approx(expected)


def test_acceptance_counts_what_was_counted_under_the_present_filters(tmp_path):
    whole(tmp_path, "00000", tally(100, 0.0, 10.0, short=10, unfinished=5))
    half(tmp_path, "00001", tally(50, 10.0, 15.0, short=5, unfinished=10))
    half(tmp_path, "00002", tally(50, 10.0, 15.0, short=50, min_tokens=99))
    found = seen(tmp_path)
    assert (found.judged, found.passing) == (150, 120)
    assert str(found).endswith("; of 150, 80.0% pass too_short and unfinished")
    kept = seen(tmp_path, drops=False)
    assert kept.passing == 135 and str(kept).endswith("; of 150, 90.0% pass too_short")
    counted = dataclasses.replace(found, counted=(30, 40))
    assert str(counted).endswith("; of 40 in finished shards, 75.0% pass the filters of single texts")
    assert str(dataclasses.replace(found, counted=(0, 0))) == str(found), "nothing is counted yet"
    assert seen(tmp_path, min_tokens=99).passing == 0 and seen(tmp_path, min_tokens=7).judged == 0


def test_shards_without_counts_and_beyond_the_plan(tmp_path):
    whole(tmp_path, "00000", None)
    half(tmp_path, "00000", tally(100, 0.0, 10.0))  # a kill between two steps: it is in the shard
    whole(tmp_path, "00009", tally(100, 0.0, 10.0))
    half(tmp_path, "00008", tally(50, 0.0, 10.0))
    found = seen(tmp_path)
    assert (found.done, found.judged, found.rate) == (100, 0, 0.0)


def test_of_many_shards_only_some_are_read(tmp_path, monkeypatch):
    units = [f"{number:05d}" for number in range(20)]
    for unit in units:
        whole(tmp_path, unit, tally(100, 0.0, 10.0))
    monkeypatch.setattr(live, "LOOKED_AT", 3)
    found = seen(tmp_path, units)
    assert (found.done, found.judged) == (2000, 300) and "left" not in str(found)


def test_a_worker_looks_seldom():
    looked = []

    def look_once() -> Live:
        looked.append(1)
        return Live(len(looked), 9, 0.0, 0, 0, True, 0.0)

    glance = Glances(look_once, every=3600.0)
    assert glance() == glance() == "all workers: 1 of 9 documents (11%)"
    assert len(looked) == 1
    glance = Glances(look_once, every=0.0, share=float("inf"))
    assert glance() != glance()
