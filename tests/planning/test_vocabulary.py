"""The size of a vocabulary, from the file alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.planning.plan import make_plan
from megatron_sbp.planning.vocabulary import vocab_size_of
from megatron_sbp.recipe import load_recipe
from megatron_sbp.tokenization.tokenizer import save_tokenizer

TINY = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"


@pytest.mark.parametrize(
    ("tree", "size"),
    [
        ({"model": {"vocab": {"a": 0, "b": 1, "c": 2}}}, 3),
        ({"model": {"vocab": {"a": 0, "b": 9}}}, 10),  # ids with gaps
        ({"model": {"vocab": [["a", -1.0], ["b", -2.0]]}}, 2),  # Unigram
        ({"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 7, "content": "<|x|>"}]}, 8),
        ({"model": {"vocab": {"a": 0, "ü": 9}}, "added_tokens": [{"id": 3, "content": "<|x|>"}]}, 10),
        ({"model": {}, "added_tokens": [{"id": 3, "content": "<|x|>"}]}, 4),
        ({"model": {"vocab": {}}}, 0),
    ],
)
def test_the_largest_id_and_one(tmp_path, tree, size):
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8")
    assert vocab_size_of(file) == size


def test_of_a_tokenizer_that_was_trained(tmp_path, tokenizer):
    save_tokenizer(tmp_path, tokenizer)
    assert vocab_size_of(tmp_path / "tokenizer.json") == tokenizer.vocab_size


def test_the_plan_reads_it_where_the_recipe_says(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 4321}}}))
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (f"{tmp_path}/mine", "~/mine"):
        assert make_plan(load_recipe(TINY, [f"tokenizer.path={path}"]))["model"]["vocab_size"]["tokens"] == 4322


@pytest.mark.parametrize("text", ['{"model": ', "[]", '{"model": null}', '{"model": {"vocab": {"a": "b"}}}', "\xff"])
def test_a_file_that_is_no_tokenizer_is_named(tmp_path, text):
    file = tmp_path / "tokenizer.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"tokenizer\.json: is not a tokenizer of Hugging Face's"):
        vocab_size_of(file)


def test_a_tokenizer_without_entries_has_a_plan(tmp_path):
    """The stage `tokenizer` will refuse it, or give it what it lacks."""
    (tmp_path / "tokenizer.json").write_text('{"model": {"vocab": {}}}')
    plan = make_plan(load_recipe(TINY, [f"tokenizer.path={tmp_path}"]), sample={"bytes": 90.0, "corpus": None})
    assert plan["sample"]["tokens_per_document"] == 91
