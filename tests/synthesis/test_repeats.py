"""Duplicates over many shards, found search by search."""

from __future__ import annotations

import resource
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.overlap.near_duplicates import band_keys, near_duplicates, signatures
from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis.judged import PARTS, Judged
from megatron_sbp.synthesis.repeats import find_repeats, join_repeats, searches

WORDS = [f"word{number}" for number in range(300)]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Texts, copies of some, and copies with one other word, shuffled."""
    random = np.random.default_rng(5)
    plain = [" ".join(random.choice(WORDS, 40)) for _ in range(60)]
    nearly = [text.replace(text.split()[3], "otherwise", 1) for text in plain[:20]]
    every = plain + plain[:10] + nearly
    return [every[place] for place in random.permutation(len(every))]


def shards_of(texts: list[str], cuts: list[int], folder: Path) -> list[Judged]:
    made = []
    for number, some in enumerate(np.split(np.arange(len(texts)), cuts)):
        shard = Judged(*(folder / f"{part}-{number}.npy" for part in PARTS))
        mine = [texts[place] for place in some]
        signed = signatures(mine)
        np.save(shard.digests, np.array([hash(text) for text in mine], np.int64).view(np.uint64))
        np.save(shard.signatures, signed)
        np.save(shard.bands, band_keys(signed))
        made.append(shard)
    return made


def joined(shards: list[Judged], rules: Filter, folder: Path) -> list[int]:
    """Numbers of the repeats among all texts."""
    found = []
    for search in reversed(searches(rules)):
        found.append(folder / f"{search}.npy")
        find_repeats(search, shards, found[-1], rules)
    outputs = [folder / f"repeats-{number}.npy" for number in range(len(shards))]
    count = join_repeats(found, shards, outputs)
    begins = np.cumsum([0, *(len(np.load(shard.digests)) for shard in shards)])
    all_found = np.concatenate([np.load(file) + begin for file, begin in zip(outputs, begins, strict=False)])
    assert count == len(all_found)
    return all_found.tolist()


@pytest.mark.parametrize("cuts", [[], [1, 1, 50], [30, 60, 80]])
def test_near_duplicates_are_those_of_all_texts_at_once(texts, tmp_path, cuts):
    shards = shards_of(texts, cuts, tmp_path)
    repeats = joined(shards, Filter(duplicates="near", duplicate_threshold=0.6), tmp_path)
    assert repeats == np.flatnonzero(near_duplicates(signatures(texts), 0.6)).tolist()
    assert 25 <= len(repeats) <= 30


def test_equal_texts_only_and_none(texts, tmp_path):
    shards = shards_of(texts, [40], tmp_path)
    assert searches(Filter(duplicates="exact")) == ["exact"]
    again = [place for place, text in enumerate(texts) if text in texts[:place]]
    assert joined(shards, Filter(duplicates="exact"), tmp_path) == again and len(again) == 10
    assert joined(shards, Filter(duplicates="keep"), tmp_path) == []


def test_no_text_at_all(tmp_path):
    assert joined(shards_of([], [], tmp_path), Filter(duplicates="near"), tmp_path) == []


def test_there_may_be_more_shards_than_a_process_may_have_files_open(texts, tmp_path):
    """Nor more maps of files: Linux allows 65,530."""
    shards = shards_of(texts, list(range(1, len(texts))), tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = {int(number.name) for number in Path("/proc/self/fd").iterdir()}
    resource.setrlimit(resource.RLIMIT_NOFILE, (sorted(set(range(soft)) - taken)[30], hard))  # 30 files more
    try:
        near = joined(shards, Filter(duplicates="near", duplicate_threshold=0.6), tmp_path)
        exact = joined(shards, Filter(duplicates="exact"), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert near == np.flatnonzero(near_duplicates(signatures(texts), 0.6)).tolist() and len(exact) == 10


def test_joining_takes_a_byte_per_generation_however_many_searches_found_it(tmp_path):
    shards = [Judged(*(tmp_path / f"{part}-{number}.npy" for part in PARTS)) for number in range(2)]
    for shard in shards:
        np.save(shard.digests, np.zeros(100_000, np.uint64))
    found = [tmp_path / f"band-{number}.npy" for number in range(20)]
    for file in found:
        np.save(file, np.arange(1, 200_000))
    outputs = [tmp_path / f"repeats-{number}.npy" for number in range(2)]
    tracemalloc.start()
    assert join_repeats(found, shards, outputs) == 199_999
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [np.load(output).tolist() for output in outputs] == [[*range(1, 100_000)], [*range(100_000)]]
    assert peak < 5_000_000  # of one search 1.6 MB; of all 32 MB
