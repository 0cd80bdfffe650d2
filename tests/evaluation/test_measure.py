"""The quality figures from files alone, on text that was written without seed documents (so without an embedder)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from support.made_up_text import synthetic_rows, text_run

from megatron_sbp.base import files
from megatron_sbp.evaluation.measure import QualityFiles, measure_quality
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.tokenization.tokenizer import load_tokenizer

LOOP = "round and round it goes " * 30


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    run = text_run(tmp_path_factory.mktemp("measure"), train=90, oracle=0)
    run.recipe.launch.device = "cpu"
    return run


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Embeddings that know the answer: those of rows n and n + 45 have a cosine of 0.8."""
    random = np.random.default_rng(3)
    first = np.linalg.qr(random.standard_normal((100, 100)))[0]
    second = 0.8 * first[:45] + 0.6 * first[45:90]
    return np.concatenate([first[:45], second]).astype(np.float16)


@pytest.fixture(scope="module")
def found(run, vectors, tmp_path_factory) -> QualityFiles:
    """Forty generations in two shards, ten of them loops; thirty are kept. No row has a seed document."""
    folder = tmp_path_factory.mktemp("files")
    rows = [{**row, "seed_id": None, "seed_row": None} for row in synthetic_rows(run, np.random.default_rng(1), 40)]
    for row in rows[::4]:
        row["text"] = LOOP
    for place in range(2):
        files.write_jsonl_zst(folder / f"0000{place}.jsonl.zst", rows[20 * place : 20 * place + 20])
    files.write_jsonl_zst(folder / "kept.jsonl.zst", [row for row in rows if row["text"] != LOOP])
    for place, part in enumerate(np.split(vectors, [30, 60])):
        np.save(folder / f"{place:05d}.npy", part)
    seeds = np.arange(45)
    table = pyarrow.table({"seed": seeds, "target": seeds + 45, "score": np.full(45, 0.8)})
    pyarrow.parquet.write_table(table, folder / "pairs.parquet", row_group_size=10)
    return QualityFiles(
        tokenizer=run.tokenizer,
        documents={split: run.document_shards(split) for split in ("train", "valid")},
        tokens={"train": run.tokens("real"), "valid": run.tokens("valid")},
        synthetic=[folder / "kept.jsonl.zst"],
        generations=[folder / f"0000{place}.jsonl.zst" for place in range(2)],
        pairs=folder / "pairs.parquet",
        embeddings=folder,
    )


@pytest.fixture(scope="module")
def quality(run, found) -> dict:
    return measure_quality(found, run.recipe)


def test_every_group_is_counted_over_all_its_shards(quality):
    groups = quality["groups"]
    assert {name: group["population"] for name, group in groups.items()} == {
        "synthetic": 30, "generations": 40, "real": 90,
    }  # fmt: skip
    assert (groups["generations"]["repetition"], groups["synthetic"]["repetition"]) == (0.25, 0.0)
    assert {group["duplicate_documents"] for group in groups.values()} == {30}  # as many as the smallest group has
    assert groups["generations"]["duplicate"] > 0 == groups["synthetic"]["duplicate"]


def test_items_are_looked_for_in_all_text_where_they_are_given(quality, run, found):
    assert "contamination" not in quality
    read = [row["text"] for shard in run.document_shards("train") for row in files.read_jsonl_zst(shard)]
    items = {"questions": ["of these eight words no text has a trace"], "test documents": [LOOP, read[80]]}
    told = measure_quality(dataclasses.replace(found, items=items), run.recipe)
    contamination = told.pop("contamination")
    assert told == quality and contamination["items"] == {"questions": 1, "test documents": 2}
    assert {group: counts["test documents"] for group, counts in contamination["found"].items()} == {
        "synthetic": 0, "generations": 1, "real": 1,
    }  # fmt: skip
    assert contamination["texts"] == {"synthetic": 0, "generations": 10, "real": 1}


