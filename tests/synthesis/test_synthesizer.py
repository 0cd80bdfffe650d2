"""Prompts are those of the training pairs."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.synthesis.engine import Written
from megatron_sbp.synthesis.synthesizer import prompt_of, text_of, weights_digest
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.pairs import PairLimits, write_pairs
from megatron_sbp.tokenization.tokenizer import load_tokenizer


@pytest.mark.parametrize("cut", ["head", "tail"])
def test_prompts_are_the_seeds_of_training_pairs(make_run, tmp_path, cut):
    """For every document: what tokenize-pairs stores as seed, and the separator behind it."""
    run = make_run("prompts")
    tokenizer, real = load_tokenizer(run.tokenizer), open_indexed(run.tokens("real"))
    rows = np.arange(len(real))
    limits = PairLimits(int(np.median(real.lengths)), run.recipe.max_target_tokens, cut)
    write_pairs(
        tmp_path / "pairs",
        real,
        rows,
        rows[::-1],
        limits=limits,
        starts_character=tokenizer.starts_character,
        end_of_document=tokenizer.end_of_document,
    )
    pairs = open_indexed(tmp_path / "pairs")
    lengths = set()
    for row in rows.tolist():
        prompt = prompt_of(real[row], tokenizer, limits.max_seed_tokens, cut)
        assert prompt.tolist() == [*pairs[2 * row].tolist(), tokenizer.separator]
        lengths.add(len(prompt))
    assert max(lengths) == limits.max_seed_tokens + 1 and len(lengths) > 10  # some were cut, some were not


def test_a_cut_character_is_left_out_of_unfinished_texts_only(tokenizer):
    ids = np.array(tokenizer.encode_batch(["café 日本"])[0][:-1])
    assert text_of(Written(ids, finished=False), tokenizer) == "café 日"
    assert text_of(Written(ids, finished=True), tokenizer) == "café 日\ufffd"


def test_weights_without_provenance(make_run):
    export = make_run("weights").export("synthesizer")
    with_it = weights_digest(export)
    (export / "provenance.json").unlink()
    assert with_it == "ab" * 32 and len(weights_digest(export)) == 32
    (export / "model.safetensors").unlink()
    with pytest.raises(InputError, match="holds no weights"):
        weights_digest(export)
