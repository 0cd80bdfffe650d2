"""What other thresholds would keep of the neighbors, as tables and pairs to read in a terminal."""

from __future__ import annotations

import numpy as np

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning.numbers import format_count

_SHOWN_STEP = 0.05


def format_exploration(found: JsonObject) -> str:
    """What `stages.exploring.explore_run` returns, for a terminal."""
    part = f"{found['sampled']:,} of " if found["sampled"] < found["documents"] else ""
    chance = found["chance"]
    lines = [
        f"The neighbors of {part}{found['documents']:,} documents, {found['k']} each; nothing was written.",
        f"Two random documents have a similarity of {chance['mean']:.2f} (deviation {chance['deviation']:.2f}); "
        f"1 in 100 such pairs is above {chance['level']:.2f}.",
        "",
        f"pairs.alpha, with max_shared_shingles {found['max_shared_shingles']:g}:",
        "",
        *_by_alpha(found),
        "",
        "pairs by pairs.max_shared_shingles:",
        "",
        *_by_shingles(found),
        "",
        *_advice(found),
        "",
        *_examples(found["bands"]),
    ]
    return "\n".join(lines)


def _shown(found: JsonObject) -> list[JsonObject]:
    """Rows of the tables: every 0.05, the recipe's alpha, and the recommended one; none below which nothing is left."""
    special = {found["alpha"], found["advice"]["alpha"]}
    rows = []
    for row in found["alphas"]:
        alpha, pairs = row["alpha"], max(kept["pairs"] for kept in row["kept"].values())
        if alpha in special or (pairs and np.isclose(alpha / _SHOWN_STEP, round(alpha / _SHOWN_STEP))):
            rows.append(row)
    return rows


def _mark(found: JsonObject, alpha: float) -> str:
    marks = ["recipe"] if alpha == found["alpha"] else []
    marks += ["recommended"] if alpha == found["advice"]["alpha"] else []
    return "  <- " + ", ".join(marks) if marks else ""


def _by_alpha(found: JsonObject) -> list[str]:
    limit, scale = str(found["max_shared_shingles"]), found["documents"] / found["sampled"]
    lines = [
        "  alpha      pairs  documents with a pair  pairs per seed  near-duplicates  full lists  random pairs above"
    ]
    for row in _shown(found):
        kept = row["kept"][limit]
        with_pairs = kept["documents_with_pairs"]
        lines.append(
            f"  {row['alpha']:5.2f}  {format_count(round(kept['pairs'] * scale)):>9}"
            f"  {with_pairs / found['sampled']:21.1%}  {kept['pairs'] / max(1, with_pairs):14.1f}"
            f"  {row['near_duplicates']:15.1%}"
            f"  {row['documents_with_full_lists'] / found['sampled']:10.1%}  {row['random_pairs_above']:18.3%}"
            + _mark(found, row["alpha"])
        )
    return lines


def _by_shingles(found: JsonObject) -> list[str]:
    limits, scale = list(found["alphas"][0]["kept"]), found["documents"] / found["sampled"]
    lines = ["  alpha" + "".join(f"{float(limit):>9g}" for limit in limits)]
    for row in _shown(found):
        counts = [format_count(round(row["kept"][limit]["pairs"] * scale)) for limit in limits]
        lines.append(f"  {row['alpha']:5.2f}" + "".join(f"{count:>9}" for count in counts) + _mark(found, row["alpha"]))
    return lines


def _advice(found: JsonObject) -> list[str]:
    advice = found["advice"]
    if advice["rule"] == "none":
        return [
            "No alpha is recommended: at none above the similarity of random pairs has half of the documents a pair.",
            "The corpus has few related documents, or the embedder does not tell them apart: read the pairs below.",
        ]
    first = f"Recommended to try first: pairs.alpha={advice['alpha']:.2f}. "
    if advice["rule"] == "gap":
        why = "Similarities fall into two groups with few pairs between them; this is the middle of the gap."
    else:
        why = "It is the largest at which half of the documents have a pair."
    return [
        first + why,
        f"{advice['coverage']:.1%} of the documents then have one. The rule is ours, not the paper's: read the pairs "
        "of the bands around it.",
    ]


def _examples(bands: list[JsonObject]) -> list[str]:
    lines = []
    for band in bands:
        if not band["examples"]:
            continue
        lines += [f"similarity {band['from']:.2f} to {band['to']:.2f}: {band['pairs']:,} pairs of the sample"]
        for example in band["examples"]:
            lines.append(f"  {example['score']:.3f}, {example['shared_shingles']:.0%} of the shingles shared")
            for end in ("seed", "target"):
                text = " ".join(example[end]["text"].split())
                lines.append(f"    {end} {example[end]['row']}: {text}")
        lines.append("")
    return lines[:-1]