def test_without_seed_documents_nothing_is_said_of_them(quality):
    for name in ("synthetic", "generations"):
        assert quality["groups"][name]["copying"] is None
    similarity = quality["similarity"]
    assert similarity["to_seed"] is similarity["random_pairs"] is similarity["reads_seed"] is None
    assert quality["judge"] is None
    assert all(group["perplexity"] == {} for group in quality["groups"].values())


def test_real_text_is_cut_to_the_lengths_of_the_kept_text(run, found, quality, tmp_path):
    """Everywhere: in the sample, among near-duplicates, and of the valid split."""
    rows = [row for shard in found.synthetic for row in files.read_jsonl_zst(shard)]
    encode = load_tokenizer(run.tokenizer).encode_batch
    for place, row in enumerate(rows):
        row["text"] = row["text"][: 6 + place % 4]
    lengths = [len(ids) for ids in encode([row["text"] for row in rows])]
    rows = [{**row, "tokens": length + 1} for row, length in zip(rows, lengths, strict=True)]
    files.write_jsonl_zst(tmp_path / "short.jsonl.zst", rows)
    short = measure_quality(dataclasses.replace(found, synthetic=[tmp_path / "short.jsonl.zst"]), run.recipe)
    one, other = short["groups"]["synthetic"], short["groups"]["real"]
    for name in ("mean", "median", "p5", "p95"):
        assert other["tokens"][name] == pytest.approx(one["tokens"][name], abs=2), name  # whole characters
    assert quality["groups"]["real"]["tokens"]["median"] > 2 * one["tokens"]["median"]
    assert other["lengths"]["mean"] == quality["groups"]["real"]["lengths"]["mean"]  # as long as they are
    # Beginnings of documents of a few tokens have no shingle of 13, and more of them are the same.
    assert quality["groups"]["real"]["corpus_copying"] > 0 == other["corpus_copying"]
    assert other["duplicate"] > quality["groups"]["real"]["duplicate"]


def test_cosines_are_those_of_the_rows_whatever_shard_they_are_in(quality, vectors):
    similarity = quality["similarity"]
    assert similarity["real_pairs"] == pytest.approx(0.8, abs=2e-3)
    whole = vectors.astype(np.float32)
    cosines = (whole @ whole.T)[~np.eye(90, dtype=bool)]
    low, high = similarity["intervals"]["real_random_pairs"]
    assert low < cosines.mean() < high < 0.5  # a document is never paired with itself


def test_copying_of_real_text_is_that_of_the_pairs(run, found, quality, tmp_path):
    """Nine pairs of a document with itself among 45 are copies."""
    rows = np.arange(45)
    copies = pyarrow.table({"seed": rows, "target": np.where(rows < 9, rows, rows + 45), "score": np.full(45, 0.8)})
    pyarrow.parquet.write_table(copies, tmp_path / "pairs.parquet")
    real = measure_quality(dataclasses.replace(found, pairs=tmp_path / "pairs.parquet"), run.recipe)["groups"]["real"]
    before = quality["groups"]["real"]
    assert real["copying_pairs"] == before["copying_pairs"] == 45
    assert before["copying"] < 0.1 and real["copying"] == pytest.approx(before["copying"] + 0.2)
    low, high = real["intervals"]["copying"]
    assert low < real["copying"] < high
    without = measure_quality(dataclasses.replace(found, pairs=None), run.recipe)["groups"]["real"]
    assert without["copying"] is None and "copying_pairs" not in without


def test_no_pairs_are_null_and_fewer_are_drawn_by_the_seed(run, found, quality, tmp_path):
    assert measure_quality(dataclasses.replace(found, pairs=None), run.recipe)["similarity"]["real_pairs"] is None
    few = run.recipe.model_copy(deep=True)
    few.evaluation.quality_documents = 5
    one, again = (measure_quality(found, few) for _ in range(2))
    assert one == again and one["similarity"]["real_pairs"] == pytest.approx(0.8, abs=2e-3)
    assert {group["documents"] for group in one["groups"].values()} == {5}
