"""Memory of machines: the figures of docs/scaling.md at its sizes, and how they grow."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.documents import shards
from megatron_sbp.planning import host_memory
from megatron_sbp.planning.plan import make_plan
from megatron_sbp.recipe import load_recipe
from megatron_sbp.tokenization import pieces

EXAMPLES = Path(__file__).parents[2] / "examples"


def memory(name: str, *words: str) -> dict:
    return make_plan(load_recipe(EXAMPLES / name / "recipe.yaml", words))["host_memory"]


def test_the_figures_of_the_page_for_60_million_documents():
    found = memory("sbp_3b_1t")
    assert found["pairs"]["last_step"] == pytest.approx(
        6e9, rel=0.08
    )  # "6 GB at 60 million documents", and the pairs of five shards
    assert 130 * 40e6 < found["documents"]["last_step"] < 130 * 40e6 + 0.4e9
    assert host_memory.HELD == shards.HELD
    assert found["neighbors"]["task"] == pytest.approx(9e3 * 1.2e6, rel=0.1)  # "9 kB per query"
    assert found["deduplicate"]["task"] == pytest.approx(4e9, rel=0.05)
    assert found["evaluate"]["task"] == pytest.approx(8.5e9)
    assert found["train-sbp"]["job"] == 8 * 12 * 2_737_739_264
    assert all(entry["job"] == max(entry["task"], entry["last_step"]) > 0 for entry in found.values())
    assert {entry["from"] for entry in found.values()} == {"measured", "rule"}
    # No stage of data needs more than 16 GB, whatever the corpus.
    assert max(entry["job"] for stage, entry in found.items() if not stage.startswith(("train", "tune"))) < 16e9


def test_tasks_do_not_grow_with_the_corpus():
    one = memory("sbp_3b_1t")
    other = memory("sbp_3b_1t", "documents.train=600_000_000", "documents.oracle=0")
    assert other["neighbors"]["task"] < 12.2e9
    for stage in ("tokenize", "pairs", "tokenize-pairs", "judge", "filter"):
        assert other[stage]["task"] == pytest.approx(one[stage]["task"], rel=0.1), stage
    assert other["pairs"]["last_step"] > 9 * one["pairs"]["last_step"]
    assert other["documents"]["last_step"] == one["documents"]["last_step"]  # passes, from 40 million on


def test_a_process_for_every_core_tokenizes():
    assert (host_memory.TOKENIZING, host_memory.IN_PROCESSES) == (pieces._PROCESS, pieces.IN_PROCESSES)
    found = memory("sbp_3b_1t")
    for stage in ("tokenize", "tokenize-synthetic"):
        assert found[stage]["task"] == 12 * (300 << 20), stage
        # One in small shards; no more than the memory of the job allows.
        small = memory("sbp_3b_1t", "documents.documents_per_shard=6000", "synthesis.generations_per_shard=6000")
        assert small[stage]["task"] == 300 << 20
        words = ("slurm.cpus_per_task=128", "slurm.stages={}")
        assert memory("sbp_3b_1t", *words)[stage]["task"] == (16 << 30) // (300 << 20) * (300 << 20)


def test_training_the_tokenizer_takes_what_the_page_says():
    """1.8 GB for 5 billion characters, and the process itself."""
    assert memory("sbp_3b_1t")["tokenizer"]["task"] == pytest.approx(1.8e9 + 0.14e9, rel=0.03)
    small = memory("sbp_3b_1t", "tokenizer.train_characters=50_000_000")["tokenizer"]["task"]
    assert small == pytest.approx(178e6 + 0.14e9, rel=0.03)
    assert "tokenizer" not in memory("sbp_3b_1t", "tokenizer.path=elsewhere")


def test_scann_holds_one_index():
    words = ["neighbors.engine=scann", "neighbors.documents_per_index=2_000_000"]
    found = memory("sbp_3b_1t", *words)["neighbors"]["task"]
    assert 9e9 < found < 16e9
    assert memory("sbp_3b_1t", words[0], "neighbors.documents_per_index=1_000_000")["neighbors"]["task"] < found - 4e9


def test_checkpoints_that_few_ranks_gather_are_not_counted():
    flag = "training.megatron={distrib-optim-fully-reshardable-mem-efficient: true}"
    assert "train-sbp" not in memory("sbp_3b_1t", flag)
    assert "train-sbp" not in memory("sbp_3b_1t", "launch.distributed_optimizer=false")


def test_stages_of_every_synthesizer():
    found = memory("sbp_100m_2b")
    assert {"judge", "judge.random", "pairs.random"} <= found.keys()
