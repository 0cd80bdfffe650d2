"""Neighbors and pairs of a made-up run: scores from a random generator."""

from __future__ import annotations

import numpy as np
from support.made_up_text import docstrings

from megatron_sbp.base import files
from megatron_sbp.stages.run_folder import Run


def write_pairs(run: Run, random: np.random.Generator) -> None:
    scores = np.clip(random.normal(0.45, 0.15, 2500), -1, 1)
    edges = np.round(np.arange(-1, 1.0001, 0.02), 2)
    above = scores[scores > run.recipe.pairs.alpha]
    kept = above[random.random(len(above)) < 0.8]
    texts = docstrings()
    about = {
        "alpha": run.recipe.pairs.alpha,
        "relation": "similar",
        "largest_score": float(scores.max()),
        "targets_per_seed": {"mean": 1.9, "median": 2.0, "largest": 4, "histogram": {"1": 60, "2": 90, "4": 40}},
        "seeds_per_target": {
            "targets": 150,
            "mean": 2.4,
            "median": 2.0,
            "largest": 11,
            "share_of_top_percent": 0.05,
            "hubs": [{"id": "b", "row": 7, "seeds": 11}],
        },
    }
    none_dropped = {"above_max_similarity": 0, "short_target": 0, "cap": 0}
    train = {
        "documents": 250,
        **about,
        "documents_with_pairs": 190,
        "documents_with_full_lists": 12,
        "candidates": len(scores),
        "kept": len(kept),
        "dropped": {"below_alpha": len(scores) - len(above), "near_duplicate": len(above) - len(kept), **none_dropped},
        "score_histogram": {
            "edges": edges.tolist(),
            "candidates": np.histogram(scores, edges)[0].tolist(),
            "kept": np.histogram(kept, edges)[0].tolist(),
        },
    }
    example = {
        "seed": {"id": "a", "title": "<b>", "text": texts[0][:300]},
        "target": {"id": "b", "title": "", "text": texts[1][:300]},
        "score": 0.612,
        "shared_shingles": 0.0,
    }
    valid = {
        "documents": 40,
        **about,
        "documents_with_pairs": 25,
        "documents_with_full_lists": 3,
        "candidates": 400,
        "kept": 61,
        "dropped": {"below_alpha": 339, "near_duplicate": 0, **none_dropped},
        "score_histogram": {"edges": [0.4, 0.5, 0.6], "candidates": [339, 61], "kept": [0, 61]},
    }
    shown = {"examples": [example] * 3, "examples_dropped_near_duplicate": []}
    bands = [{"from": 0.6, "to": 0.65, "pairs": 40, "examples": [example]}]
    files.write_json(run.audit_pairs, {"train": train, "valid": valid, **shown, "bands": bands})
    searched = {
        "engine": "scann",
        "dim": 384,
        "k": run.recipe.neighbors.k,
        "method": "tree",
        "leaves": 10,
        "leaves_to_search": 3,
        "reorder": 100,
        "recall_at_k": 0.9871,
        "recall_sample": 250,
        "recall_by_similarity": {
            "edges": [0.2, 0.21, 0.9, 0.91],
            "neighbors": [450, 30, 20],
            "found": [444, 30, 19],
        },
    }
    valid_searched = {**searched, "documents": 40, "recall_sample": 40}
    files.write_json(run.audit_neighbors, {**searched, "documents": 250, "valid": valid_searched})
    tokens = {"seeds_cut": 5, "targets_cut": 9, "mean_target_tokens": 61.2}
    files.write_json(
        run.tokens("pairs_audit").with_suffix(".json"),
        {
            "pairs": {"pairs": len(kept), "seed_tokens": 20000, "target_tokens": 30000, **tokens},
            "valid_pairs": {"pairs": 61, "seed_tokens": 3000, "target_tokens": 3700, **tokens},
        },
    )
