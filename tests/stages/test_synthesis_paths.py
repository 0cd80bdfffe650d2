"""Where the synthetic text is."""

from __future__ import annotations

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.recipe import Documents
from megatron_sbp.stages.run_folder import Run


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(small_recipe(tmp_path, Documents(inputs=["*.jsonl"], train=10, valid=2, test=2)), tmp_path)


def test_places_on_disk(run):
    """Run folders that exist have these."""
    assert [path.relative_to(run.root).as_posix() for path in (
        run.generation_shard("00003"), run.pilot_shard("00003"), run.pilot_audit, run.more_generations,
        run.similarity("00003"), run.judged("00003").bands, run.found("00000-00003"), run.repeats("00003"),
        run.synthetic_shard("00003"), run.shard_audit("00003"), run.audit_synthetic,
    )] == [
        "synthetic/generations/00003.jsonl.zst", "synthetic/pilot/00003.jsonl.zst", "synthetic/pilot.json",
        "synthetic/more.json", "synthetic/similarity/00003.npy", "synthetic/judged/bands/00003.npy",
        "synthetic/repeats/found/00000-00003.npy", "synthetic/repeats/00003.npy", "synthetic/00003.jsonl.zst",
        "synthetic/audits/00003.json", "synthetic/audit.json",
    ]  # fmt: skip


def test_shards_are_not_what_is_beside_them(run):
    """The raw generations are in a folder of the synthetic documents, and texts in progress beside finished ones."""
    run.generations.mkdir(parents=True)
    for folder in (run.synthetic, run.generations):
        for name in ("00010.jsonl.zst", "00002.jsonl.zst", ".00003.jsonl.zst.partial", "audit.json"):
            (folder / name).touch()
    assert [file.name for file in run.synthetic_shards()] == ["00002.jsonl.zst", "00010.jsonl.zst"]
    assert run.generation_shards() == [run.generations / file.name for file in run.synthetic_shards()]
