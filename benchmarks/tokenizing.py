#!/usr/bin/env python3
"""Tokenizing a corpus beside Megatron-LM's tools/preprocess_data.py, with as many workers and the same tokenizer.

    git clone https://github.com/NVIDIA/Megatron-LM /scratch/Megatron-LM
    python benchmarks/tokenizing.py --megatron /scratch/Megatron-LM [--workers 1 2] [--copies 2 16] [--rounds 1]

The documents are the quick start's (6,989 entries of a dictionary, 605 characters on average), several times over, as
one .jsonl. Ours is tools/preprocess_documents.py with as many workers as the peer has (`--workers`, one table for each
number); the peer gets our tokenizer as its HuggingFaceTokenizer, and `--append-eod`. Both run as programs of their own,
in turns, and their .bin and .idx must be equal byte for byte. CPU seconds include the processes that each starts.
A program's start (imports, loading the tokenizer) is the same for any corpus: `without the start` is the difference
between the two numbers of copies. Ours starts processes from 64 MB on, so the smaller corpus takes one.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "examples" / "quickstart" / "foldoc.jsonl.zst"


def make(folder: Path, copies: list[int], vocabulary: int) -> int:
    """The corpora and the tokenizer; returns the documents of one copy."""
    from megatron_sbp.base import files
    from megatron_sbp.tokenization.bpe import train_bpe
    from megatron_sbp.tokenization.tokenizer import save_tokenizer

    texts = [row["text"] for row in files.read_jsonl_zst(CORPUS)]
    roles = {"end_of_document": "<|endoftext|>", "padding": "<|padding|>", "separator": "<|separator|>"}
    save_tokenizer(folder / "tokenizer", train_bpe(texts, vocabulary, roles))
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    for count in copies:
        with open(folder / f"{count}.jsonl", "w", encoding="utf-8") as file:
            for _ in range(count):
                file.write(lines)
    return len(texts)


def run(words: list[str], log: Path) -> tuple[float, float]:
    """Seconds and CPU seconds of a program and of the processes that it starts."""
    one = {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}  # a worker is a thread
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **one}
    with log.open("w") as output:
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, *words], env=environment, stdout=output, stderr=output)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"{' '.join(words)} failed:\n{log.read_text()[-2000:]}")
    return time.monotonic() - began, used.ru_utime + used.ru_stime


def ours(folder: Path, count: int, workers: int) -> tuple[float, float]:
    words = ["tools/preprocess_documents.py", "--inputs", f"{folder / str(count)}.jsonl"]
    words += ["--tokenizer", str(folder / "tokenizer"), "--output", f"{folder}/ours-{count}", "--workers", str(workers)]
    return run([str(ROOT / words[0]), *words[1:]], folder / "ours.log")


def megatron(folder: Path, count: int, workers: int, program: Path) -> tuple[float, float]:
    words = [str(program), "--input", f"{folder / str(count)}.jsonl", "--output-prefix", f"{folder}/theirs-{count}"]
    words += ["--tokenizer-type", "HuggingFaceTokenizer", "--tokenizer-model", str(folder / "tokenizer")]
    words += ["--append-eod", "--workers", str(workers), "--log-interval", "100000"]
    return run(words, folder / "theirs.log")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--megatron", type=Path, default=os.environ.get("MEGATRON_LM"), help="Megatron-LM's sources (or $MEGATRON_LM)"
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--copies", type=int, nargs=2, default=[2, 16], help="of the quick start's corpus")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--vocabulary", type=int, default=8192)
    options = parser.parse_args()
    program = options.megatron and (options.megatron / "tools" / "preprocess_data.py").resolve()
    if not program or not program.is_file():
        parser.exit(2, "error: Megatron-LM is not installed: --megatron FOLDER with tools/preprocess_data.py\n")
    few, many = sorted(options.copies)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        documents = make(folder, [few, many], options.vocabulary)
        for workers in options.workers:
            compare(folder, documents, (few, many), workers, program=program, rounds=options.rounds)


def compare(folder: Path, documents: int, copies: tuple[int, int], workers: int, *, program: Path, rounds: int) -> None:
    """Prints the table of a number of workers."""
    few, many = copies
    figures: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for number in range(rounds):
        for count in (few, many):
            figures.setdefault(("theirs", count), []).append(megatron(folder, count, workers, program))
            figures.setdefault(("ours", count), []).append(ours(folder, count, workers))
            for suffix in ("bin", "idx"):
                pair = folder / f"ours-{count}.{suffix}", folder / f"theirs-{count}_text_document.{suffix}"
                if not filecmp.cmp(*pair, shallow=False):
                    raise SystemExit(f"the .{suffix} files differ")
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    size = (folder / f"ours-{many}.bin").stat().st_size
    print(
        f"{workers} workers, {few * documents:,} and {many * documents:,} documents; .bin ({size / 1e6:.0f} MB) and "
        f".idx equal byte for byte; medians of {rounds} turns; load {os.getloadavg()[0]:.2f}\n"
    )
    print("| | Megatron, documents/s | ours, documents/s | ratio | per CPU second | | ratio |\n|" + "---|" * 7)
    for label, first, last in (
        (f"the program, {few * documents:,} documents", 0, few),
        (f"the program, {many * documents:,} documents", 0, many),
        ("without the start", few, many),
    ):
        cells = []
        for column in (0, 1):
            rates = {
                name: [
                    (last - first) * documents / max(1e-9, high[column] - (low[column] if first else 0))
                    for low, high in zip(figures[name, few], figures[name, last], strict=True)
                ]
                for name in ("theirs", "ours")
            }
            ratio = statistics.median(our / their for our, their in zip(rates["ours"], rates["theirs"], strict=True))
            cells += [f"{statistics.median(rates[name]):,.0f}" for name in ("theirs", "ours")] + [f"**{ratio:.1f}**"]
        print(f"| {label} | {' | '.join(cells)} |", flush=True)
    print()


if __name__ == "__main__":
    main()
