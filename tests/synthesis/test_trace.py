"""Where a text comes from, found in files written by hand; a whole run is in tests/stages/test_tracing.py."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base import arrays, files
from megatron_sbp.overlap.near_duplicates import signatures
from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis import trace as trace_module
from megatron_sbp.synthesis.generations import Generation, generations
from megatron_sbp.synthesis.judged import PASSED
from megatron_sbp.synthesis.judging import digest_of
from megatron_sbp.synthesis.rule_names import RULES
from megatron_sbp.synthesis.trace import PENDING, TraceSources, trace, unknown
from megatron_sbp.tokenization.encoding import write_texts
from megatron_sbp.tokenization.tokenizer import save_tokenizer

DOCUMENTS, SEED, PER_SHARD = 10, 3, 4
PLANNED = generations(0, 12, DOCUMENTS, SEED)


def row_of(generation: Generation, text: str, **more) -> dict:
    known = {"seed_id": f"d{generation.row}", "seed_row": generation.row, "generation": generation.number}
    sampling = {"synthesizer": "ab" * 32, "temperature": 1.0, "top_p": 0.9, "run_seed": SEED, "ids_digest": "x"}
    return {"id": generation.name, "text": text, "tokens": 20, "finished": True, **known, **sampling, **more}


@pytest.fixture
def sources(tmp_path, texts, tokenizer) -> TraceSources:
    """Two of three shards are written; nothing is filtered."""
    save_tokenizer(tmp_path / "tokenizer", tokenizer)
    write_texts(texts[:DOCUMENTS], tmp_path / "real", tokenizer)
    shard = tmp_path / "documents" / "00000.jsonl.zst"
    files.write_jsonl_zst(shard, ({"id": f"d{row}", "text": text} for row, text in enumerate(texts[:DOCUMENTS])))
    for number in range(2):
        planned = PLANNED[number * PER_SHARD : (number + 1) * PER_SHARD]
        rows = (row_of(generation, texts[20 + PLANNED.index(generation)]) for generation in planned)
        files.write_jsonl_zst(tmp_path / "generations" / f"{number:05d}.jsonl.zst", rows)
    return TraceSources(
        generations=tmp_path / "generations", verdicts=tmp_path / "verdicts", digests=tmp_path / "digests",
        signatures=tmp_path / "signatures", repeats=tmp_path / "repeats", filtered=False, documents=[shard],
        tokens=tmp_path / "real", tokenizer=tmp_path / "tokenizer", pairs=None,
        rules=Filter(min_tokens=4, max_copying=1, max_repetition=1), shingle_tokens=13, seed=SEED,
        generations_per_shard=PER_SHARD,
    )  # fmt: skip


def test_every_generation_is_found_with_its_shard_and_its_seed_document(sources, texts):
    for place, generation in enumerate(PLANNED[: 2 * PER_SHARD]):
        found = trace(generation.name, sources)
        assert (found["id"], found["text"]) == (generation.name, texts[20 + place])
        assert found["shard"] == f"{place // PER_SHARD:05d}.jsonl.zst" and found["pairs"] is None
        assert (found["seed"]["id"], found["seed"]["row"]) == (f"d{generation.row}", generation.row)
        assert found["seed"]["text"] == texts[generation.row]
        assert found["filters"]["verdict"] == PENDING and found["filters"]["repeats"] is None


def test_sampling_holds_what_the_row_says_of_its_origin(sources):
    assert trace(PLANNED[0].name, sources)["sampling"] == {
        "round": 1, "generation": 0, "synthesizer": "ab" * 32, "temperature": 1.0, "top_p": 0.9, "run_seed": SEED,
    }  # fmt: skip


def rewrite(sources: TraceSources, place: int, **changes) -> str:
    """Changes a row of the first shard; gives its id."""
    shard = sources.shards()[0]
    rows = list(files.read_jsonl_zst(shard))
    rows[place].update(changes)
    files.write_jsonl_zst(shard, rows)
    return rows[place]["id"]


def test_a_text_that_a_rule_will_drop_is_told_before_the_filter(sources):
    name = rewrite(sources, 2, finished=False)
    filters = trace(name, sources)["filters"]
    assert filters["verdict"] == "unfinished"
    assert [rule["rule"] for rule in filters["rules"]] == list(RULES) and filters["rules"][-1]["drops"] is None


def test_a_text_without_a_seed_document_and_a_name_of_another_kind(sources):
    name = rewrite(sources, 1, id="ünusual", seed_row=None, seed_id=None, round=2)
    found = trace(name, sources)
    assert (found["seed"], found["pairs"], found["sampling"]["round"]) == (None, None, 2)


def test_a_text_in_another_shard_than_planned_is_found_all_the_same(sources):
    first, second = sources.shards()
    moved = list(files.read_jsonl_zst(first))
    files.write_jsonl_zst(second, [*files.read_jsonl_zst(second), moved[0]])
    files.write_jsonl_zst(first, moved[1:])
    assert trace(moved[0]["id"], sources)["shard"] == "00001.jsonl.zst"


def filtered(sources: TraceSources, verdicts: list[int], repeats: list[int]) -> TraceSources:
    """The first shard with these verdicts, and the numbers of repeats among what passed."""
    arrays.save(sources.verdicts / "00000.npy", np.array([verdicts, [9] * len(verdicts)], np.int32))
    arrays.save(sources.repeats / "00000.npy", np.array(repeats, np.int64))
    return dataclasses.replace(sources, filtered=True)


@pytest.mark.parametrize("duplicates", ["exact", "near"])
def test_after_the_filter_its_verdict_counts_and_a_duplicate_names_what_it_repeats(sources, texts, duplicates):
    sources = dataclasses.replace(sources, rules=sources.rules.model_copy(update={"duplicates": duplicates}))
    names = [generation.name for generation in PLANNED[:4]]
    rewrite(sources, 3, text=f"  {texts[20]}")
    done = filtered(sources, [PASSED, RULES.index("copying"), PASSED, PASSED], [2])
    passed = [row["text"] for row in files.read_jsonl_zst(done.shards()[0]) if row["id"] != names[1]]
    arrays.save(done.digests / "00000.npy", np.array([digest_of(text) for text in passed], np.uint64))
    arrays.save(done.signatures / "00000.npy", signatures(passed))
    said = [trace(name, done)["filters"] for name in names]
    assert [each["verdict"] for each in said] == ["kept", "copying", "kept", "duplicate"]
    assert [each["repeats"] for each in said] == [None, None, None, names[0]]
    assert [each["rules"][-1]["drops"] for each in said] == [False, None, False, True]
    assert said[3]["rules"][-1]["value"] == 1.0


@pytest.mark.parametrize("duplicates", ["exact", "near"])
def test_what_a_duplicate_repeats_is_found_by_what_is_on_disk_of_the_texts(sources, texts, duplicates, monkeypatch):
    """Hashing millions of texts again takes hours. What is dropped, or comes later, is repeated by nothing."""
    sources = dataclasses.replace(sources, rules=sources.rules.model_copy(update={"duplicates": duplicates}))
    for number, verdicts, repeats in ((0, [PASSED] * 4, [0]), (1, [1, PASSED, PASSED, PASSED], [1])):
        arrays.save(sources.verdicts / f"{number:05d}.npy", np.array([verdicts, [9] * 4], np.int32))
        arrays.save(sources.repeats / f"{number:05d}.npy", np.array(repeats, np.int64))
        count = verdicts.count(PASSED)
        digests, signed = np.arange(count, dtype=np.uint64), np.zeros((count, 128), np.uint32)
        alike = [0, 2] if number == 0 else [0, 1, 2]
        digests[alike], signed[alike] = digest_of(texts[26]), signatures([texts[26]])
        arrays.save(sources.digests / f"{number:05d}.npy", digests)
        arrays.save(sources.signatures / f"{number:05d}.npy", signed)
    hashed: list[str] = []
    monkeypatch.setattr(trace_module, "signatures", lambda some: signatures(hashed.extend(some) or hashed[-1:]))
    found = trace(PLANNED[6].name, dataclasses.replace(sources, filtered=True))["filters"]
    assert (found["verdict"], found["repeats"]) == ("duplicate", PLANNED[2].name)
    assert found["rules"][-1]["value"] == 1.0 and len(hashed) == (duplicates == "near")
    arrays.save(sources.verdicts / "00000.npy", np.array([[1] * 4, [9] * 4], np.int32))  # nothing of the shard passed
    for folder, like in ((sources.repeats, np.int64), (sources.digests, np.uint64), (sources.signatures, np.uint32)):
        arrays.save(folder / "00000.npy", np.empty((0, 128) if like is np.uint32 else 0, like))
    found = trace(PLANNED[6].name, dataclasses.replace(sources, filtered=True))["filters"]
    assert found["repeats"] == PLANNED[5].name


def test_a_text_written_after_the_filter_was_complete_is_not_filtered_yet(sources):
    """More generations were planned, because too few tokens were left of the first shard."""
    done = filtered(sources, [PASSED] * PER_SHARD, [])
    assert trace(PLANNED[0].name, done)["filters"]["verdict"] == "kept"
    assert trace(PLANNED[PER_SHARD].name, done)["filters"]["verdict"] == PENDING
    (done.repeats / "00000.npy").unlink()
    assert trace(PLANNED[0].name, done)["filters"]["verdict"] == PENDING


def test_an_id_that_is_not_there_is_none(sources):
    assert trace("syn-0-99", sources) is None and trace("anything", sources) is None
    assert trace("syn-\udcff", sources) is None  # as Python has a byte of the command line that is no UTF-8
    assert trace("syn-0-0", dataclasses.replace(sources, generations=Path("/nowhere"))) is None


def test_an_unknown_id_is_told_where_it_would_be_and_what_is_near(sources):
    missing = PLANNED[8].name
    assert f"in shard 00002, which has not been written; near it: {PLANNED[0].name[:4]}" in str(
        unknown(missing, [sources])
    )
    assert "row 900, and D has 10 documents" in str(unknown("syn-900-0", [sources]))
    row = PLANNED[0].row
    assert str(unknown(f"syn-{row}-77", [sources])).endswith(f"near it: syn-{row}-0")
    assert f"near it: {PLANNED[1].name}" in str(unknown(f"{PLANNED[1].name}x", [sources]))


def test_nothing_written_is_told(sources, tmp_path):
    empty = dataclasses.replace(sources, generations=tmp_path / "none")
    assert str(unknown("anything", [empty])).endswith("nothing has been written yet")
