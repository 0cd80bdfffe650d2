"""The stage `tokenizer`: what it trains, and what it refuses."""

from __future__ import annotations

import pytest
from support.tokenized_run import execute, recipe_in, tokenized_run

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.tokenizer import TokenizerStage
from megatron_sbp.tokenization.tokenizer import load_tokenizer, save_tokenizer


@pytest.fixture
def run(tmp_path) -> Run:
    return tokenized_run(tmp_path)


def test_a_vocabulary_that_cannot_be_reached_is_said(tmp_path, capsys):
    files.write_jsonl_zst(tmp_path / "corpus.jsonl.zst", ({"text": f"word {n}"} for n in range(300)))
    run = Run.of(recipe_in(tmp_path, vocab_size=5000))
    execute(run, DocumentsStage(), TokenizerStage())
    size = load_tokenizer(run.tokenizer).vocab_size
    assert 259 < size < 300
    assert f"{size} entries: the train split has no more merges" in capsys.readouterr().err


def test_a_vocabulary_too_small_for_bytes_is_refused(run, tmp_path):
    with pytest.raises(InputError, match=r"tokenizer.vocab_size.*at least 259.*not 258"):
        execute(Run(recipe_in(tmp_path, vocab_size=258), run.root), DocumentsStage(), TokenizerStage())


def test_roles_must_differ(run, tmp_path):
    with pytest.raises(InputError, match=r"tokenizer.padding"):
        execute(Run(recipe_in(tmp_path, padding="<|endoftext|>"), run.root), DocumentsStage(), TokenizerStage())


def test_an_adopted_tokenizer_counts_by_its_files_and_needs_no_documents(run, tmp_path):
    save_tokenizer(tmp_path / "adopted", load_tokenizer(run.tokenizer))
    adopting = Run(recipe_in(tmp_path, path="adopted"), run.root)
    stage = TokenizerStage()
    assert stage.reads(adopting) == {} and "documents" in stage.reads(run)
    assert {path.name for path in stage.external(adopting)} >= {"tokenizer.json"} and stage.external(run) == []
    assert "vocab_size" in stage.settings(run) and stage.settings(adopting)["path"] is None
    other = Run(recipe_in(tmp_path, path="adopted", vocab_size=900), run.root)
    assert stage.settings(other) == stage.settings(adopting)  # nothing is trained to that size
