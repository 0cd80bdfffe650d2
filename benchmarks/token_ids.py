#!/usr/bin/env python3
"""What it costs to keep token ids in rows of synthetic documents, and what it saves: disk, and tokenizing again.

    python benchmarks/token_ids.py [--documents 6989] [--rounds 3] [--vocab-sizes 2048 8192 32768]

Documents are entries of FOLDOC (examples/quickstart), with rows as the synthesizer writes them. Prints Markdown tables:
bytes per token of a shard (.jsonl.zst, level 6) with each way to write ids, and how fast they are parsed; and the stage
`tokenize-synthetic` with and without ids, in turns.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
ROLES = {"end_of_document": "<|endoftext|>", "padding": "<|padding|>", "separator": "<|related|>"}


def row_of(number: int, text: str, ids: list[int]) -> dict[str, Any]:
    """As the synthesizer writes it, without the ids."""
    from megatron_sbp.synthesis.synthesizer import ids_digest

    return {
        "id": f"syn-{number}-0", "text": text, "tokens": len(ids) + 1, "ids_digest": ids_digest(ids), "finished": True,
        "seed_id": f"{number * 7919:08x}", "seed_row": number, "generation": 0,
    }  # fmt: skip


LINEAGE = {
    "synthesizer": "ab" * 32, "temperature": 1.0, "top_p": 0.9, "max_new_tokens": 2047, "engine": "vllm",
    "precision": "bf16", "run_seed": 1, "round": 1, "pairs": "cd" * 32,
}  # fmt: skip


def packed16(ids: list[int]) -> str:
    return base64.b64encode(np.array(ids, "<u2").tobytes()).decode()


def parse16(value: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(value), "<u2")


def seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def formats(texts: list[str], encoded: list[list[int]], rounds: int, folder: Path) -> None:
    from megatron_sbp.base import files
    from megatron_sbp.tokenization.written_ids import pack_ids, unpack_ids

    tokens = sum(map(len, encoded))
    arrays = [np.array(ids) for ids in encoded]
    rows = [row_of(number, text, ids) for number, (text, ids) in enumerate(zip(texts, encoded, strict=True))]

    def size(more: Callable[[int], dict[str, Any]]) -> int:
        files.write_jsonl_zst(folder / "shard.jsonl.zst", ({**row, **more(place)} for place, row in enumerate(rows)))
        return (folder / "shard.jsonl.zst").stat().st_size

    plain, named = size(lambda _: {}), size(lambda _: LINEAGE)
    print(f"| text and parents | {plain / tokens:.2f} | | |")
    print(f"| and lineage | {named / tokens:.2f} | {(named - plain) / len(rows):.1f} per row | |")
    ways: dict[str, tuple[list[Any], Callable[[Any], Any]]] = {
        "ours: base64, three bytes": ([pack_ids(ids) for ids in arrays], unpack_ids),
        "base64, two bytes": ([packed16(ids) for ids in encoded], parse16),
        "JSON list": (encoded, np.array),
    }
    lines = {name: [json.dumps(value) for value in values] for name, (values, _) in ways.items()}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (_, parse) in ways.items():
            rates[name].append(tokens / seconds(lambda: [parse(json.loads(line)) for line in lines[name]]) / 1e6)  # noqa: B023
    for name, (values, _) in ways.items():
        whole = size(lambda place: {**LINEAGE, "token_ids": values[place]})  # noqa: B023
        rate = statistics.median(rates[name])
        print(f"| ids: {name} | {whole / tokens:.2f} | +{(whole - named) / tokens:.2f} per token | {rate:.1f} |")


def stages(texts: list[str], encoded: list[list[int]], tokenizer: Any, rounds: int, folder: Path) -> list[str]:
    from megatron_sbp.base import files
    from megatron_sbp.tokenization.documents import tokenize_written
    from megatron_sbp.tokenization.written_ids import pack_ids

    shards = {"text": folder / "text.jsonl.zst", "ids": folder / "ids.jsonl.zst"}
    rows = [row_of(number, text, ids) for number, (text, ids) in enumerate(zip(texts, encoded, strict=True))]
    files.write_jsonl_zst(shards["text"], rows)
    with_ids = ({**row, "token_ids": pack_ids(np.array(ids))} for row, ids in zip(rows, encoded, strict=True))
    files.write_jsonl_zst(shards["ids"], with_ids)
    found: dict[str, list[float]] = {name: [] for name in shards}
    for _ in range(rounds):
        for name, shard in shards.items():
            begin = time.process_time()
            tokenize_written(shard, folder / name, tokenizer)
            found[name].append(time.process_time() - begin)
    assert (folder / "text.bin").read_bytes() == (folder / "ids.bin").read_bytes()
    text, ids = (statistics.median(found[name]) for name in shards)
    return [f"{tokenizer.vocab_size:,}", f"{text:.2f}", f"{ids:.2f}", f"{text / ids:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=6989)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vocab-sizes", type=int, nargs="+", default=[2048, 8192, 32_768])
    options = parser.parse_args()
    from megatron_sbp.base import files
    from megatron_sbp.tokenization.bpe import train_bpe

    rows = files.read_jsonl_zst(ROOT / "examples" / "quickstart" / "foldoc.jsonl.zst")
    texts = [row["text"] for row in itertools.islice(rows, options.documents)]
    measured = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for vocabulary in options.vocab_sizes:
            tokenizer = train_bpe(texts, vocabulary, ROLES)
            encoded = tokenizer.encode_batch(texts)
            print(f"\n{len(texts):,} documents, {sum(map(len, encoded)):,} tokens, {tokenizer.vocab_size:,} entries\n")
            print("| row | bytes per token, compressed | more | million ids parsed a second |\n|---|---|---|---|")
            formats(texts, encoded, options.rounds, folder)
            measured.append(stages(texts, encoded, tokenizer, options.rounds, folder))
    print("\n| entries | tokenize-synthetic from text, CPU seconds | from ids | ratio |\n|---|---|---|---|")
    print("\n".join("| " + " | ".join(line) + " |" for line in measured))


if __name__ == "__main__":
    main()
