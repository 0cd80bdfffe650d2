#!/usr/bin/env python3
"""What the data stages cost per document, on made-up documents of realistic length: CPU seconds, memory, bytes.

    python benchmarks/scaling.py --folder /scratch/scaling                     # 10k, 30k and 100k documents
    python benchmarks/scaling.py --folder /scratch/scaling --documents 1000 3000

Every step is a function in a process of its own; its CPU seconds and its peak of memory are those of that
process. Memory is that without a file behind it (RssAnon, sampled 50 times a second): pages of mapped files can be
reclaimed. Embeddings, neighbors and generations that later steps read are made up. The steps that run a model (`embed`,
`compare`, `synthesize`) do so for 64 documents on one CPU core, with MiniLM and a synthesizer of a million parameters;
a GPU and the paper's models cost something else. Their start is in the figure, so they are not extrapolated. The table
has the CPU seconds at the largest size, the memory at every size, and the slope of both between the two largest; the
other tables extrapolate the CPU seconds: those per document times the documents of the paper's corpora, and those per
generation (1.1 for each document here) times the generations of its recipes. The slope of memory says little while
buffers are not yet full. Steps that look at one shard, or at a million pairs, are tasks of an array: their memory does
not depend on the corpus.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scaling_models as models
from scaling_models import SOME, shards

if TYPE_CHECKING:
    from megatron_sbp.pairing.mined_shards import MinedShard
    from megatron_sbp.recipe.sections import Documents, Filter, Pairs, Tokenizer
    from megatron_sbp.synthesis.judged import Judged

ROOT = Path(__file__).resolve().parents[1]
WORDS, DOCUMENTS_PER_TOPIC, K, SHARD, PAIRS = 30_000, 40, 50, 2_500, 1_000_000
CORPORA = {"12M documents": 12e6, "60M documents": 60e6, "the pool of 582M": 582e6}
SYNTHETIC = {"119M generations (75B tokens)": 118.9e6, "198M (125B)": 198.1e6, "396M (250B)": 396.3e6}
"""As many as the paper's recipes plan: docs/synthesis_cost.md."""
PER_DOCUMENT = 1.1
"""Generations that are made up for each document."""


