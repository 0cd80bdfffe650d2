"""tools/make_tokenizer.py as its user runs it."""

from __future__ import annotations

import json

from support.tool_runs import run_tool
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from megatron_sbp.tokenization.tokenizer import load_tokenizer


def test_one_is_trained_and_trained_again(tmp_path):
    rows = [{"body": "the kernel of the machine"}, {"body": " "}, {"body": "the memory of the kernel"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("--inputs", "a.jsonl", "--text-field", "body", "--output", "tokenizer", "--vocab-size")
    done = run_tool("make_tokenizer.py", tmp_path, *words, 265)
    assert done.returncode == 0, done.stderr
    told = {"end_of_document": "<|endoftext|>", "padding": "<|padding|>", "separator": "<|related|>"}
    assert json.loads(done.stdout) == {"entries": 265, **told}
    assert load_tokenizer(tmp_path / "tokenizer").vocab_size == 265
    assert len(AutoTokenizer.from_pretrained(tmp_path / "tokenizer")) == 265
    assert json.loads(run_tool("make_tokenizer.py", tmp_path, *words, 262).stdout)["entries"] == 262
    done = run_tool("make_tokenizer.py", tmp_path, *words, 100)
    assert done.returncode == 2 and "'--vocab-size': must be at least 259" in done.stderr
    assert load_tokenizer(tmp_path / "tokenizer").vocab_size == 262


def test_one_that_is_there_keeps_its_tokens_and_gets_what_it_lacks(tmp_path):
    tokenizer = Tokenizer(models.BPE({"</s>": 0, "a": 1, "b": 2, "ab": 3}, [("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>").save_pretrained(tmp_path / "theirs")
    done = run_tool(
        "make_tokenizer.py", tmp_path, "--source", "./theirs", "--output", "ours", "--separator", "<|next|>"
    )
    assert done.returncode == 0, done.stderr
    told = {"end_of_document": "</s>", "padding": "<|padding|>", "separator": "<|next|>"}
    assert json.loads(done.stdout) == {"entries": 6, **told}
    found = load_tokenizer(tmp_path / "ours")
    assert found.encode_batch(["ab b"]) == [[3, 2]] and found.end_of_document == 0
    done = run_tool("make_tokenizer.py", tmp_path, "--source", "./nowhere", "--output", "ours")
    assert done.returncode == 2 and "no such folder" in done.stderr, done.stderr
