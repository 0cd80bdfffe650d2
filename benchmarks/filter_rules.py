#!/usr/bin/env python3
"""What every filter on single texts costs, and the rules on loops beside the rest of the stage `judge`.

    python benchmarks/filter_rules.py [--texts 6989] [--rounds 7] [--vocab-size 8192]

Texts are entries of FOLDOC (examples/quickstart), each with the next one as its seed document; a tenth end in a loop
that repeats their last eight words nine times. CPU seconds of one thread, all cases in turns; prints Markdown tables:
microseconds per 1,000 tokens of every rule by itself, and of the stage with and without the rules on loops (tokenizing,
all rules, MinHash signatures, and files included; the texts that loop are left out, since a rule that drops a text
saves what follows). The median, and in brackets the lowest and the highest round.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
ROLES = {"end_of_document": "<|endoftext|>", "padding": "<|padding|>", "separator": "<|related|>"}
LENGTH = 13
"""Tokens in a shingle."""


def in_turns(cases: dict[str, Callable[[], object]], rounds: int, tokens: int) -> dict[str, list[float]]:
    """CPU microseconds per 1,000 tokens, by case and round."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case()  # compiles
    for _ in range(rounds):
        for name, case in cases.items():
            begin = time.process_time()
            case()
            found[name].append((time.process_time() - begin) * 1e9 / tokens)
    return found


def told(values: list[float], digits: int = 0) -> str:
    middle, low, high = (f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def rules_of(texts: list[str], encoded: list[np.ndarray]) -> dict[str, Callable[[], object]]:
    """Every rule by itself, over all texts."""
    from megatron_sbp.overlap.loops import periodic_tail, repeated_token_share
    from megatron_sbp.overlap.repetition import repeated_share
    from megatron_sbp.overlap.shingles import shared_fraction, shingle_hashes
    from megatron_sbp.synthesis.text_rules import broken

    def copying() -> list[float]:
        pairs = zip(encoded, [*encoded[1:], encoded[0]], strict=True)
        return [shared_fraction(shingle_hashes(one, LENGTH), shingle_hashes(other, LENGTH)) for one, other in pairs]

    return {
        "broken_text": lambda: list(map(broken, texts)),
        "repetition": lambda: list(map(repeated_share, texts)),
        "token_repetition": lambda: list(map(repeated_token_share, encoded)),
        "periodic_tail": lambda: list(map(periodic_tail, encoded)),
        "copying": copying,
    }


def stages_of(texts: list[str], tokenizer: Any, folder: Path) -> dict[str, Callable[[], object]]:
    """The stage on these texts, without the rules on loops and with them."""
    from megatron_sbp.recipe.sections import Filter
    from megatron_sbp.synthesis.judged import PARTS, Judged
    from megatron_sbp.synthesis.judging import judge_shard
    from megatron_sbp.tokenization.encoding import write_texts
    from megatron_sbp.tokenization.written_ids import pack_ids

    write_texts(texts, folder / "seeds", tokenizer)
    rows = [
        {
            "id": f"syn-{number}-0", "text": text, "tokens": len(ids) + 1, "finished": True,
            "seed_row": (number + 1) % len(texts), "token_ids": pack_ids(np.array(ids)),
        }
        for number, (text, ids) in enumerate(zip(texts, tokenizer.encode_batch(texts), strict=True))
    ]  # fmt: skip
    target = Judged(*(folder / f"{part}.npy" for part in PARTS))

    plain = Filter(max_repetition=1, max_copying=1, min_tokens=0)
    both = plain.model_copy(update={"max_token_repetition": 0.3, "max_periodic_tail": 0.1})
    seeds = folder / "seeds"
    judge = partial(judge_shard, rows, "0", target, tokenizer=tokenizer, tokens=seeds, length=LENGTH)
    return {"without": partial(judge, rules=plain), "with both": partial(judge, rules=both)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=6989)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--vocab-size", type=int, default=8192)
    options = parser.parse_args()
    from megatron_sbp.base import files
    from megatron_sbp.tokenization.bpe import train_bpe

    rows = files.read_jsonl_zst(ROOT / "examples" / "quickstart" / "foldoc.jsonl.zst")
    plain = [row["text"] for row in itertools.islice(rows, options.texts)]
    tokenizer = train_bpe(plain, options.vocab_size, ROLES)
    looping = [text + 9 * (" " + " ".join(text.split()[-8:])) if not n % 10 else text for n, text in enumerate(plain)]
    encoded = [np.array(ids) for ids in tokenizer.encode_batch(looping)]
    tokens = sum(map(len, encoded))
    single = in_turns(rules_of(looping, encoded), options.rounds, tokens)
    print(f"{len(plain):,} texts, {tokens / len(plain):.0f} tokens each; load {os.getloadavg()[0]:.2f}\n")
    print("| rule | CPU microseconds per 1,000 tokens | per text |\n|---|---|---|")
    for name, taken in single.items():
        print(f"| {name} | {told(taken)} | {statistics.median(taken) * tokens / len(plain) / 1e3:.1f} |")
    whole = sum(map(len, tokenizer.encode_batch(plain)))
    with tempfile.TemporaryDirectory() as folder:
        stage = in_turns(stages_of(plain, tokenizer, Path(folder)), options.rounds, whole)
    print("\n| stage `judge` | CPU microseconds per 1,000 tokens | times without |\n|---|---|---|")
    for name, taken in stage.items():
        ratios = [mine / theirs for mine, theirs in zip(taken, stage["without"], strict=True)]
        print(f"| {name} the rules on loops | {told(taken)} | {told(ratios, 3)} |")


if __name__ == "__main__":
    main()
