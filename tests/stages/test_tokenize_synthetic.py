"""The stage `tokenize-synthetic`: all kept documents in order, and advice where they are too few."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from support.tokenized_run import WrittenBefore, execute, recipe_in, texts, tokenized_run

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.stages.extending import needed_synthetic_tokens
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.tokenize import tokenize_shard
from megatron_sbp.stages.tokenize_synthetic import TokenizeSyntheticStage, too_few_tokens
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import load_tokenizer
from megatron_sbp.tokenization.written_ids import pack_ids


@pytest.fixture
def run(tmp_path) -> Run:
    return tokenized_run(tmp_path)


def write_synthetic(run: Run, shards: list[list[str]]) -> WrittenBefore:
    paths = [run.synthetic / f"{number:05d}.jsonl.zst" for number in range(len(shards))]
    for path, some in zip(paths, shards, strict=True):
        files.write_jsonl_zst(path, [{"id": f"syn-{n}", "text": text} for n, text in enumerate(some)])
    passed = {"generations": 40, "tokens": 9 * sum(map(len, shards)), "generated_tokens": 400}
    files.write_json(run.audit_synthetic, passed)
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


def test_training_reads_the_tokens_that_were_written(run):
    """And those of the text where a row has none: of another version, or dropped by the filters."""
    some, tokenizer = texts(run, "test")[:12], load_tokenizer(run.tokenizer)
    ids = [ids if n % 3 else None for n, ids in enumerate(map(spelled, some, [tokenizer] * 12))]
    rows = [
        {"id": f"syn-{n}", "text": text, **({} if each is None else {"token_ids": pack_ids(each)})}
        for n, (text, each) in enumerate(zip(some, ids, strict=True))
    ]
    before = write_synthetic(run, [some[:7], some[7:]])
    for path, part in zip(run.synthetic_shards(), (rows[:7], rows[7:]), strict=True):
        files.write_jsonl_zst(path, part)
    execute(run, before, TokenizeSyntheticStage())
    tokens, again = open_indexed(run.tokens("synthetic")), tokenizer.encode_batch(some)
    expected = [[*(mine if each is None else each), 0] for mine, each in zip(again, ids, strict=True)]
    assert tokenizer.end_of_document == 0 and [tokens[row].tolist() for row in range(len(tokens))] == expected
    audit = files.read_json(run.root / "tokens" / "synthetic_audit.json")
    assert (audit["tokens"], audit["documents"]) == (sum(map(len, expected)), 12)
    assert audit["bytes"] == sum(len(text.encode()) for text in some)


def spelled(text: str, tokenizer) -> np.ndarray:
    """Its tokens, the first word character by character."""
    word = text.split()[0]
    parts = [*word, text[len(word) :]]
    return np.concatenate(tokenizer.encode_batch(parts)).astype(np.int64)


def dataset(run: Run) -> list[bytes]:
    return [run.at(f"tokens/synthetic{end}").read_bytes() for end in (".bin", ".idx", "_parts.json")]


@pytest.fixture
def tokenized(monkeypatch) -> list[str]:
    """Shards that are tokenized from now on."""
    names: list[str] = []

    def tokenize(run, stage, unit, shard, **options):
        names.append(unit)
        return tokenize_shard(run, stage, unit, shard, **options)

    monkeypatch.setattr("megatron_sbp.stages.tokenize_synthetic.tokenize_shard", tokenize)
    return names


def test_a_longer_run_tokenizes_its_further_shards_only(run, tokenized):
    some, stage = texts(run, "test"), TokenizeSyntheticStage()
    execute(run, write_synthetic(run, [some[:9], [], some[9:20]]), stage)
    longer = write_synthetic(run, [some[:9], [], some[9:20], some[20:25], some[25:]])
    execute(run, longer, stage)
    assert tokenized == ["00000", "00001", "00002", "00003", "00004"]
    extended = dataset(run)
    assert not run.token_parts(stage.name).exists() or not any(run.token_parts(stage.name).iterdir())
    (run.manifests / "tokenize-synthetic.json").unlink()
    shutil.rmtree(run.manifests / "tokenize-synthetic")
    for name in ("bin", "idx"):
        run.at(f"tokens/synthetic.{name}").unlink()
    execute(run, longer, stage)
    assert tokenized[5:] == tokenized[:5] and dataset(run) == extended


def test_too_few_synthetic_tokens(run):
    some = write_synthetic(run, [["A text of a few tokens only."] * 20])
    with pytest.raises(InputError, match=r"needs 1,281 .*but only \d+ are left.*; 80 generations are planned now"):
        execute(run, some, TokenizeSyntheticStage())
    with pytest.raises(InputError, match="no synthetic document passed the filters"):
        execute(run, write_synthetic(run, [[]]), TokenizeSyntheticStage())


@pytest.mark.parametrize(("tokens", "suggested"), [(1280, 1152), (641, 640)])
def test_the_suggested_tokens_suffice(tmp_path, tokens, suggested):
    recipe = recipe_in(tmp_path)
    assert needed_synthetic_tokens(recipe) == 1281
    assert f"or lower synthesis.tokens to {suggested:,}" in str(too_few_tokens(recipe, tokens, 99))
    recipe.synthesis.tokens = suggested
    assert needed_synthetic_tokens(recipe) <= tokens


def test_what_to_do_about_too_few_tokens(tmp_path):
    recipe = recipe_in(tmp_path)
    assert "9,000 generations are planned now: the next `sbp run`" in str(too_few_tokens(recipe, 1280, 9000))
    assert "hardly any of the latest generations passed" in str(too_few_tokens(recipe, 1280, 0))
    assert "no synthetic document passed the filters" in str(too_few_tokens(recipe, 0, 0))
    assert "lower" not in str(too_few_tokens(recipe, 100, 0))
