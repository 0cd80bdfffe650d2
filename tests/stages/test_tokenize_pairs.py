"""The stage `tokenize-pairs`: rows of documents to seeds and targets, cut to their limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from support.tokenized_run import WrittenBefore, execute, texts, tokenized_run

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.stages import tokenize_pairs
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.tokenize_pairs import TokenizePairsStage
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import load_tokenizer


@pytest.fixture
def run(tmp_path) -> Run:
    return tokenized_run(tmp_path)


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


def test_units_of_some_pairs_each_write_the_same_datasets(run, monkeypatch):
    random = np.random.default_rng(5)
    write_parquet(run.pairs("train"), random.integers(0, 200, 23).tolist(), random.integers(0, 200, 23).tolist())
    write_parquet(run.pairs("valid"), [39, 1, 2], [0, 3, 4])
    before, stage = WrittenBefore("pairs", [run.pairs("train"), run.pairs("valid")]), TokenizePairsStage()
    names = ("pairs.bin", "pairs.idx", "valid_pairs.bin", "valid_pairs.idx", "pairs_audit.json")
    assert stage.units(run) == ["train-00000", "valid-00000"]
    execute(run, before, stage)
    whole = [(run.root / "tokens" / name).read_bytes() for name in names]
    assert not (run.root / "tokens" / "parts" / "tokenize-pairs" / "train-00000.bin").exists()
    monkeypatch.setattr(tokenize_pairs, "PAIRS_PER_UNIT", 10)
    assert stage.units(run) == ["train-00000", "train-00001", "train-00002", "valid-00000"]
    (run.manifests / "tokenize-pairs.json").unlink()
    for name in names:
        (run.root / "tokens" / name).unlink()
    execute(run, before, stage)
    assert [(run.root / "tokens" / name).read_bytes() for name in names] == whole
