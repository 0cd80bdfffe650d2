"""The stage `tokenize-pairs`: rows of documents to seeds and targets, cut to their limits."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from support.tokenized_run import WrittenBefore, execute, texts, tokenized_run

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
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
