"""The stage `deduplicate`: its searches as units, and one file of what they found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.small_recipe import small_recipe
from support.tokenized_run import WrittenBefore

from megatron_sbp.base import arrays, files
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.overlap.near_duplicates import BANDS, band_keys, signatures
from megatron_sbp.recipe import Documents, Filter
from megatron_sbp.stages.deduplicate import DeduplicateStage
from megatron_sbp.stages.run_folder import Run

ONE, OTHER = (" ".join(f"{word}{number}" for number in range(40)) for word in ("spring", "autumn"))
SHARDS = [[ONE, OTHER], [], [f"{ONE} again", ONE, "short and new"]]
"""Texts that passed the other filters. Of the third shard the first is nearly the first of all, the second is equal."""


def run_of(folder: Path, **rules) -> Run:
    documents = Documents(inputs=["corpus.jsonl"], train=10, valid=2, test=2)
    return Run.of(small_recipe(folder / "run", documents, filter=Filter(**rules)))


def judged(run: Run) -> WrittenBefore:
    """Writes what `judge` leaves to this stage."""
    written = []
    for number, texts in enumerate(SHARDS):
        name = f"{number:05d}"
        files.write_jsonl_zst(run.generations / f"{name}.jsonl.zst", ({"text": text} for text in texts))
        shard, signed = run.judged(name), signatures(texts)
        arrays.save(shard.digests, np.array([int(files.digest(text)[:15], 16) for text in texts], np.uint64))
        arrays.save(shard.signatures, signed)
        arrays.save(shard.bands, band_keys(signed))
        written += [shard.digests, shard.signatures, shard.bands]
    return WrittenBefore("judge", written)


def deduplicated(run: Run) -> list[list[int]]:
    graph = [judged(run), DeduplicateStage()]
    for stage in graph:
        assert StageRunner(run, stage, graph).execute()
    return [np.load(run.repeats(f"{number:05d}")).tolist() for number in range(len(SHARDS))]


@pytest.mark.parametrize(("duplicates", "repeats"), [("near", [0, 1]), ("exact", [1]), ("keep", [])])
def test_what_repeats_an_earlier_generation_in_any_shard(tmp_path, duplicates, repeats, capsys):
    run = run_of(tmp_path, duplicates=duplicates)
    assert deduplicated(run) == [[], [], repeats]
    assert f"deduplicate: {len(repeats)} generations repeat an earlier one" in capsys.readouterr().err


def test_what_the_searches_found_is_joined_and_removed(tmp_path):
    run = run_of(tmp_path, duplicates="near")
    deduplicated(run)
    assert not list(run.found("").parent.glob("*"))
    manifest = files.read_json(run.manifests / "deduplicate.json")
    assert list(manifest["outputs"]) == [f"synthetic/repeats/{number:05d}.npy" for number in range(len(SHARDS))]
    assert manifest["units"] == 1 + BANDS


def test_a_unit_is_a_search():
    near, exact = (run_of(Path("/nowhere"), duplicates=rule) for rule in ("near", "exact"))
    stage = DeduplicateStage()
    assert stage.units(exact) == ["exact"]
    assert stage.units(near) == ["exact", *(f"band-{number:02d}" for number in range(BANDS))]


def test_a_threshold_that_nothing_follows_from_makes_no_stage_anew():
    stage = DeduplicateStage()
    of = {
        (rule, threshold): stage.settings(run_of(Path("/nowhere"), duplicates=rule, duplicate_threshold=threshold))
        for rule in ("near", "exact")
        for threshold in (0.6, 0.8)
    }
    assert of["exact", 0.6] == of["exact", 0.8] == {"duplicates": "exact"}
    assert of["near", 0.6] == {"duplicates": "near", "duplicate_threshold": 0.6} != of["near", 0.8]


def test_it_reads_signatures_only_where_near_duplicates_are_looked_for():
    stage = DeduplicateStage()
    assert stage.reads(run_of(Path("/nowhere"), duplicates="exact")) == {"judge": ("synthetic/judged/digests/*.npy",)}
    near = stage.reads(run_of(Path("/nowhere"), duplicates="near"))
    assert set(near["judge"]) == {f"synthetic/judged/{part}/*.npy" for part in ("digests", "signatures", "bands")}


def test_only_what_a_search_found_is_intermediate():
    stage, run = DeduplicateStage(), run_of(Path("/nowhere"))
    assert stage.intermediate(run, run.found("band-03")) and not stage.intermediate(run, run.repeats("00000"))
