"""vLLM itself, on a CPU, in an environment of its own, beside the transformers engine."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from support.vllm_checks import (
    CONTEXT,
    END,
    PADDING,
    SEPARATOR,
    VOCABULARY,
    logits_after,
    make_model,
    make_prompts,
    nucleus_pvalue,
    ties,
)

from megatron_sbp.base import files
from megatron_sbp.executor.claim import claim
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.export import ExportStage
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.tokenize import TokenizeStage
from megatron_sbp.stages.tokenizer import TokenizerStage
from megatron_sbp.stages.train import TrainStage
from megatron_sbp.synthesis.engine import EngineSettings
from megatron_sbp.synthesis.generations import Generation, generations
from megatron_sbp.synthesis.synthesizer import prompt_of
from megatron_sbp.synthesis.transformers_engine import TransformersEngine
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import load_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.timeout(1500)]
ROOT = Path(__file__).resolve().parents[2]
DRAWS = 1500
TIE, MOST_TIES = 1e-4, 2
"""Logits this close are a tie, which rounding decides; texts of the quick start's export that may differ by one."""
SIGNIFICANCE = 1e-3
"""Of the tests on frequencies. Their seeds are fixed: they pass or fail for good until the code or vLLM changes."""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_model(folder)
    return folder


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    return make_prompts()


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> dict:
    """The quick start's export after eight steps of its baseline, and prompts from 48 of its documents.

    Its tokenizer and shape, Megatron's training, and the stage are those of the recipe. Weights begin larger: after so
    few steps of usual ones, all texts would be one token, again and again."""
    few = ["training.train_tokens=16_384", "synthesis.tokens=8_000", "documents.oracle=0", "training.eval_sequences=4"]
    few += ["training.save_interval=100", "training.eval_interval=100", "launch.ranks_per_node=1"]
    folder = tmp_path_factory.mktemp("shipped")
    recipe = load_recipe(
        ROOT / "examples" / "quickstart" / "recipe.yaml",
        [f"run_folder={folder / 'run'}", "model.init_method_std=0.3", *few],
    )
    run = Run.of(recipe)
    claim(run)
    training = TrainStage("train-baseline", "baseline", "train")
    export = ExportStage("export-synthesizer", ("synthesizer",), trained="baseline")
    graph = [DocumentsStage(), TokenizerStage(), TokenizeStage(), training, export]
    for stage in graph:
        assert StageRunner(run, stage, graph).execute()
    tokenizer, real = load_tokenizer(run.tokenizer), open_indexed(run.tokens("real"))
    planned = generations(0, 48, len(real), recipe.seed)
    seeds = [real[generation.row] for generation in planned]
    found = [prompt_of(seed, tokenizer, recipe.max_seed_tokens, recipe.tuning.seed_cut).tolist() for seed in seeds]
    assert len(set(map(len, found))) > 20
    return {"checkpoint": str(run.export("synthesizer")), "end": tokenizer.end_of_document, "new": 100,
            "forbidden": list(tokenizer.never_in_text), "prompts": found}  # fmt: skip


