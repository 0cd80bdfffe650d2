"""A made-up run for tests of results and report: the text is real (docstrings of Python's own library), the documents,
tokenizer and tokens come from the real stages, and everything that would need training is written by formula here.

Nothing of this is a measurement.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from support.made_up_pairs import write_pairs
from support.made_up_text import synthetic_rows, text_run
from support.made_up_trainings import write_trainings, write_tuning

from megatron_sbp.base import files
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.scopes import replicate_run, synthesizer_run


def made_up_run(root: Path, *, sbp: float = -0.12, oracle: float = -0.4) -> Run:
    """A whole run folder.

    Args:
        root: where.
        sbp: test loss of SBP minus the baseline's.
        oracle: the same for the oracle.
    """
    run = text_run(root)
    random = np.random.default_rng(5)
    write_trainings(run, {"baseline": 0.0, "sbp": sbp, "oracle": oracle}, random)
    write_pairs(run, random)
    _synthetic(run, random)
    for arm, shift in (("baseline", 0.0), ("sbp", sbp), ("oracle", oracle)):
        files.write_json(run.evaluation(arm), _evaluation(arm, shift))
    files.write_json(run.evaluation("quality"), _quality())
    reading = {"pairs": 61, "loss_true_seed": 3.41, "loss_wrong_seed": 3.6, "gain": 0.19, "gain_stderr": 0.02}
    files.write_json(run.evaluation("reading"), reading)
    seconds = {"embed": 88.0, "neighbors": 3.2, "pairs": 1.4, "tokenize-pairs": 0.9, "train-baseline": 140.0}
    seconds |= {"tune": 60.0, "export-synthesizer": 7.0, "synthesize": 130.0, "filter": 2.0, "tokenize-synthetic": 1.0}
    seconds |= {"train-sbp": 141.0, "train-oracle": 139.0, "export-arms": 12.0, "evaluate": 64.0}
    for place, (name, value) in enumerate(seconds.items()):
        spent = {"seconds": value, "unit_seconds": value, "gpu_seconds": 0.0, "started": 4e9 + place}
        made_by = {"version": "0.1.0", "settings": {}, "inputs": {}}
        manifest = {"stage": name, "key": "x", "unit_key": "x", **made_by, **spent, "units": 1}
        files.write_json(run.manifests / f"{name}.json", {**manifest, "outputs": {}})
    return run


def with_a_control(run: Run) -> Run:
    """A made-up run with a second replicate and an arm `control` on text of a synthesizer of random pairs."""
    sections = ["replicates=2", "synthesizers.random.pairs.relation=random", "synthesizers.related={}"]
    sections += ["arms.baseline={}", "arms.sbp={synthetic: related}", "arms.oracle={documents: oracle}"]
    file = run.root.parent / "recipe.yaml"
    changed = load_recipe(file, [f"run_folder={run.root}", *sections, "arms.control={synthetic: random}"])
    both = Run.of(changed)
    random = np.random.default_rng(6)
    for number in (1, 2):
        inner = replicate_run(both, number)
        write_trainings(inner, {"baseline": 0.0, "sbp": -0.1, "oracle": -0.3, "control": 0.1}, random)
        for place, arm in enumerate(changed.arms):
            files.write_json(inner.evaluation(arm), _evaluation(arm, 0.01 * (place + number)))
        if number == 2:
            _synthetic(inner, random)
        control = synthesizer_run(inner, "random")
        write_tuning(control)
        _synthetic(control, random)
        if number == 1:
            write_pairs(control, random)
            quality = _quality()
            quality["similarity"]["to_seed"] = 0.3
            files.write_json(run.evaluation("quality.random"), quality)
    return both


def _synthetic(run: Run, random: np.random.Generator) -> None:
    rows = synthetic_rows(run, random)
    kept = [row for row in rows if row["finished"]]
    kept[0]["text"] = "</pre><script>alert('synthetic')</script>" + kept[0]["text"]
    for folder, part in ((run.generations, rows), (run.synthetic, kept)):
        files.write_jsonl_zst(folder / "00000.jsonl.zst", part[:120])
        files.write_jsonl_zst(folder / "00001.jsonl.zst", part[120:])
    rules = ("broken_text", "too_short", "unfinished", "repetition", "copying", "duplicate")
    audit = {
        "generations": len(rows),
        "generated_tokens": 66000,
        "finished_share": len(kept) / len(rows),
        "kept": len(kept),
        "tokens": 60001,
        "mean_tokens": 60001 / len(kept),
        "tokens_per_generation": 60001 / len(rows),
        "dropped": {**dict.fromkeys(rules, 0), "unfinished": len(rows) - len(kept)},
        "examples": {
            **{rule: [] for rule in rules},
            "unfinished": [_dropped_example(row) for row in rows if not row["finished"]][:3],
        },
        "retokenized": {
            "documents": len(rows),
            "differing": 8,
            "kept": len(kept),
            "kept_differing": 8,
            "share": 8 / len(rows),
            "kept_share": 8 / len(kept),
        },
    }
    files.write_json(run.audit_synthetic, audit)
    files.write_json(
        run.tokens("synthetic_audit").with_suffix(".json"),
        {"documents": len(kept), "tokens": 60001, "bytes": 90000, "characters": 90000, "needed_tokens": 59905},
    )


def _dropped_example(row: dict[str, Any]) -> dict[str, Any]:
    measured = {"too_short": row["tokens"], "broken_text": False, "unfinished": True, "repetition": 0.0, "copying": 0.0}
    said = {"measured": measured, "limit": None}
    return {"id": row["id"], "seed_id": row["seed_id"], **said, "text": row["text"], "characters": len(row["text"])}


def _evaluation(arm: str, shift: float) -> dict[str, Any]:
    from megatron_sbp.evaluation.choice import choice_summary
    from megatron_sbp.evaluation.perplexity import summary

    random = np.random.default_rng(9)  # the same test set for every arm
    counts = np.full(60, 128)
    difficulty = random.normal(4.0, 0.3, 60)
    own = np.random.default_rng([len(arm), 3]).normal(0, 0.02, 60)
    sums = (difficulty + shift + own) * counts
    asked = {"documents": 60, "long_enough": 45, "questions": 32, "without_distractors": 0}
    credits = (random.random(32) < 0.5 - 0.3 * shift).astype(float).tolist()
    return {
        "arm": arm,
        "engine": "transformers",
        "precision": "fp32",
        "device": "cpu",
        "valid": summary(sums, counts, 20000, "valid"),
        "test": summary(sums, counts, 20000, "test"),
        "choice": choice_summary(credits, asked),
        "recall": None,
    }


def _quality() -> dict[str, Any]:
    lengths = {"mean": 61.0, "median": 55.0, "p5": 20.0, "p95": 110.0}

    def group(population: int, repetition: float, copying: float | None, finished: float | None) -> dict[str, Any]:
        return {
            "population": population,
            "documents": 50,
            "repetition": repetition,
            "repetition_mean": repetition / 2,
            "duplicate": 0.004,
            "duplicate_documents": 200,
            "duplicate_pairs_share": 0.0005,
            "duplicate_pairs": 2000,
            "copying": copying,
            "corpus_copying": 0.031,
            "novel_ngrams": 0.62,
            "finished": finished,
            "tokens": lengths,
            **_sheet(novel=0.9 * population / 250),
        }

    return {
        "groups": {
            "synthetic": group(209, 0.0, 0.0, 1.0),
            "generations": group(220, 0.06, 0.02, 0.95),
            "real": {**group(250, 0.02, 0.0, None), "copying_pairs": 50},
        },
        "similarity": {
            "documents": 50,
            "to_seed": 0.61,
            "random_pairs": 0.28,
            "real_pairs": 0.64,
            "real_random_pairs": 0.22,
            "seed_gain": 0.33,
            "reads_seed": True,
            "intervals": {"to_seed": [0.58, 0.64], "random_pairs": [0.25, 0.31], "seed_gain": [0.3, 0.36]},
            "generations": {
                "documents": 50,
                "to_seed": 0.63,
                "random_pairs": 0.29,
                "seed_gain": 0.34,
                "reads_seed": True,
                "intervals": {"to_seed": [0.6, 0.66], "random_pairs": [0.26, 0.32], "seed_gain": [0.31, 0.37]},
            },
        },
        "limits": {
            "max_repetition": 0.3,
            "max_copying": 0.15,
            "duplicate_threshold": 0.7,
            "shingle_tokens": 13,
            "max_tokens": 62,
        },
        "judge": {"function": "judge", "file": "judge.py", "sha256": "ab" * 32},
    }


def _sheet(novel: float) -> dict[str, Any]:
    def about(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.01, "high": value + 0.01}

    return {
        "intervals": {"repetition": [0.0, 0.07], "corpus_copying": [0.02, 0.04]},
        "lengths": {"mean": about(61.0), "quantiles": {str(q): about(100 * q) for q in (0.05, 0.25, 0.5, 0.75, 0.95)}},
        "novel_ngrams_by_n": [{"n": n, "ngrams": 900, **about(novel * (1 - 0.7**n))} for n in range(1, 14)],
        "distinct": {str(n): about(1 - 0.5**n) for n in range(1, 5)},
        "self_bleu": about(0.21),
        "vocabulary_overlap": about(0.93),
        "compared": {"bleu_documents": 50, "blocks": 20, "block_words": 130},
        "perplexity": {
            "baseline": {**about(31.5), "loss": math.log(31.5), "tokens": 3050},
            "oracle": {**about(29.25), "loss": math.log(29.25), "tokens": 3050},
        },
        "retokenized": about(0.04),
        "non_factual": about(0.125),
        "pair_irrelevance": about(0.0625),
    }
