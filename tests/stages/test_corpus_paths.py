"""Where what is made from the corpus is."""

from __future__ import annotations

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.recipe import Documents
from megatron_sbp.stages.run_folder import Run, shard_name


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(small_recipe(tmp_path, Documents(inputs=["*.jsonl"], train=10, valid=2, test=2)), tmp_path)


def test_shards_are_in_order(run):
    run.documents("train").mkdir(parents=True)
    for number in (10, 2, 0):
        (run.documents("train") / f"{shard_name(number)}.jsonl.zst").touch()
    (run.documents("train") / ".00001.jsonl.zst.partial").touch()
    assert [path.name[:5] for path in run.document_shards("train")] == ["00000", "00002", "00010"]


def test_places_on_disk(run):
    """Run folders that exist have these."""
    assert [path.relative_to(run.root).as_posix() for path in (
        run.document_shard("valid", "00003"), run.document_parts, run.audit_documents, run.tokenizer_file,
        run.tokens("real"), run.audit_tokens("audit"), run.token_parts("tokenize"), run.corpus_index_file,
        run.embedding_shard("train", "00003"), run.neighbor_shard("train", "00003"), run.neighbors_index,
        run.audit_neighbors, run.pairs("train"), run.pairs("valid"), run.pair_shard("00003"),
        run.pair_shard_audit("00003"), run.audit_pairs,
    )] == [
        "documents/valid/00003.jsonl.zst", "documents/parts", "documents/audit.json", "tokenizer/tokenizer.json",
        "tokens/real", "tokens/audit.json", "tokens/parts/tokenize", "corpus_index/index.json",
        "embeddings/train/00003.npy", "neighbors/train/00003.npz", "neighbors/index",
        "neighbors/audit.json", "pairs/pairs.parquet", "pairs/valid_pairs.parquet", "pairs/shards/00003.parquet",
        "pairs/shards/00003.json", "pairs/audit.json",
    ]  # fmt: skip


def test_unfinished_shards_are_none(run):
    for folder, shards, suffix in (
        (run.embeddings("train"), run.embedding_shards, "npy"), (run.neighbors("train"), run.neighbor_shards, "npz"),
    ):  # fmt: skip
        folder.mkdir(parents=True)
        for name in (f"00010.{suffix}", f"00002.{suffix}", f".00001.{suffix}.partial"):
            (folder / name).touch()
        assert [file.name for file in shards("train")] == [f"00002.{suffix}", f"00010.{suffix}"]
