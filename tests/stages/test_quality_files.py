"""The stages that draw the texts of a quality sheet, and look for them in D, read the same files."""

from __future__ import annotations

import dataclasses

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.base import files
from megatron_sbp.recipe import Documents
from megatron_sbp.stages.quality_files import quality_files
from megatron_sbp.stages.run_folder import Run


@pytest.fixture
def run(tmp_path) -> Run:
    documents = Documents(inputs=["*.jsonl"], train=10, valid=2, test=2)
    run = Run(small_recipe(tmp_path, documents), tmp_path)
    for shard in (*(run.documents(split) / "00000.jsonl.zst" for split in ("train", "valid", "test")),
                  run.synthetic_shard("00000"), run.generations / "00001.jsonl.zst"):  # fmt: skip
        files.write_jsonl_zst(shard, [{"id": "a", "text": f"words of {shard.parent.name}"}])
    (run.generations / ".00002.jsonl.zst.unfinished").touch()
    return run


def test_what_both_stages_read(run):
    found = quality_files(run)
    names = {split: [file.name for file in shards] for split, shards in found.documents.items()}
    assert names == {"train": ["00000.jsonl.zst"], "valid": ["00000.jsonl.zst"]}
    assert found.synthetic == [run.synthetic_shard("00000")] and found.items is None
    assert [file.name for file in found.generations] == ["00001.jsonl.zst"], "a half-written shard is not read"


def test_what_the_figures_need_besides_leaves_the_texts_alone(run):
    further = {"pairs": run.pairs("train"), "checkpoints": {"sbp": run.export("sbp")}, "findings": []}
    found = quality_files(run, **further)
    assert dataclasses.replace(quality_files(run), **further) == found
