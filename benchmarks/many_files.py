#!/usr/bin/env python3
"""What the number of a corpus's files costs the stage `documents`: the same documents in few and in many files.

    python benchmarks/many_files.py --folder /scratch/many_files      # 100,000 documents in 100, 1,000, 10,000 files

CPU seconds are those of a process for each of both steps, and of the processes that it starts. Megabytes are the peak
of resident memory of the largest of them, mapped pages included.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from megatron_sbp.recipe.sections import Documents

ROOT = Path(__file__).resolve().parents[1]
SHARD = 2_500


def make(folder: Path, count: int, many: int, words: int) -> None:
    """The same documents, whatever the number of files."""
    from megatron_sbp.base import files

    vocabulary = np.array([f"w{number:x}" for number in np.random.default_rng(0).permutation(30_000)])
    ends = [count * number // many for number in range(many + 1)]
    for number in range(many):
        rows = (
            {"id": str(document), "text": " ".join(np.random.default_rng([1, document]).choice(vocabulary, words))}
            for document in range(ends[number], ends[number + 1])
        )
        files.write_jsonl_zst(folder / "corpus" / f"{number // 1000:02d}" / f"{number:06d}.jsonl.zst", rows)


def inputs(folder: Path, count: int) -> tuple[Documents, list[list[Path]], list[Path]]:
    """The recipe's section, the files, their groups, and the parts."""
    from megatron_sbp.documents.corpus_files import corpus_files
    from megatron_sbp.documents.input_groups import input_groups
    from megatron_sbp.recipe.sections import Documents

    held_out = max(1, count // 100)
    documents = Documents(
        inputs=["corpus/*/*.jsonl.zst"], id_field="id", train=count - 2 * held_out, valid=held_out, test=held_out,
        oracle=0, documents_per_shard=SHARD,
    )  # fmt: skip
    found = corpus_files(documents, folder)[0]
    groups = [[found[place] for place in group] for group in input_groups(found)]
    return documents, groups, [folder / "parts" / f"{number:05d}" for number in range(len(groups))]


def read(folder: Path, count: int) -> None:
    from megatron_sbp.documents.corpus import read_part

    documents, groups, parts = inputs(folder, count)
    for group, part in zip(groups, parts, strict=True):
        read_part(documents, 1, group, part)


def cut(folder: Path, count: int) -> None:
    from megatron_sbp.documents.corpus import join_parts

    documents, _, parts = inputs(folder, count)
    join_parts(documents, 1, parts, folder / "documents", folder=folder, rejection_audit=folder / "rejected.json")


STEPS = {"read": read, "cut": cut}


def measured(folder: Path, count: int, step: str) -> str:
    """Runs one step in a process of its own and describes what it took."""
    words: list[str | Path] = ["--folder", folder, "--documents", str(count), "--step", step]
    with (folder / f"{step}.log").open("w") as log:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, __file__, *words],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stderr=log,
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"the step {step} failed: {folder / f'{step}.log'}")
    wall = time.monotonic() - began
    return f"{used.ru_utime + used.ru_stime:,.1f} | {wall:,.1f} | {used.ru_maxrss / 1e3:,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for the corpora; they are removed at the end")
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--files", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--words", type=int, default=400, help="of a document (default: 400)")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        STEPS[options.step](options.folder, options.documents)
        return
    print("| files | tasks | reading, CPU s | seconds | MB | cutting shards, CPU s | seconds | MB |\n|" + "---|" * 8)
    for many in options.files:
        folder = options.folder / f"{many}-files"
        folder.mkdir(parents=True)
        try:
            make(folder, options.documents, many, options.words)
            tasks = len(inputs(folder, options.documents)[1])
            found = [measured(folder, options.documents, step) for step in STEPS]
            print(f"| {many:,} | {tasks:,} | {' | '.join(found)} |", flush=True)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
