"""The stage `scan-corpus`: parts of D as units, and the same sheet from them as from one pass."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.killed import killed_before
from support.made_up_text import synthetic_rows, text_run
from support.tokenized_run import WrittenBefore

from megatron_sbp.base import files
from megatron_sbp.evaluation.compared import QualityFiles
from megatron_sbp.evaluation.measure import measure_quality
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.planning import units
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.evaluate import EvaluateStage
from megatron_sbp.stages.evaluation_items import evaluation_items
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.scan_corpus import ScanCorpusStage
from megatron_sbp.stages.stage import UNIT


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """Folder of a run with D in five shards, and generations without seed documents in two, one of which was kept."""
    folder = tmp_path_factory.mktemp("scan")
    run = text_run(folder, train=90, oracle=0)
    rows = [{**row, "seed_id": None, "seed_row": None} for row in synthetic_rows(run, np.random.default_rng(1), 40)]
    shutil.rmtree(run.manifests)  # the shards of the test are others
    rows[5]["text"] = next(files.read_jsonl_zst(run.document_shards("test")[0]))["text"]
    for place in range(2):
        files.write_jsonl_zst(run.generations / f"0000{place}.jsonl.zst", rows[20 * place : 20 * place + 20])
    files.write_jsonl_zst(run.synthetic_shard("00000"), rows[10:])
    shards = run.document_shards("train")
    texts = [row for shard in shards for row in files.read_jsonl_zst(shard)]
    for shard in shards:
        shard.unlink()
    shutil.rmtree(run.documents("ids"), ignore_errors=True)
    for place in range(5):
        files.write_jsonl_zst(run.documents("train") / f"{place:05d}.jsonl.zst", texts[18 * place : 18 * place + 18])
    return folder


def run_in(prepared: Path, folder: Path) -> Run:
    """A copy of the prepared run, in which items are looked for."""
    shutil.copytree(prepared, folder, dirs_exist_ok=True)
    words = [
        f"run_folder={folder / 'run'}",
        "launch.device=cpu",
        "filter.contaminated=drop",
        "evaluation.quality_documents=15",
    ]
    return Run.of(load_recipe(folder / "recipe.yaml", words))


def scanned(run: Run) -> dict[str, bytes]:
    """Runs the stage; gives what it has left below synthetic/corpus_findings."""
    graph = [
        WrittenBefore("documents", sorted(run.documents("train").parent.glob("[tv]*/*.zst"))),
        WrittenBefore("tokenizer", sorted(run.tokenizer.glob("*"))),
        WrittenBefore("tokenize", sorted(run.tokens("real").parent.glob("*.[bi]*"))),
        WrittenBefore("synthesize", run.generation_shards()),
        WrittenBefore("filter", run.synthetic_shards()),
        ScanCorpusStage(),
    ]
    for stage in graph:
        assert StageRunner(run, stage, graph).execute()
    folder = run.corpus_findings("quality").parent
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def many_units(monkeypatch):
    monkeypatch.setattr(units, "_SCANNED", 1)


def sheet(run: Run, findings: list[Path] | None) -> dict:
    found = QualityFiles(
        tokenizer=run.tokenizer,
        documents={split: run.document_shards(split) for split in ("train", "valid")},
        tokens={"train": run.tokens("real"), "valid": run.tokens("valid")},
        synthetic=run.synthetic_shards(),
        generations=run.generation_shards(),
        pairs=None,
        embeddings=run.embeddings("train"),
        items=evaluation_items(run),
        findings=findings,
    )
    return measure_quality(found, run.recipe)


def test_the_sheet_is_that_of_one_pass_and_a_killed_stage_leaves_the_same(prepared, tmp_path, many_units):
    run = run_in(prepared, tmp_path / "a")
    np.save(files_in(run) / "00000.npy", np.random.default_rng(2).standard_normal((90, 8)).astype(np.float16))
    alone = sheet(run, None)
    assert alone["contamination"]["texts"]["generations"] >= 1
    found = scanned(run)
    assert sorted(found) == [
        f"quality/{name}.npz"
        for name in (
            *(f"generations-0000{place}" for place in range(2)), *(f"real-0000{place}" for place in range(5)),
            "synthetic-00000",
        )
    ]  # fmt: skip
    joined = sheet(run, sorted(run.corpus_findings("quality").glob("*.npz")))
    assert files.digest(joined) == files.digest(alone) and joined == alone
    files.write_json(tmp_path / "alone.json", alone)
    files.write_json(tmp_path / "joined.json", joined)
    assert (tmp_path / "alone.json").read_bytes() == (tmp_path / "joined.json").read_bytes()
    other = run_in(prepared, tmp_path / "b")
    for change in (30, 40):
        assert killed_before(change, lambda: scanned(other))
    assert scanned(other) == found


def files_in(run: Run) -> Path:
    run.embeddings("train").mkdir(parents=True, exist_ok=True)
    return run.embeddings("train")


def test_a_small_corpus_is_one_unit(prepared, tmp_path):
    run = run_in(prepared, tmp_path)
    run.recipe.filter.contaminated = None
    assert ScanCorpusStage().units(run) == ["real-00000-00004"]
    run.recipe.filter.contaminated = "drop"
    assert ScanCorpusStage().units(run) == ["real-00000-00004", "synthetic-00000", "generations-00000-00001"]


def test_only_the_sheet_is_made_from_it(prepared, tmp_path):
    """So that the arms of a run that was evaluated before this stage existed are not evaluated again."""
    reads = EvaluateStage().reads(run_in(prepared, tmp_path))
    assert reads["scan-corpus"] == (f"synthetic/corpus_findings/{UNIT}/*",)


def test_it_depends_on_what_chooses_the_texts(prepared, tmp_path):
    run, stage = run_in(prepared, tmp_path), ScanCorpusStage()
    before = stage.settings(run)
    run.recipe.evaluation.duplicate_pairs = run.recipe.evaluation.batch_size = 77
    assert stage.settings(run) == before
    run.recipe.evaluation.quality_documents = 7
    assert stage.settings(run) != before
    questions = tmp_path / "questions.jsonl"
    run.recipe.evaluation.questions = str(questions)
    assert stage.external(run) == [questions] and "documents/test/*" in stage.reads(run)["documents"]
    run.recipe.filter.contaminated = None
    assert stage.external(run) == [] and "documents/test/*" not in stage.reads(run)["documents"]
