#!/usr/bin/env python3
"""Peak memory of export and import on a checkpoint of a chosen size, and their speed.

    python benchmarks/export_memory.py --layers 48 --folder /scratch/tmp

Writes a Megatron checkpoint of zeros with torch.distributed.checkpoint (a chunk per layer and tensor, as Megatron saves
it), exports it to Hugging Face's format and imports the result again, each in a process of its own whose peak resident
memory is taken. Both must stay below twice the largest tensor + 2 GB; the last line says whether they did. Needs three
times the size of the checkpoint on disk for a while.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe import Model

ALLOWED = 2 * 2**30
"""Bytes beside the tensors: Python, torch, what the allocator keeps."""


def write_checkpoint(folder: Path, model: Model, vocabulary: int) -> None:
    """A Megatron checkpoint of zeros in bf16."""
    import torch

    from megatron_sbp.checkpoint import mapping
    from megatron_sbp.checkpoint.torch_dist import Chunk, write_torch_dist

    shapes = mapping.expected_shapes(model, vocabulary)
    chunks = []
    for piece in mapping.pieces(model, vocabulary):
        whole = tuple(vocabulary if size == -1 else size for size in shapes[piece.megatron])
        chunks.append(
            Chunk(piece.megatron, whole, piece.offset, piece.size, torch.bfloat16,
                  functools.partial(torch.zeros, piece.size, dtype=torch.bfloat16))
        )  # fmt: skip
    write_torch_dist(folder, chunks, {})


def write_tokenizer(folder: Path, vocabulary: int) -> None:
    """A tokenizer with that many entries."""
    from tokenizers import Tokenizer, models

    from megatron_sbp.tokenization.tokenizer import TextTokenizer, save_tokenizer

    roles = {"end_of_document": "<|endoftext|>", "padding": "<|padding|>", "separator": "<|related|>"}
    backend = Tokenizer(models.BPE({f"word{number}": number for number in range(vocabulary - 3)}, []))
    backend.add_special_tokens(list(roles.values()))
    save_tokenizer(folder, TextTokenizer(backend, roles))


def child(job: JsonObject) -> None:
    """Exports or imports in this process; prints seconds and peak memory, before and after."""
    import torch  # noqa: F401

    from megatron_sbp.checkpoint import safetensors_files, torch_dist  # noqa: F401
    from megatron_sbp.checkpoint.hugging_face import export
    from megatron_sbp.checkpoint.hugging_face_import import import_checkpoint
    from megatron_sbp.tokenization.hugging_face import open_tokenizer

    model, source, target = Model(**job["model"]), Path(job["source"]), Path(job["target"])
    open_tokenizer(job["tokenizer"])
    before, started = peak_bytes(), time.perf_counter()
    if job["way"] == "export":
        export(source, model, Path(job["tokenizer"]), target)
    else:
        import_checkpoint(source, model, vocabulary=job["vocabulary"], padded=job["vocabulary"], target=target)
    print(json.dumps({"before": before, "peak": peak_bytes(), "seconds": time.perf_counter() - started}))


def peak_bytes() -> int:
    """Largest resident memory of this program so far; getrusage would count the process that started it, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def measure(model: Model, vocabulary: int, folder: Path) -> dict[str, dict[str, float]]:
    """Peak memory and time of both ways, by way: `before`, `peak` (bytes), `seconds`."""
    write_tokenizer(folder / "tokenizer", vocabulary)
    write_checkpoint(folder / "model" / "iter_0000001", model, vocabulary)
    common = {"model": model.model_dump(), "tokenizer": str(folder / "tokenizer"), "vocabulary": vocabulary}
    found = {}
    for way, source, target in (("export", "model/iter_0000001", "hugging_face"), ("import", "hugging_face", "back")):
        job = {**common, "way": way, "source": str(folder / source), "target": str(folder / target)}
        done = subprocess.run(
            [sys.executable, __file__, "--child", json.dumps(job)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]
        found[way] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=48)
    parser.add_argument("--hidden-size", type=int, default=2048)
    parser.add_argument("--ffn-hidden-size", type=int, default=6144)
    parser.add_argument("--vocabulary", type=int, default=32_768)
    parser.add_argument("--folder", type=Path, help="where a temporary folder is made (default: the system's)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(json.loads(options.child))
        return
    heads = options.hidden_size // 128
    model = Model(
        num_layers=options.layers, hidden_size=options.hidden_size, ffn_hidden_size=options.ffn_hidden_size,
        num_attention_heads=heads, num_query_groups=max(1, heads // 4), sequence_length=4096, tied_embeddings=True,
    )  # fmt: skip
    from megatron_sbp.planning import cost

    size = 2 * cost.parameters(model, options.vocabulary).total
    largest = 2 * options.hidden_size * max(options.vocabulary, options.ffn_hidden_size)
    stacked = 2 * 2 * options.ffn_hidden_size * options.hidden_size * options.layers
    print(f"checkpoint {size / 1e9:.2f} GB in bf16, {options.layers} layers; largest Hugging Face tensor "
          f"{largest / 1e6:.0f} MB, largest stack of layers {stacked / 1e9:.2f} GB\n")  # fmt: skip
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measure(model, options.vocabulary, Path(folder))
    print("| way | peak, MB | of it before, MB | seconds | GB/s |\n|---|---|---|---|---|")
    for way, row in found.items():
        print(
            f"| {way} | {row['peak'] / 1e6:.0f} | {row['before'] / 1e6:.0f} | {row['seconds']:.1f} | "
            f"{size / 1e9 / row['seconds']:.2f} |"
        )
    kept = all(row["peak"] < 2 * largest + ALLOWED for row in found.values())
    print(f"\nbound of {(2 * largest + ALLOWED) / 1e6:.0f} MB: {'kept' if kept else 'BROKEN'}")
    raise SystemExit(not kept)


if __name__ == "__main__":
    main()
