"""Documents to datasets: whole, in order, and the same bytes after any interruption."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from support.tokenized_run import execute, outputs, recipe_in, texts, tokenized_run

from megatron_sbp.base import files
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.tokenize import TokenizeStage
from megatron_sbp.stages.tokenizer import TokenizerStage
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import load_tokenizer


@pytest.fixture
def run(tmp_path) -> Run:
    return tokenized_run(tmp_path)


def test_tokens_are_the_documents_in_order(run):
    tokenizer = load_tokenizer(run.tokenizer)
    audit = files.read_json(run.root / "tokens" / "audit.json")
    expected = {split: texts(run, split) for split in ("train", "oracle", "valid", "test")}
    for name, wanted in {
        "real": expected["train"],
        "oracle": expected["train"] + expected["oracle"],
        "valid": expected["valid"],
        "test": expected["test"],
    }.items():
        tokens = open_indexed(run.tokens(name))
        assert [tokenizer.decode(tokens[row]) for row in range(len(tokens))] == wanted
        assert (tokens.tokens == tokenizer.end_of_document).sum() == len(wanted)
        assert tokens.tokens.dtype == np.uint16
        assert audit[name] == {
            "documents": len(wanted),
            "tokens": len(tokens.tokens),
            "bytes": sum(len(text.encode()) for text in wanted),
            "characters": sum(map(len, wanted)),
        }
    assert len(expected["oracle"]) == 50


def test_parts_go_when_the_stage_closes(run):
    assert sorted(path.name for path in (run.root / "tokens").rglob("*") if path.is_file()) == sorted(
        [f"{name}.{suffix}" for name in ("real", "oracle", "valid", "test") for suffix in ("bin", "idx")]
        + ["audit.json"]
    )
    assert StageRunner(run, TokenizeStage(), []).finished()


def test_shards_interruptions_and_repetition_change_no_byte(run, tmp_path):
    whole = outputs(run, "tokens", "tokenizer")
    other = Run.of(recipe_in(tmp_path))
    other = Run(other.recipe, tmp_path / "other")
    execute(other, DocumentsStage(), TokenizerStage())
    runner = StageRunner(other, TokenizeStage(), [])
    assert not runner.execute((3, 3))
    assert not runner.execute((1, 3))
    assert runner.execute((2, 3))
    assert outputs(other, "tokens", "tokenizer") == whole
    (other.root / "tokens" / "real.idx").unlink()  # a lost output is made again
    assert not runner.finished()
    assert runner.execute()
    assert outputs(other, "tokens", "tokenizer") == whole


def test_killed_between_bin_and_idx(run, monkeypatch):
    whole = outputs(run, "tokens")
    runner = StageRunner(run, TokenizeStage(), [])
    (run.manifests / "tokenize.json").unlink()
    shutil.rmtree(run.manifests / "tokenize")
    shutil.rmtree(run.root / "tokens")
    from megatron_sbp.tokenization.indexed import IndexedWriter

    write_index, left = IndexedWriter.write_index, [8]

    def stop(self, file):
        left[0] -= 1
        if left[0] == 0:  # while merging: there are 7 parts
            raise KeyboardInterrupt
        return write_index(self, file)

    with monkeypatch.context() as patched:
        patched.setattr(IndexedWriter, "write_index", stop)
        with pytest.raises(KeyboardInterrupt):
            runner.execute()
    assert not runner.finished()
    assert runner.execute()
    assert outputs(run, "tokens") == whole


def test_a_changed_tokenizer_makes_the_tokens_again(run, tmp_path, capsys):
    before = outputs(run, "tokens")
    other = Run(recipe_in(tmp_path, vocab_size=500), run.root)
    execute(other, DocumentsStage(), TokenizerStage(), TokenizeStage())
    assert load_tokenizer(other.tokenizer).vocab_size == 500
    assert outputs(other, "tokens").keys() == before.keys()
    assert outputs(other, "tokens") != before
    assert "vocab_size was 800, is 500" in capsys.readouterr().err
