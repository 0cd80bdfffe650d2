from __future__ import annotations

import itertools
import json
from pathlib import Path

import pyarrow.parquet
import pytest
from support.tool_runs import run_tool

from megatron_sbp.base import files
from megatron_sbp.tokenization.bpe import train_bpe
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import load_tokenizer, save_tokenizer

ROOT = Path(__file__).parents[2]
ROLES = {"end_of_document": "<|endoftext|>", "padding": "<|padding|>", "separator": "<|related|>"}


@pytest.fixture(scope="module")
def foldoc() -> list[dict]:
    return list(itertools.islice(files.read_jsonl_zst(ROOT / "examples" / "quickstart" / "foldoc.jsonl.zst"), 60))


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory, foldoc) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder, train_bpe([row["text"] for row in foldoc], 600, ROLES))
    return folder


def test_documents(tmp_path, foldoc, tokenizer_folder):
    files.write_jsonl_zst(tmp_path / "a.jsonl.zst", foldoc[:30])
    rows = "".join(json.dumps(row) + "\n" for row in foldoc[30:])
    (tmp_path / "b.jsonl").write_text(rows + '{"text": "  "}\n{"body": 1}\n')
    words = ("--inputs", "*.jsonl*", "--tokenizer", tokenizer_folder, "--output", "out/documents")
    done = run_tool("preprocess_documents.py", tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path / 'b.jsonl'}:32: 'text': field is missing; there are: body\n"
    assert not (tmp_path / "out" / "documents.idx").exists()

    done = run_tool("preprocess_documents.py", tmp_path, *words, "--bad-documents", "skip")
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert (counts["documents"], counts["empty"], counts["bad"]) == (60, 1, 1)
    tokens, tokenizer = open_indexed(tmp_path / "out" / "documents"), load_tokenizer(tokenizer_folder)
    assert [tokenizer.decode(tokens[row]) for row in range(len(tokens))] == [row["text"] for row in foldoc]
    assert counts["tokens"] == len(tokens.tokens)

    (tmp_path / "b.jsonl").write_text(rows)
    done = run_tool("preprocess_documents.py", tmp_path, *words, "--no-end-of-document")
    assert json.loads(done.stdout)["tokens"] == counts["tokens"] - 60


def test_pairs(tmp_path, foldoc, tokenizer_folder):
    rows = [{"seed": row["text"], "target": row["title"]} for row in foldoc]
    files.write_jsonl_zst(tmp_path / "pairs.jsonl.zst", rows)
    words = ("--inputs", "pairs.jsonl.zst", "--tokenizer", tokenizer_folder, "--output", "pairs")
    done = run_tool("preprocess_pairs.py", tmp_path, *words, "--max-seed-tokens", 40, "--max-target-tokens", 5)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    tokens, tokenizer = open_indexed(tmp_path / "pairs"), load_tokenizer(tokenizer_folder)
    assert (counts["pairs"], tokens.documents, len(tokens)) == (60, 60, 120)
    cut = 0
    for number, row in enumerate(rows):
        assert row["seed"].startswith(tokenizer.decode(tokens[2 * number]))
        target = tokens[2 * number + 1]
        assert row["target"].startswith(tokenizer.decode(target))
        assert (tokenizer.decode(target) == row["target"]) == (target[-1] == tokenizer.end_of_document)
        cut += target[-1] != tokenizer.end_of_document
    assert counts["targets_cut"] == cut > 0
    done = run_tool("preprocess_pairs.py", tmp_path, *words, "--max-seed-tokens", 40, "--max-target-tokens", 0)
    assert done.returncode == 2
    assert "must be 1 or more" in done.stderr


def test_synthetic(tmp_path, foldoc, tokenizer_folder):
    rows = [{"id": f"syn-{n}", "text": row["text"], "seed_id": row["id"]} for n, row in enumerate(foldoc[:20])]
    written = [{**row, "synthesizer": "abc", "temperature": 0.7} for row in rows]
    written.insert(2, {**written[0], "text": "  "})  # left out of both
    files.write_jsonl_zst(tmp_path / "0.jsonl.zst", written)
    words = ("--inputs", "*.zst", "--tokenizer", tokenizer_folder, "--output", "synthetic")
    done = run_tool("preprocess_synthetic.py", tmp_path, *words)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert (counts["documents"], counts["seed_documents"], counts["synthesizers"]) == (20, 20, {"abc": 20})
    tokens, tokenizer = open_indexed(tmp_path / "synthetic"), load_tokenizer(tokenizer_folder)
    assert counts["tokens"] == len(tokens.tokens)
    parents = pyarrow.parquet.read_table(tmp_path / "synthetic.parents.parquet").to_pylist()
    texts = {row["id"]: row["text"] for row in rows}
    assert [texts[row["id"]] for row in parents] == [tokenizer.decode(tokens[place]) for place in range(20)]
    assert [row["seed_id"] for row in parents] == [row["seed_id"] for row in rows]
    assert parents[3]["temperature"] == 0.7 and parents[3]["top_p"] is None
    done = run_tool("preprocess_synthetic.py", tmp_path, *words, "--need-tokens", counts["tokens"] + 1)
    assert done.returncode == 2
    assert f"{counts['tokens'] + 1:,} tokens are needed, but there are {counts['tokens']:,}" in done.stderr
    files.write_jsonl_zst(tmp_path / "1.jsonl.zst", rows)
    done = run_tool("preprocess_synthetic.py", tmp_path, *words)
    assert done.returncode == 2
    assert "1.jsonl.zst:1: 'synthesizer': field is missing" in done.stderr


@pytest.mark.parametrize("tool", ["preprocess_documents.py", "preprocess_pairs.py", "preprocess_synthetic.py"])
def test_help_and_missing_files(tmp_path, tokenizer_folder, tool):
    done = run_tool(tool, tmp_path, "--help")
    assert done.returncode == 0
    assert "--tokenizer" in done.stdout
    limits = ("--max-seed-tokens", 4, "--max-target-tokens", 4) if "pairs" in tool else ()
    done = run_tool(tool, tmp_path, "--inputs", "x*", "--tokenizer", tokenizer_folder, "--output", "o", *limits)
    assert done.returncode == 2
    assert done.stderr.startswith("error: 'x*' matches no file")
    done = run_tool(tool, tmp_path, "--inputs", "x*", "--tokenizer", "./none", "--output", "o", *limits)
    assert done.returncode == 2
    assert done.stderr == "error: ./none: '--tokenizer': no such folder\n"
