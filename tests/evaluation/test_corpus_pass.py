"""D is read once, by any number of processes, and the same is found."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import psutil
import pytest

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.documents.ids import id_of, write_ids
from megatron_sbp.evaluation import shard_reading
from megatron_sbp.evaluation.contamination import Contamination
from megatron_sbp.evaluation.corpus_pass import CorpusPass
from megatron_sbp.evaluation.shard_reading import read_shards
from megatron_sbp.overlap.ngram_novelty import NgramNovelty
from megatron_sbp.overlap.novelty import Overlap
from megatron_sbp.tokenization.encoding import write_texts
from megatron_sbp.tokenization.tokenizer import TextTokenizer

SIZES = (40, 1, 70, 25, 64)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, texts, tokenizer) -> tuple[Path, list[Path], list[str]]:
    """Prefix of the tokens, shards (some with a file of ids), and texts, a few of which are there twice."""
    folder = tmp_path_factory.mktemp("corpus") / "documents" / "train"
    own = [*texts[: sum(SIZES) - 3], *texts[5:8]]
    shards, begin = [], 0
    for number, size in enumerate(SIZES):
        shard = folder / f"{number:05d}.jsonl.zst"
        rows = [{"id": f"d{row}", "text": own[row]} for row in range(begin, begin + size)]
        files.write_jsonl_zst(shard, rows)
        if number % 2:
            with files.open_lines(shard) as lines:
                write_ids(shard, map(id_of, lines))
        shards.append(shard)
        begin += size
    write_texts(own, folder / "tokens", tokenizer)
    return folder / "tokens", shards, own


def read(reading: CorpusPass, shards: list[Path], processes: int | None = None) -> None:
    read_shards(reading, shards, sum(SIZES), "quality: reading D", processes)


def wanted(prefix: Path, texts: list[str], tokenizer: TextTokenizer) -> CorpusPass:
    """Texts that are in D, in part or not at all, and items."""
    overlap, novelty = Overlap(13), NgramNovelty()
    for row, text in enumerate(texts[:20]):
        novelty.add("real", text, row)
        mixed = f"{text[: len(text) // 2]} and then other words that nobody has written {row}"
        for group, one in (("real", text), ("mixed", mixed)):
            overlap.add(group, np.array(tokenizer.encode_batch([one])[0], np.int64), one)
        novelty.add("mixed", mixed)
    long = [text for text in texts if len(text.split()) > 15]
    return CorpusPass(
        prefix, overlap, novelty, Contamination({"test documents": [*long[:5], "words that no entry has " * 4]})
    )


def readers() -> list[psutil.Process]:
    """Processes that are left; Python's resource tracker stays as long as this one."""
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def figures(found: CorpusPass) -> dict:
    return {
        "counts": {
            group: {name: count.tolist() for name, count in part.items()}
            for group, part in found.overlap.counts().items()
        },
        "novel": {group: found.novelty.counts(group).tolist() for group in ("real", "mixed")},
        "items": found.items.figures(),
    }


@pytest.fixture(scope="module")
def alone(corpus, tokenizer) -> dict:
    prefix, shards, own = corpus
    found = wanted(prefix, own, tokenizer)
    read(found, shards, 1)
    return figures(found)


def test_its_memory_is_that_of_all_that_is_looked_for(corpus, tokenizer):
    prefix, _, own = corpus
    found = wanted(prefix, own, tokenizer)
    assert found.bytes == found.overlap.bytes + found.novelty.bytes + found.items.bytes
    assert min(found.overlap.bytes, found.novelty.bytes, found.items.bytes) > 0
    assert CorpusPass(prefix, found.overlap, found.novelty, None).bytes == found.bytes - found.items.bytes


def test_what_one_process_finds(alone, corpus):
    assert alone["items"]["found"]["real"]["test documents"] == 5 and alone["items"]["texts"]["real"] >= 5
    copied = np.array(alone["counts"]["real"]["corpus_copying"])
    assert (copied[:, 0] == copied[:, 1]).all() and copied[:, 1].sum() > 0
    novel = np.array(alone["novel"]["real"])
    # A text that is in D twice has no n-gram of its own; others have some.
    assert (novel[5:8, :, 0] == 0).all() and novel[:5, -1, 0].sum() > 0


@pytest.mark.parametrize("processes", [2, 9])
def test_any_number_of_processes_finds_the_same(corpus, tokenizer, alone, processes):
    prefix, shards, own = corpus
    found = wanted(prefix, own, tokenizer)
    read(found, shards, processes)
    assert figures(found) == alone
    assert not readers()


def test_many_documents_are_read_on_all_cores(corpus, tokenizer, alone, monkeypatch):
    prefix, shards, own = corpus
    monkeypatch.setattr(shard_reading, "FEW", 10)
    seen = []
    real = shard_reading._in_processes
    monkeypatch.setattr(shard_reading, "_in_processes", lambda *given: seen.append(given[1]) or real(*given))
    found = wanted(prefix, own, tokenizer)
    read(found, shards)
    assert figures(found) == alone
    assert len(os.sched_getaffinity(0)) == 1 or len(seen[0]) == min(len(os.sched_getaffinity(0)), len(SIZES))


def test_wrong_input_of_a_part_is_told_as_such(corpus, tokenizer, tmp_path):
    prefix, shards, own = corpus
    damaged = tmp_path / "documents" / "train" / "00000.jsonl.zst"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(shards[-1].read_bytes()[:100])
    write_ids(damaged, ["x"] * SIZES[-1])
    with pytest.raises(InputError, match=r"00000\.jsonl\.zst"):
        read(wanted(prefix, own, tokenizer), [*shards[:-1], damaged], 2)
    assert not readers()