def make(folder: Path, documents: int, words: int) -> None:
    """Documents of about `words` words with Zipf frequencies and a topic each, embeddings, neighbors, generations."""
    from megatron_sbp.base import files

    random = np.random.default_rng(0)
    vocabulary = np.array(
        ["".join(random.choice(list("etaoinshrdlucmfw"), 1 + n % 9)) + f"{n:x}" for n in range(WORDS)]
    )
    frequency = 1 / np.arange(3, WORDS + 3)
    frequency /= frequency.sum()
    topics = max(2, documents // DOCUMENTS_PER_TOPIC)
    topic = random.integers(0, topics, documents)

    def text(number: int) -> str:
        own = np.random.default_rng([1, number])
        length = max(30, int(own.lognormal(np.log(words) - 0.3, 0.8)))
        picked = own.choice(WORDS, length, p=frequency)
        special = own.random(length) < 0.1
        picked[special] = (topic[number] * 37 + own.integers(0, 30, special.sum())) % WORDS
        return " ".join(vocabulary[picked])

    def row(number: int, text: str) -> dict[str, object]:
        return {"id": f"document-{number}", "text": text}

    for begin in range(0, documents, SHARD):
        numbers = range(begin, min(documents, begin + SHARD))
        corpus = folder / f"corpus-{begin:09d}.jsonl.zst"
        files.write_jsonl_zst(corpus, (row(number, text(number)) for number in numbers))
    (folder / "size.json").write_text(json.dumps({"documents": documents, "words": words}))


def held(folder: Path) -> tuple[Documents, Tokenizer, Pairs, Filter]:
    """The recipe's sections that the steps use."""
    from megatron_sbp.recipe.sections import Documents, Filter, Pairs, Tokenizer

    size = json.loads((folder / "size.json").read_text())["documents"]
    out = size // 100
    documents = Documents(
        inputs=["corpus-*.jsonl.zst"], id_field="id", train=(size - 2 * out - 10) // SHARD * SHARD, valid=out, test=out,
        oracle=0, documents_per_shard=SHARD,
    )  # fmt: skip
    return documents, Tokenizer(vocab_size=8192, train_characters=5_000_000), Pairs(alpha=0.5), Filter(max_copying=1.0)


def parts_of_corpus(folder: Path) -> list[Path]:
    count = len(list(folder.glob("corpus-*.jsonl.zst")))
    return [folder / "documents" / "parts" / f"{number:05d}" for number in range(count)]


def documents(folder: Path) -> None:
    """All files one after another: memory is that of one, CPU seconds are those of all."""
    from megatron_sbp.documents.corpus import read_part

    inputs = sorted(folder.glob("corpus-*.jsonl.zst"))
    for path, part in zip(inputs, parts_of_corpus(folder), strict=True):
        read_part(held(folder)[0], 1, [path], part)


def cut_shards(folder: Path) -> None:
    from megatron_sbp.documents.corpus import join_parts

    join_parts(
        held(folder)[0], 1, parts_of_corpus(folder), folder / "documents",
        folder=folder, rejection_audit=folder / "rejected.json",
    )  # fmt: skip


def tokenizer(folder: Path) -> None:
    from megatron_sbp.base import files
    from megatron_sbp.tokenization.build import build_tokenizer
    from megatron_sbp.tokenization.tokenizer import save_tokenizer

    texts = (row["text"] for row in files.read_jsonl_zst(shards(folder)[0]))
    save_tokenizer(folder / "tokenizer", build_tokenizer(held(folder)[1], texts))


def tokenize(folder: Path) -> None:
    """One shard: a task."""
    from megatron_sbp.tokenization.documents import tokenize_shard
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    (folder / "parts").mkdir(exist_ok=True)
    tokenize_shard(shards(folder)[0], folder / "parts" / "0", load_tokenizer(folder / "tokenizer"))


def made_up_parts(folder: Path) -> None:
    """Not measured: the other shards are the first one again."""
    for number in range(1, len(shards(folder))):
        for suffix in ("bin", "idx", "json"):
            link(folder / "parts" / f"0.{suffix}", folder / "parts" / f"{number}.{suffix}")


def link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    target.hardlink_to(source)


def merge(folder: Path) -> None:
    from megatron_sbp.tokenization.documents import merge_parts

    merge_parts(folder / "real", [folder / "parts" / str(n) for n in range(len(shards(folder)))], folder / "tokenizer")


def made_up_neighbors(folder: Path) -> None:
    """Not measured: K neighbors a document, of which a fifth is above alpha."""
    from megatron_sbp.tokenization.indexed import open_indexed

    total, random = len(open_indexed(folder / "real")), np.random.default_rng(2)
    for number, rows in enumerate(np.array_split(np.arange(total), len(shards(folder)))):
        ids = (rows[:, None] + 1 + random.integers(0, total - K, (len(rows), 1)) + np.arange(K)) % total
        ids[ids == rows[:, None]] += 1
        scores = np.sort(random.uniform(0.3, 0.55, (len(rows), K)).astype(np.float32))[:, ::-1]
        np.savez(folder / f"neighbors-{number}.npz", ids=ids % total, scores=scores)


def mined(folder: Path) -> list[MinedShard]:
    from megatron_sbp.pairing.mined_shards import MinedShard

    return [MinedShard(folder / f"pairs-{n}.parquet", folder / f"pairs-{n}.json") for n in range(len(shards(folder)))]


def pairs(folder: Path) -> None:
    from megatron_sbp.pairing.mined_shards import mine_shard

    first = 0
    for number, shard in enumerate(mined(folder)):
        neighbors = folder / f"neighbors-{number}.npz"
        mine_shard(
            neighbors, first, shard,
            documents=shards(folder), tokens=folder / "real", embeddings=[],
            rules=held(folder)[2], run_seed=1, label="pairs",
        )  # fmt: skip
        first += len(np.load(neighbors)["ids"])


def join_pairs(folder: Path) -> None:
    from megatron_sbp.pairing.mined_shards import join_shards

    join_shards(
        mined(folder), folder / "pairs.parquet",
        documents=shards(folder), tokens=folder / "real", rules=held(folder)[2], run_seed=1, split="train",
    )  # fmt: skip


def tokenize_pairs(folder: Path) -> None:
    """One unit: at most a million pairs."""
    from megatron_sbp.tokenization.pair_parts import tokenize_pairs
    from megatron_sbp.tokenization.pairs import PairLimits
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    encoder = load_tokenizer(folder / "tokenizer")
    tokenize_pairs(
        folder / "pairs.parquet", folder / "real", folder / "pairs", encoder, PairLimits(1024, 1024, "tail"),
        count=PAIRS,
    )  # fmt: skip


def made_up_generations(folder: Path) -> None:
    """Not measured: the documents of one shard with some words changed, a tenth of them twice, for every shard."""
    from megatron_sbp.base import files

    generations = []
    for row, document in enumerate(files.read_jsonl_zst(shards(folder)[0])):
        words = document["text"].split()
        for turn in range(1 + (row % 10 == 0)):
            words[(7 * turn) % len(words)] = f"turn{turn}"
            generations.append({
                "id": f"syn-{row}-{turn}", "text": " ".join(words), "tokens": len(words), "finished": True,
                "seed_id": document["id"], "seed_row": row, "generation": turn,
            })  # fmt: skip
    files.write_jsonl_zst(folder / "generations-0.jsonl.zst", generations)
    for number in range(1, len(shards(folder))):
        link(folder / "generations-0.jsonl.zst", folder / f"generations-{number}.jsonl.zst")


def judged(folder: Path) -> list[Judged]:
    from megatron_sbp.synthesis.judged import PARTS, Judged

    return [Judged(*(folder / f"{part}-{number}.npy" for part in PARTS)) for number in range(len(shards(folder)))]


def judge(folder: Path) -> None:
    """One shard: a task."""
    from megatron_sbp.base import files
    from megatron_sbp.synthesis.judging import judge_shard
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    judge_shard(
        list(files.read_jsonl_zst(folder / "generations-0.jsonl.zst")), "generations-0", judged(folder)[0],
        tokenizer=load_tokenizer(folder / "tokenizer"), tokens=folder / "real", rules=held(folder)[3], length=13,
    )  # fmt: skip


def made_up_judged(folder: Path) -> None:
    """Not measured: for the other shards, random signatures, of which a tenth repeats one of the first shard."""
    from megatron_sbp.overlap.near_duplicates import band_keys

    first, *others = judged(folder)
    signed, random = np.load(first.signatures), np.random.default_rng(3)
    for shard in others:
        mine = random.integers(0, 1 << 32, signed.shape, np.uint32)
        again = random.random(len(mine)) < 0.1
        mine[again] = signed[random.permutation(len(signed))[again]]
        mine[:, 5] = random.integers(0, 1 << 32, len(mine), np.uint32)
        np.save(shard.digests, random.integers(0, 1 << 62, len(mine)).astype(np.uint64))
        np.save(shard.signatures, mine)
        np.save(shard.bands, band_keys(mine))
        link(first.verdicts, shard.verdicts)


def deduplicate(folder: Path) -> None:
    """All searches one after another: memory is that of one, CPU seconds are those of all."""
    from megatron_sbp.synthesis.repeats import find_repeats, join_repeats, searches

    rules = held(folder)[3]
    found = []
    for search in searches(rules):
        found.append(folder / f"{search}.npy")
        find_repeats(search, judged(folder), found[-1], rules)
    join_repeats(found, judged(folder), repeats(folder))


def repeats(folder: Path) -> list[Path]:
    return [folder / f"repeats-{number}.npy" for number in range(len(shards(folder)))]


def keep(folder: Path) -> None:
    from megatron_sbp.synthesis.keeping import write_kept

    for number, (shard, found) in enumerate(zip(judged(folder), repeats(folder), strict=True)):
        generations = folder / f"generations-{number}.jsonl.zst"
        kept = folder / f"synthetic-{number}.jsonl.zst"
        write_kept(
            generations,
            shard,
            repeats=found,
            output=kept,
            audit_file=folder / f"audit-{number}.json",
            rules=held(folder)[3],
        )


STEPS: list[tuple[str, Callable[[Path], None]]] = [
    ("documents, reading (all files)", documents), ("documents, writing shards", cut_shards), ("tokenizer", tokenizer),
    ("tokenize (a shard)", tokenize), ("", made_up_parts),
    ("tokenize, joining", merge), ("", made_up_neighbors), ("pairs (all shards)", pairs),
    ("pairs, joining", join_pairs), ("tokenize-pairs (a million)", tokenize_pairs), ("", made_up_generations),
    ("judge (a shard)", judge), ("", made_up_judged), ("deduplicate (all bands)", deduplicate),
    ("filter (all shards)", keep), ("tokenize-synthetic (a shard)", models.tokenize_synthetic),
    ("documents (the whole stage, with digests)", models.run_documents), ("", models.some_documents),
    ("index-corpus (all parts)", models.index_corpus), ("neighbors, exact (a shard against all)", models.search_exact),
    ("neighbors, ScaNN (a shard, index included)", models.search_scann), (f"embed ({SOME} documents)", models.embed),
    (f"compare ({SOME} generations)", models.compare), (f"synthesize ({SOME} generations)", models.synthesize),
]  # fmt: skip
TASKS = {
    "tokenize (a shard)": SHARD, "judge (a shard)": SHARD, "tokenize-synthetic (a shard)": SHARD,
    "neighbors, exact (a shard against all)": SHARD,
    **{f"{name}": SOME for name, _ in STEPS if f"({SOME} " in name},
}  # fmt: skip
"""Steps that are measured on a part of the documents, and how many those are."""
OF_GENERATIONS = {
    "judge (a shard)": PER_DOCUMENT, "deduplicate (all bands)": PER_DOCUMENT, "filter (all shards)": PER_DOCUMENT,
    "tokenize-synthetic (a shard)": PER_DOCUMENT,
}  # fmt: skip
"""Steps on generations, and how many of these each document counts for in their figures."""
NOT_LINEAR = {
    "neighbors, exact (a shard against all)", "neighbors, ScaNN (a shard, index included)", "index-corpus (all parts)",
}  # fmt: skip
"""Their cost per document grows with the corpus: they are left out of the extrapolation, as are the steps that run a
model for a few texts, which mostly load it."""


def task_documents(folder: Path, name: str) -> float | None:
    """Documents that a step which does not take all of them has worked for; None where it took all."""
    if name in TASKS:
        return TASKS[name]
    if name != "tokenize-pairs (a million)":
        return None
    import pyarrow.parquet as parquet

    documents = json.loads((folder / "size.json").read_text())["documents"]
    return documents * min(1.0, PAIRS / parquet.read_metadata(folder / "pairs.parquet").num_rows)


def measure(folder: Path, step: str) -> dict[str, float]:
    """Runs one step in a process of its own: CPU seconds, wall seconds, peak of resident memory in bytes."""
    began = time.monotonic()
    log = folder / f"{step}.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, __file__, "--folder", folder, "--step", step],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
            stderr=stderr,
        )
    memory = 0
    while True:
        number, status, used = os.wait4(process.pid, os.WNOHANG)
        if number:
            break
        memory = max(memory, anonymous(process.pid))
        time.sleep(0.02)
    if status:
        raise SystemExit(f"the step {step} failed: {log}\n{log.read_text()[-2000:]}")
    return {"cpu": used.ru_utime + used.ru_stime, "wall": time.monotonic() - began, "memory": memory}


