"""A small tokenizer, and real Megatron in another process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORDS = "the of a program that stores numbers in memory is called from another computer network protocol language"


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory) -> Path:
    """A byte-level BPE with 290 entries."""
    from megatron_sbp.tokenization.bpe import train_bpe
    from megatron_sbp.tokenization.tokenizer import save_tokenizer

    roles = {"end_of_document": "<|endoftext|>", "padding": "<|padding|>", "separator": "<|related|>"}
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder, train_bpe([f"{word} {WORDS}" for word in WORDS.split()], 290, roles))
    return folder


@pytest.fixture(scope="session")
def run_megatron(run_beside_megatron):
    """Runs jobs of megatron_logits.py, on one rank or several."""
    program = (ROOT / "tests" / "support" / "megatron_logits.py").read_text()

    def run(jobs: list[dict], folder: Path, ranks: int = 1) -> None:
        (folder / "jobs.json").write_text(json.dumps(jobs))
        run_beside_megatron(program, folder / "jobs.json", ranks)

    return run
