from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from support.small_recipe import small_recipe

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import Documents, Recipe, Synthesis, Tokenizer, Tuning
from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage
from megatron_sbp.stages.tokenize import TokenizeStage
from megatron_sbp.stages.tokenize_pairs import TokenizePairsStage
from megatron_sbp.stages.tokenize_synthetic import TokenizeSyntheticStage, check_synthetic_tokens
from megatron_sbp.stages.tokenizer import TokenizerStage
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import load_tokenizer

from .conftest import FOLDOC


class WrittenBefore(Stage):
    """Stands for an upstream stage whose files the test has written."""

    def __init__(self, name: str, paths: list[Path]):
        self.name, self._paths = name, paths

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        return self._paths


def recipe_in(folder: Path, **tokenizer) -> Recipe:
    recipe = small_recipe(
        folder / "run",
        Documents(inputs=[str(folder / "corpus.jsonl.zst")], train=200, valid=40, test=30, documents_per_shard=90),
        sequence_length=128,
        tokenizer=Tokenizer(**{"vocab_size": 800, **tokenizer}),
        synthesis=Synthesis(tokens=1300),
        tuning=Tuning(max_seed_tokens=60, max_target_tokens=50),
    )
    recipe.source = folder / "recipe.yaml"
    return recipe


def execute(run: Run, *stages: Stage) -> None:
    for stage in stages:
        assert StageRunner(run, stage, list(stages)).execute()


@pytest.fixture
def run(tmp_path) -> Run:
    """A run with documents, tokenizer and tokens: 200 train, 50 oracle, 40 valid, 30 test documents."""
    files.write_jsonl_zst(tmp_path / "corpus.jsonl.zst", itertools.islice(files.read_jsonl_zst(FOLDOC), 320))
    made = Run.of(recipe_in(tmp_path))
    execute(made, DocumentsStage(), TokenizerStage(), TokenizeStage())
    return made


def texts(run: Run, split: str) -> list[str]:
    return [row["text"] for shard in run.document_shards(split) for row in files.read_jsonl_zst(shard)]


def outputs(run: Run, *folders: str) -> dict[str, bytes]:
    found = [path for folder in folders for path in (run.root / folder).rglob("*") if path.is_file()]
    return {run.relative(path): path.read_bytes() for path in sorted(found)}


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

    index, left = IndexedWriter.index, [8]

    def stop(self):
        left[0] -= 1
        if left[0] == 0:  # while merging: there are 7 parts
            raise KeyboardInterrupt
        return index(self)

    with monkeypatch.context() as patched:
        patched.setattr(IndexedWriter, "index", stop)
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


def write_parquet(path: Path, seeds: list[int], targets: list[int]) -> None:
    path.parent.mkdir(exist_ok=True)
    table = {
        "seed": pyarrow.array(seeds, pyarrow.int64()),
        "target": pyarrow.array(targets, pyarrow.int64()),
        "seed_id": [str(n) for n in seeds],
        "target_id": [str(n) for n in targets],
        "score": pyarrow.array([0.9] * len(seeds), pyarrow.float32()),
    }
    pyarrow.parquet.write_table(pyarrow.table(table), path)


def test_pairs_in_the_order_of_the_parquet(run):
    write_parquet(run.pairs("train"), [0, 0, 7, 199], [5, 3, 0, 198])
    write_parquet(run.pairs("valid"), [39], [0])
    before = WrittenBefore("pairs", [run.pairs("train"), run.pairs("valid")])
    execute(run, before, TokenizePairsStage())
    audit = files.read_json(run.root / "tokens" / "pairs_audit.json")
    tokenizer, real = load_tokenizer(run.tokenizer), open_indexed(run.tokens("real"))
    pairs, valid = open_indexed(run.tokens("pairs")), open_indexed(run.tokens("valid_pairs"))
    assert (pairs.documents, len(pairs), valid.documents, len(valid)) == (4, 8, 1, 2)
    train = texts(run, "train")
    for number, (seed, target) in enumerate([(0, 5), (0, 3), (7, 0), (199, 198)]):
        first, second = pairs[2 * number], pairs[2 * number + 1]
        assert train[seed].startswith(tokenizer.decode(first))
        assert train[target].startswith(tokenizer.decode(second))
        assert first.size <= 60
        assert first[-1] != tokenizer.end_of_document
        uncut = real.lengths[target] - 1 <= 50
        assert (second[-1] == tokenizer.end_of_document) == uncut
        assert second.size <= (51 if uncut else 50)
    assert texts(run, "valid")[39].startswith(tokenizer.decode(valid[0]))
    assert audit["pairs"]["pairs"] == 4
    assert audit["pairs"]["seed_tokens"] == sum(pairs.lengths[0::2])
    assert audit["pairs"]["target_tokens"] == sum(pairs.lengths[1::2])
    assert audit["pairs"]["mean_target_tokens"] == sum(pairs.lengths[1::2]) / 4
    assert audit["pairs"]["seeds_cut"] == sum(real.lengths[row] - 1 > 60 for row in (0, 0, 7, 199))
    assert audit["valid_pairs"]["pairs"] == 1


def test_no_pairs_is_an_error_that_says_what_to_do(run):
    write_parquet(run.pairs("train"), [0], [1])
    write_parquet(run.pairs("valid"), [], [])
    before = WrittenBefore("pairs", [run.pairs("train"), run.pairs("valid")])
    with pytest.raises(InputError, match=r"no pairs among the valid documents: lower pairs.alpha \(0.75\)"):
        execute(run, before, TokenizePairsStage())


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