def anonymous(process: int) -> int:
    """Bytes of resident memory without a file behind it, of a process and those that it started; 0 after its end."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return 0
    own = 1024 * int(status.partition("RssAnon:")[2].split()[0]) if "RssAnon:" in status else 0
    return own + sum(anonymous(int(child)) for child in children)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for the corpora; what is there is used again")
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    parser.add_argument("--words", type=int, default=600, help="mean words of a document (default: 600)")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        {function.__name__: function for _, function in STEPS}[options.step](options.folder)
        return
    figures: dict[int, dict[str, dict[str, float]]] = {}
    for size in sorted(options.documents):
        folder = options.folder / str(size)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "size.json").exists():
            make(folder, size, options.words)
        figures[size] = {}
        for name, step in STEPS:
            found = measure(folder, step.__name__)
            if name:
                figures[size][name] = found
                if (documents := task_documents(folder, name)) is not None:
                    found["documents"] = documents
                print(
                    f"{size:>9,} {name:<24} {found['cpu']:8.1f} CPU s {found['memory'] / 1e6:8.0f} MB", file=sys.stderr
                )
        (options.folder / "figures.json").write_text(json.dumps(figures, indent=1))
    print(table(figures))


def table(figures: dict[int, dict[str, dict[str, float]]]) -> str:
    """Both tables, in Markdown."""
    sizes = sorted(figures)
    low, high = sizes[-2:] if len(sizes) > 1 else sizes * 2
    memory = " | ".join(f"memory at {size:,}" for size in sizes)
    lines = [
        f"| step | CPU s at {high:,} | CPU ms per document | {memory} | bytes per document |",
        "|---|---|---|" + "---|" * len(sizes) + "---|",
    ]
    slopes: dict[str, float] = {}
    for name in figures[high]:
        small, large = figures[low][name], figures[high][name]
        span = max(1, high - low)
        task = "documents" in large
        cpu = large["cpu"] / large["documents"] if task else (large["cpu"] - small["cpu"]) / span
        bytes_each = 0.0 if task else (large["memory"] - small["memory"]) / span
        slopes[name] = cpu
        cells = " | ".join(f"{figures[size][name]['memory'] / 1e6:,.0f} MB" for size in sizes)
        lines.append(f"| {name} | {large['cpu']:,.1f} | {1e3 * cpu:.3f} | {cells} | {max(0.0, bytes_each):,.0f} |")
    for unit, sizes_there in (("document", CORPORA), ("generation", SYNTHETIC)):
        lines += ["", f"| core-hours | ms per {unit} | " + " | ".join(sizes_there) + " |"]
        lines.append("|---|---|" + "---|" * len(sizes_there))
        for name, cpu in slopes.items():
            if name in NOT_LINEAR or f"({SOME} " in name or (name in OF_GENERATIONS) != (unit == "generation"):
                continue
            each = max(0.0, cpu) / OF_GENERATIONS.get(name, 1)
            hours = " | ".join(f"{each * count / 3600:,.1f}" for count in sizes_there.values())
            lines.append(f"| {name} | {1e3 * each:.3f} | {hours} |")
    return "\n".join(lines)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