@pytest.fixture(scope="module")
def told(vllm_python, model, prompts, vllm_run, shipped, tmp_path_factory) -> dict:
    """What vllm_texts.py wrote."""
    folder = tmp_path_factory.mktemp("told")
    plan = {"checkpoint": str(model), "end": END, "forbidden": [PADDING, SEPARATOR], "prompts": prompts,
            "context": CONTEXT, "draws": DRAWS, "run": str(vllm_run), "shipped": shipped}  # fmt: skip
    (folder / "plan.json").write_text(json.dumps(plan))
    words = [
        vllm_python,
        Path(__file__).parents[1] / "support" / "vllm_texts.py",
        folder / "plan.json",
        folder / "told.json",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((folder / "told.json").read_text())


def ours(model: Path, prompts, planned=None, **other) -> list:
    settings = {"temperature": 0.9, "top_p": 0.95, "max_new_tokens": 20, "seed": 7, **other}
    engine = TransformersEngine(EngineSettings(model, "", END, (PADDING, SEPARATOR), device="cpu", **settings))
    planned = planned or [Generation(row, row % 3) for row in range(len(prompts))]
    return [[text.tokens.tolist(), text.finished] for text in engine.write(planned, [np.array(p) for p in prompts])]


def test_the_most_probable_texts_are_those_of_transformers_in_the_order_of_the_prompts(told, model, prompts):
    expected = ours(model, prompts, top_p=1e-6)
    assert told["greedy"] == expected
    assert len({tuple(tokens) for tokens, _ in expected}) > 10 and {done for _, done in expected} == {True, False}


def test_the_most_probable_texts_of_the_quick_starts_export_are_those_of_transformers(told, shipped):
    """From where two tokens are equally probable, as far as float32 can tell, a text may differ."""
    checkpoint, prompts = Path(shipped["checkpoint"]), shipped["prompts"]
    settings = EngineSettings(
        checkpoint, "", shipped["end"], tuple(shipped["forbidden"]), 0.9, 1e-6, shipped["new"], 7, device="cpu"
    )
    texts = TransformersEngine(settings).write([Generation(row, 0) for row in range(48)], list(map(np.array, prompts)))
    expected = [[text.tokens.tolist(), text.finished] for text in texts]
    assert len({tuple(tokens) for tokens, _ in expected}) > 40 and sum(len(tokens) for tokens, _ in expected) > 3000
    differing = ties(
        checkpoint, prompts, expected, told["shipped"], forbidden=shipped["forbidden"], end=shipped["end"], tie=TIE
    )
    assert differing <= MOST_TIES
    if not differing:
        assert told["shipped"] == expected


@pytest.mark.exhaustive
def test_the_benchmark_of_both_engines_at_smoke_size(vllm_python, shipped):
    run = Path(shipped["checkpoint"]).parents[1]
    words = f"--run {run} --texts 8 --draws 100 --repeats 20 --max-new-tokens 16".split()
    program, environment = ROOT / "benchmarks" / "engines_agree.py", {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([vllm_python, program, *words], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and "| 8 | 128 |" in done.stdout and done.stdout.count("|") > 80, done.stderr


def test_sampled_tokens_have_the_probabilities_of_the_nucleus(told, model, prompts):
    first = Counter(tokens[0] if tokens else END for tokens, _ in told["drawn"])
    logits = logits_after(model, prompts[0], [PADDING, SEPARATOR])
    assert nucleus_pvalue(logits, first, 0.9, 0.95) > SIGNIFICANCE


def test_later_tokens_are_as_frequent_as_those_of_transformers(told, model, prompts):
    planned = [Generation(5, number) for number in range(DRAWS)]
    theirs = ours(model, prompts[:1] * DRAWS, planned, max_new_tokens=3)
    counts = [
        Counter(tokens[2] if len(tokens) > 2 else END for tokens, _ in texts) for texts in (told["drawn"], theirs)
    ]
    often = [token for token in range(VOCABULARY) if sum(count[token] for count in counts) >= 10]
    table = [[count[token] for token in often] + [DRAWS - sum(count[token] for token in often)] for count in counts]
    table = np.array(table)[:, np.sum(table, axis=0) > 0]
    assert table.shape[1] > 5 and stats.chi2_contingency(table).pvalue > SIGNIFICANCE


def test_a_forbidden_token_never_comes_however_probable(told):
    assert sum(len(tokens) for tokens, _ in told["drafted"]) > 300
    for name in ("greedy", "sampled", "others", "drawn", "drafted"):
        assert not {token for tokens, _ in told[name] for token in tokens} & {END, PADDING, SEPARATOR}, name


def test_a_text_follows_from_its_generation_and_the_seed_of_the_run(told):
    assert told["sampled"] == told["again"] == told["after_abort"]
    for name in ("others", "other_run"):
        same = sum(one == other for one, other in zip(told["sampled"], told[name], strict=True))
        assert same <= 4, name  # a text that ends at once can come twice
    assert all(done == (len(tokens) < 20) for tokens, done in told["sampled"])


def test_nothing_to_write_a_prompt_without_room_and_an_end_before_the_last(told):
    assert told["streams"] and told["none"] == [] and told["left_running"] == 0
    assert "a prompt of 109 tokens and 20 new ones do not fit into the synthesizer's context of 128" in told["too_long"]


def test_a_shard_that_is_killed_and_started_again_has_every_generation_once(told, vllm_run):
    shard = told["shard"]
    assert shard["died"] and shard["done"] and shard["left"] == []
    assert len(shard["first"]) == 24 and shard["kept"] == 16
    rows = shard["rows"]
    assert len(rows) == len({row["id"] for row in rows}) == 120
    # Of the 16 that were on disk none is asked for again.
    assert len(shard["again"]) == 120 - 16 and len(set(shard["again"])) == 104
    assert set(shard["again"]) < {row["id"] for row in rows}
    tokenizer = load_tokenizer(vllm_run / "run" / "tokenizer")
    for row in rows:
        assert row["tokens"] <= 50 and not any(token in row["text"] for token in tokenizer.roles.values())
    assert len(list(files.read_jsonl_zst(vllm_run / "run" / "synthetic" / "generations" / "00000.jsonl.zst"))) == 24


def test_less_memory_than_asked_for_lowers_the_texts_at_the_same_time_once_and_the_text_stays_the_same(told):
    short = told["out_of_memory"]
    assert 0 < short["unfinished"][0] <= 40  # some had been written, others were being written
    assert short["texts"] == told["sampled"] and (short["before"], short["after"]) == (16, 8)
    assert len(short["said"]) == 1 and "can't allocate memory" in short["said"][0]
    assert short["said"][0].endswith("; trying once more with max_num_seqs=8")
    assert "vLLM does not have enough memory" in short["again"] and short["said_again"] == []


def test_what_cannot_work_is_one_message(told):
    assert told["memory"].startswith("'synthesis.vllm.gpu_memory': vLLM does not have enough memory (")
    assert "lower synthesis.vllm.max_num_seqs" in told["memory"] and len(told["said_memory"]) == 1
    assert told["said_memory"][0].endswith("; trying once more with max_num_seqs=3")
    assert "vLLM does not have enough memory" in told["cache"] and len(told["said_cache"]) == 1
    assert "cannot use chunked prefill" in told["chunked"]
    assert "temperature and top_p down to whole numbers" in told["guessing"]
    assert "built for CPUs, and launch.device is cuda" in told["device"]


def test_megatron_is_not_needed_there(told):
    assert not told["megatron"]
