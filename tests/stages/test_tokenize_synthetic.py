"""The stage `tokenize-synthetic`: all kept documents in order, and advice where they are too few."""

from __future__ import annotations

import shutil

import pytest
from support.tokenized_run import WrittenBefore, execute, recipe_in, texts, tokenized_run

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.tokenize_synthetic import TokenizeSyntheticStage, check_synthetic_tokens
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import load_tokenizer


@pytest.fixture
def run(tmp_path) -> Run:
    return tokenized_run(tmp_path)


def write_synthetic(run: Run, shards: list[list[str]]) -> WrittenBefore:
    paths = [run.synthetic / f"{number:05d}.jsonl.zst" for number in range(len(shards))]
    for path, some in zip(paths, shards, strict=True):
        files.write_jsonl_zst(path, [{"id": f"syn-{n}", "text": text} for n, text in enumerate(some)])
    (run.manifests / "filter.json").unlink(missing_ok=True)  # a second call writes over the first one's files
    shutil.rmtree(run.manifests / "filter", ignore_errors=True)
    return WrittenBefore("filter", paths)


def test_synthetic_documents_in_the_order_of_the_files(run):
    some = texts(run, "test")[:20]
    execute(run, write_synthetic(run, [some[:9], [], some[9:]]), TokenizeSyntheticStage())
    tokens, tokenizer = open_indexed(run.tokens("synthetic")), load_tokenizer(run.tokenizer)
    assert [tokenizer.decode(tokens[row]) for row in range(len(tokens))] == some
    audit = files.read_json(run.root / "tokens" / "synthetic_audit.json")
    assert audit["tokens"] == len(tokens.tokens)
    assert audit["needed_tokens"] == 1300 // 128 * 128 + 1


def test_too_few_synthetic_tokens(run):
    with pytest.raises(
        InputError, match=r"synthesis.tokens 1,300 needs 1,281 .*synthesis.margin 1.3 only \d+ are left"
    ):
        execute(run, write_synthetic(run, [["A text of a few tokens only."] * 20]), TokenizeSyntheticStage())
    with pytest.raises(InputError, match="no synthetic document passed the filters"):
        execute(run, write_synthetic(run, [[]]), TokenizeSyntheticStage())


def test_the_suggested_margin_and_the_suggested_tokens_suffice(tmp_path):
    recipe = recipe_in(tmp_path)
    check_synthetic_tokens(recipe, 1281)
    with pytest.raises(InputError) as caught:
        check_synthetic_tokens(recipe, 1280)
    assert "raise synthesis.margin to 1.4, or lower synthesis.tokens to 1,152" in str(caught.value)
    with pytest.raises(InputError) as caught:
        check_synthetic_tokens(recipe, 641)
    assert "raise synthesis.margin to 2.8, or lower synthesis.tokens to 640" in str(caught.value)
    recipe.synthesis.tokens = 640
    check_synthetic_tokens(recipe, 641)
