"""Synthetic text without relatedness: samples of a model without a seed, and documents with tokens replaced."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.base import files
from megatron_sbp.recipe.sections import Synthesizer
from megatron_sbp.stages.synthesize import SynthesizeStage
from megatron_sbp.stages.synthetic_writer import synthesizer_of
from megatron_sbp.synthesis.controls import TokenReplacement
from megatron_sbp.synthesis.generations import Generation, generations
from megatron_sbp.synthesis.judged import PARTS, Judged
from megatron_sbp.synthesis.judging import judge_shard
from megatron_sbp.synthesis.unfinished import Unfinished
from megatron_sbp.synthesis.writing import write_shard
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import load_tokenizer


def replacement(run, replaced: float) -> TokenReplacement:
    tokens = open_indexed(run.tokens("real")).tokens
    return TokenReplacement(load_tokenizer(run.tokenizer), tokens, replaced=replaced, seed=run.recipe.seed)


def replace(control: TokenReplacement, tokens: np.ndarray, generation: Generation) -> np.ndarray:
    return control.engine.write([generation], [tokens])[0].tokens


def test_samples_have_no_seed(make_run, tmp_path):
    run = make_run("samples")
    output = tmp_path / "samples.jsonl.zst"
    write_shard(
        output, 0, 40, synthesizer=synthesizer_of(run, "samples"), documents=run.document_shards("train"),
        tokens=run.tokens("real"), label="synthesize",
    )  # fmt: skip
    rows = list(files.read_jsonl_zst(output))
    assert len({row["id"] for row in rows}) == 40 and len({row["text"] for row in rows}) > 30
    assert {(row["seed_id"], row["seed_row"]) for row in rows} == {(None, None)}
    # The filters take them: what has no seed copies none.
    judged = Judged(*(tmp_path / f"{part}.npy" for part in PARTS))
    judge_shard(
        rows, "samples", judged, tokenizer=load_tokenizer(run.tokenizer), tokens=run.tokens("real"),
        rules=run.recipe.filter, length=run.recipe.pairs.shingle_tokens,
    )  # fmt: skip
    assert len(np.load(judged.verdicts)[0]) == 40


def test_a_sample_does_not_depend_on_seed_documents(make_run):
    run = make_run("unseeded")
    sampler, planned = synthesizer_of(run, "samples"), generations(0, 6, 60, 1)
    one = sampler.generate(
        planned, {generation.row: np.arange(9) for generation in planned}, dict.fromkeys(range(60), "x")
    )
    other = sampler.generate(
        planned, {generation.row: np.arange(3) for generation in planned}, dict.fromkeys(range(60), "y")
    )
    assert one == other


@pytest.mark.parametrize("replaced", [0.1, 0.5])
def test_the_share_of_tokens_that_is_replaced(make_run, replaced):
    run = make_run("noise")
    control, real = replacement(run, replaced), open_indexed(run.tokens("real"))
    changed = total = 0
    for number in range(20):
        for row in range(len(real)):
            tokens = real[row][:-1]
            written = replace(control, tokens, Generation(row, number))
            assert written.dtype == np.int64 and len(written) == len(tokens)
            changed, total = changed + int((written != tokens).sum()), total + len(tokens)
    # A replacement may be the token that was there.
    assert 0.85 * replaced < changed / total <= replaced * 1.02


def test_replacements_follow_from_the_generation(make_run):
    run = make_run("same")
    tokens = open_indexed(run.tokens("real"))[0][:-1]
    one, again, other = (replace(replacement(run, 0.5), tokens, Generation(0, number)) for number in (1, 1, 2))
    assert one.tolist() == again.tolist() != other.tolist()


def test_rows_of_replacements_know_their_parents(make_run, tmp_path):
    run = make_run("parents")
    output = tmp_path / "noise.jsonl.zst"
    write_shard(
        output, 0, 70, synthesizer=replacement(run, 0.2), documents=run.document_shards("train"),
        tokens=run.tokens("real"), label="synthesize",
    )  # fmt: skip
    documents = [row for shard in run.document_shards("train") for row in files.read_jsonl_zst(shard)]
    rows = list(files.read_jsonl_zst(output))
    assert len({row["id"] for row in rows}) == 70 and {row["replaced"] for row in rows} == {0.2}
    for row in rows:
        assert row["seed_id"] == documents[row["seed_row"]]["id"] and row["finished"]
        assert row["text"] != documents[row["seed_row"]]["text"]


def test_an_interrupted_shard_of_replacements_resumes(make_run, tmp_path):
    run, outputs = make_run("resumed"), []
    for name, killed in (("whole", False), ("resumed", True)):
        output, control = tmp_path / f"{name}.jsonl.zst", replacement(run, 0.2)
        if killed:
            planned, real = generations(0, 12, 60, 1), open_indexed(run.tokens("real"))
            tokens = {generation.row: real[generation.row] for generation in planned}
            unfinished = Unfinished(output, control.identity(planned, tokens))
            control.generate(planned, tokens, dict.fromkeys(range(60), "x"), unfinished=unfinished)
            control.engine.write = lambda *arguments: pytest.fail("written twice")
        write_shard(
            output, 0, 12, synthesizer=control, documents=run.document_shards("train"), tokens=run.tokens("real"),
            label="synthesize",
        )  # fmt: skip
        outputs.append(output.read_bytes())
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("field", ["replaced", "seed", "tokens"])
def test_the_identity_covers_what_replacements_follow_from(make_run, field):
    run = make_run("identity")
    tokens, tokenizer = open_indexed(run.tokens("real")).tokens, load_tokenizer(run.tokenizer)
    usual = {"tokens": tokens, "replaced": 0.2, "seed": 1}
    other = {**usual, field: {"tokens": tokens[:-1], "replaced": 0.3, "seed": 2}[field]}
    planned, seeds = [Generation(0, 0)], {0: np.arange(9)}
    one, again, another = (
        TokenReplacement(tokenizer, **made).identity(planned, seeds) for made in (usual, usual, other)
    )
    assert one == again != another


def test_what_the_stage_reads_and_where_it_runs(make_run):
    run = make_run("stages")
    tuned, samples, noise = (
        SynthesizeStage(Synthesizer(method=method)) for method in ("tuned", "samples", "replacement")
    )
    assert "tokenize-pairs" in tuned.reads(run) and "tokenize-pairs" not in samples.reads(run)
    assert "export-synthesizer" in samples.reads(run) and "export-synthesizer" not in noise.reads(run)
    assert (tuned.device, samples.device, noise.device) == ("gpu", "gpu", "cpu")
    # Runs that were made before there was a choice are not redone.
    assert "method" not in tuned.unit_settings(run) and samples.unit_settings(run)["method"] == "samples"
