"""The stage that turns neighbours into pairs, and its audit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_sbp import files
from megatron_sbp.errors import InputError
from megatron_sbp.progress import say
from megatron_sbp.recipe import settings
from megatron_sbp.run_folder import Run
from megatron_sbp.stages import Stage

TOKENS_OF = {"train": "real", "valid": "valid"}
"""Dataset of tokens/ that holds a split's documents."""


class PairsStage(Stage):
    """Writes pairs/pairs.parquet, pairs/valid_pairs.parquet and pairs/audit.json."""

    name = "pairs"
    title = "select pairs: related, not copies"

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {
            "documents": ("documents/train/*", "documents/valid/*"),
            "tokenize": ("tokens/real.*", "tokens/valid.*"),
            "neighbors": ("neighbors/train/*", "neighbors/valid/*"),
        }

    def settings(self, run: Run) -> dict[str, Any]:
        return {**settings(run.recipe.pairs), "seed": run.recipe.seed}

    def owns(self, run: Run) -> list[Path]:
        return [run.root / "pairs"]

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        audit: dict[str, Any] = {split: _select(run, split) for split in TOKENS_OF}
        audit["examples"] = audit["train"].pop("examples")
        audit["examples_dropped_near_duplicate"] = audit["train"].pop("examples_dropped_near_duplicate")
        del audit["valid"]["examples"], audit["valid"]["examples_dropped_near_duplicate"]
        files.write_json(run.audit_pairs, audit)
        return [run.pairs("train"), run.pairs("valid"), run.audit_pairs]


def _select(run: Run, split: str) -> dict[str, Any]:
    import numpy as np

    from megatron_sbp.pairing.near_duplicate_pairs import ShingleTable
    from megatron_sbp.pairing.rules import randomise, select
    from megatron_sbp.tokenization.indexed import open_indexed

    rules = run.recipe.pairs
    parts = [np.load(file) for file in sorted(run.neighbors(split).glob("[0-9]*.npz"))]
    ids = np.concatenate([part["ids"] for part in parts])
    scores = np.concatenate([part["scores"] for part in parts])
    tokens = open_indexed(run.tokens(TOKENS_OF[split]))
    assert len(tokens) == len(ids), (len(tokens), len(ids))
    # The end-of-document that closes every document is no part of its text.
    lengths = tokens.lengths.astype(np.int64) - 1
    shingles = ShingleTable((tokens[row][:-1] for row in range(len(tokens))), rules.shingle_tokens)
    chosen = select(ids, scores, lengths, shingles, rules)
    if not len(chosen.seeds):
        largest = float(scores[ids >= 0].max()) if (ids >= 0).any() else float("nan")
        candidates = {name: count for name, count in chosen.dropped.items() if count}
        raise InputError(
            f"no pair among {len(ids)} {split} documents is left at alpha {rules.alpha}: the largest similarity is "
            f"{largest:.3f}, dropped were {candidates}. Half of the documents would have a pair at "
            f"pairs.alpha={float(np.median(scores[:, 0])):.2f}",
            key="pairs.alpha",
        )
    candidates = ids >= 0
    edges = np.linspace(-1, 1, 81)
    figures = {
        "documents": len(ids),
        "documents_with_pairs": len(np.unique(chosen.seeds)),
        "candidates": int(candidates.sum()),
        "kept": len(chosen.seeds),
        "dropped": chosen.dropped,
        "score_histogram": {
            "edges": [round(float(edge), 4) for edge in edges],
            "candidates": np.histogram(scores[candidates], edges)[0].tolist(),
            "kept": np.histogram(chosen.scores, edges)[0].tolist(),
        },
        "targets_per_seed": _spread(np.unique(chosen.seeds, return_counts=True)[1]),
        "alpha": rules.alpha,
        "max_similarity": rules.max_similarity,
        "relation": rules.relation,
    }
    duplicates = chosen.near_duplicates
    if rules.relation == "random":
        chosen = randomise(chosen, lengths, shingles, rules, run.recipe.seed)
        figures["kept"] = len(chosen.seeds)
    rows = [row for file in run.document_shards(split) for row in files.read_jsonl_zst(file)]
    _write(run.pairs(split), chosen, [row["id"] for row in rows])
    say(f"pairs: {figures['kept']:,} of {figures['candidates']:,} {split} candidates kept, dropped {chosen.dropped}")
    sample = np.sort(np.random.default_rng([run.recipe.seed, 7]).permutation(len(chosen.seeds))[:10])
    shown = zip(chosen.seeds[sample], chosen.targets[sample], chosen.scores[sample], strict=True)
    figures["examples"] = [_example(rows[a], rows[b], float(score)) for a, b, score in shown]
    figures["examples_dropped_near_duplicate"] = [_example(rows[a], rows[b], None) for a, b in duplicates]
    return figures


def _write(path: Path, chosen, names: list[str]) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table(
        {
            "seed": pyarrow.array(chosen.seeds, pyarrow.int64()),
            "target": pyarrow.array(chosen.targets, pyarrow.int64()),
            "seed_id": pyarrow.array([names[row] for row in chosen.seeds], pyarrow.string()),
            "target_id": pyarrow.array([names[row] for row in chosen.targets], pyarrow.string()),
            "score": pyarrow.array(chosen.scores, pyarrow.float32()),
        }
    )
    with files.atomic_path(path) as partial:
        pyarrow.parquet.write_table(table, partial, compression="zstd")


def _example(seed: dict[str, Any], target: dict[str, Any], score: float | None) -> dict[str, Any]:
    described = {
        name: {"id": row["id"], "title": row.get("title", ""), "text": row["text"][:300]}
        for name, row in (("seed", seed), ("target", target))
    }
    return {**described, "score": None if score is None else round(score, 4)}


def _spread(counts) -> dict[str, float]:
    return {
        "mean": round(float(counts.mean()), 3),
        "median": float(sorted(counts)[len(counts) // 2]),
        "max": int(counts.max()),
    }
