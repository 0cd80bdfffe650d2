"""Puts texts to a judge: the synthetic texts of a sample, and pairs of real documents for comparison."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from megatron_sbp.base.random_streams import Stream
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.opinions import Case, Judge
from megatron_sbp.evaluation.real_text import RealText
from megatron_sbp.evaluation.sheet import Sampled


def judge_groups(
    judge: Judge,
    groups: Mapping[str, JsonObject],
    samples: Mapping[str, list[Sampled]],
    *,
    pairs_file: Path | None,
    real: RealText,
    seed: int,
) -> None:
    """Adds the judge's figures to those of the groups.

    Real text is judged as pairs of real documents (a seed document of the sample, and a document that it was paired
    with), or where there are no pairs as documents without a seed.

    Args:
        judge: asked about every text.
        groups: figures by group.
        samples: texts of `synthetic`, `generations` and `real`.
        pairs_file: parquet of the pairs tuned on, or None.
        real: documents of D.
        seed: the run's seed.

    Raises:
        InputError: see `Judge.figures`.
    """
    rows = {one.row["seed_row"] for name in ("synthetic", "generations") for one in samples[name]} - {None}
    pairs = _pairs_of(pairs_file, {one.row["seed_row"] for one in samples["synthetic"]} - {None}, seed)
    texts = {one.own: one for one in real.read({*rows, *(row for both in pairs for row in both)}, cut=False)}
    cases = {
        name: [
            Case(None if one.row["seed_row"] is None else texts[one.row["seed_row"]].text, one.text, one.row)
            for one in samples[name]
        ]
        for name in ("synthetic", "generations")
    }
    cases["real"] = [Case(texts[one].text, texts[other].text, texts[other].row) for one, other in pairs]
    if not pairs:
        whole = real.read([one.own for one in samples["real"]], cut=False)
        cases["real"] = [Case(None, one.text, one.row) for one in whole]
    for group, asked in cases.items():
        groups[group] |= judge.figures(asked, seed, f"quality: judging {group}")


def _pairs_of(pairs: Path | None, seeds: set[int], seed: int) -> list[tuple[int, int]]:
    """For every seed document that has pairs one of them, drawn at random: rows of seed and target."""
    import pyarrow.parquet

    if pairs is None or not seeds:
        return []
    table = pyarrow.parquet.read_table(pairs, columns=["seed", "target"], filters=[("seed", "in", sorted(seeds))])
    targets: dict[int, list[int]] = {}
    for one, other in zip(table["seed"].to_pylist(), table["target"].to_pylist(), strict=True):
        targets.setdefault(one, []).append(other)
    random = np.random.default_rng([seed, Stream.QUALITY_PAIRS])
    return [(row, found[int(random.integers(len(found)))]) for row, found in sorted(targets.items())]
