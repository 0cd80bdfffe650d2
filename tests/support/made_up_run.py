"""A made-up run for tests of results and report: the text is real (docstrings of Python's own library), the documents,
tokenizer and tokens come from the real stages, and everything that would need training is written by formula here.

Nothing of this is a measurement.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import inspect
import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.planning import ledger
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.scopes import replicate_run, synthesizer_run
from megatron_sbp.stages.tokenize import TokenizeStage
from megatron_sbp.stages.tokenizer import TokenizerStage
from megatron_sbp.training.metrics import Metrics

_MODULES = (
    "argparse array ast asyncio base64 bisect calendar cmath codecs collections concurrent.futures configparser "
    "contextlib copy csv ctypes dataclasses datetime decimal difflib dis email.message enum fractions functools "
    "getopt gettext glob gzip hashlib heapq html.parser http.client http.server imaplib inspect io ipaddress "
    "itertools json locale logging mailbox math multiprocessing.pool numbers operator optparse os pathlib pdb pickle "
    "pkgutil platform plistlib poplib pprint random re sched selectors shelve shlex shutil smtplib socket "
    "socketserver sqlite3 ssl statistics string struct subprocess tarfile tempfile textwrap threading timeit tokenize "
    "trace traceback turtle types typing unicodedata unittest.case unittest.mock urllib.parse urllib.request uuid "
    "warnings wave weakref xml.dom.minidom xml.etree.ElementTree xmlrpc.client zipfile zoneinfo"
).split()

RECIPE = """
name: made-up
note: "A made-up run: <numbers> by formula & text from docstrings."
documents: {{inputs: [corpus.jsonl], train: {train}, valid: 40, test: 60, oracle: {oracle}, documents_per_shard: 100}}
tokenizer: {{vocab_size: 700}}
model: {{num_layers: 2, hidden_size: 32, ffn_hidden_size: 64, num_attention_heads: 4, num_query_groups: 2,
        sequence_length: 128}}
training: {{train_tokens: 200000, global_batch_size: 8, micro_batch_size: 4}}
synthesis: {{tokens: 60000}}
pairs: {{alpha: 0.5}}
neighbors: {{k: 10}}
evaluation: {{batch_size: 8, choice_questions: 30, choice_context: 24, choice_continuation: 16, quality_documents: 50,
             duplicate_pairs: 2000}}
marks: {{pairs.alpha: O}}
"""


def docstrings() -> list[str]:
    """Docstrings of at least 200 characters, no two alike, always in the same order."""
    found: dict[str, None] = {}
    for name in _MODULES:
        module = importlib.import_module(name)
        members = [module, *(member for _, member in sorted(vars(module).items(), key=lambda pair: pair[0]))]
        for member in members:
            inner = [m for _, m in sorted(vars(member).items(), key=lambda p: p[0])] if inspect.isclass(member) else []
            for each in [member, *inner]:
                text = getattr(each, "__doc__", None)
                if isinstance(text, str) and len(text) >= 200:
                    found[inspect.cleandoc(text)] = None
    return list(found)


def text_run(root: Path, train: int = 250, oracle: int = 200) -> Run:
    """A run folder with documents, tokenizer and tokens, made by the real stages (once per process, then copied)."""
    shutil.copytree(_text_run(train, oracle), root, dirs_exist_ok=True)
    return Run.of(load_recipe(root / "recipe.yaml", [f"run_folder={root / 'run'}"]))


@functools.cache
def _text_run(train: int, oracle: int) -> Path:
    root = Path(tempfile.mkdtemp(prefix="made-up-run-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    texts = docstrings()[: train + oracle + 100]
    texts[3] = "<script>alert('seed')</script> & \"quotes\" " + texts[3]
    (root / "corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (root / "recipe.yaml").write_text(RECIPE.format(train=train, oracle=oracle))
    run = Run.of(load_recipe(root / "recipe.yaml", [f"run_folder={root / 'run'}"]))
    graph = [DocumentsStage(), TokenizerStage(), TokenizeStage()]
    for stage in graph:
        StageRunner(run, stage, graph).execute()
    return root


def made_up_run(root: Path, *, sbp: float = -0.12, oracle: float = -0.4) -> Run:
    """A whole run folder.

    Args:
        root: where.
        sbp: test loss of SBP minus the baseline's.
        oracle: the same for the oracle.
    """
    run = text_run(root)
    random = np.random.default_rng(5)
    _trainings(run, {"baseline": 0.0, "sbp": sbp, "oracle": oracle}, random)
    _pairs(run, random)
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
        _trainings(inner, {"baseline": 0.0, "sbp": -0.1, "oracle": -0.3, "control": 0.1}, random)
        for place, arm in enumerate(changed.arms):
            files.write_json(inner.evaluation(arm), _evaluation(arm, 0.01 * (place + number)))
        if number == 2:
            _synthetic(inner, random)
        control = synthesizer_run(inner, "random")
        _tuning(control)
        _synthetic(control, random)
        if number == 1:
            _pairs(control, random)
            quality = _quality()
            quality["similarity"]["to_seed"] = 0.3
            files.write_json(run.evaluation("quality.random"), quality)
    return both


def _trainings(run: Run, shifts: dict[str, float], random: np.random.Generator) -> None:
    length = run.recipe.model.sequence_length
    audit = files.read_json(run.tokens("audit").with_suffix(".json"))
    for arm in run.recipe.arms:
        samples = ledger.arm_samples(run.recipe, arm)
        total = sum(samples.values())
        datasets = {}
        for name, count in samples.items():
            unique = count * length if name == "synthetic" else audit[name]["tokens"]
            datasets[name] = {
                "samples": count,
                "tokens": count * length,
                "dataset_tokens": unique,
                "unique_tokens": min(unique, count * length),
                "epochs": count * length / unique,
            }
        consumed = {
            "training": arm,
            "stopped": "budget",
            "train_samples": total,
            "train_tokens": total * length,
            "iterations": total // 8,
            "seconds": 131.5,
            "tokens_per_second": total * length / 131.5,
            "datasets": datasets,
            "export_iteration": total // 8,
            "precision": "fp32",
            "best": {"iteration": total // 8, "valid_loss": 3.3 + shifts[arm], "kept": False},
        }
        files.write_json(run.model(arm) / "consumed.json", consumed)
        rows: list[dict[str, Any]] = []
        for step in range(0, total // 8 + 1):
            share = step * 8 / total
            base = 3.0 + 3.5 * math.exp(-7 * share) + shifts[arm] * share
            place = {"iteration": step, "samples": step * 8, "tokens": step * 8 * length}
            if step % 20 == 0:
                overfit = 0.5 * max(0.0, share - 0.6) if arm == "baseline" else 0.0
                by_source = {name: {"loss": base, "tokens": 20 * 8 * length} for name in samples}
                row = {"kind": "valid", **place, "loss": base + 0.3 + overfit, "train_loss_by_source": by_source}
                rows.append(row)
            if step:
                noisy = base - 0.8 * share * (arm == "baseline") + float(random.normal(0, 0.05))
                rows.append({"kind": "train", **place, "loss": noisy, "learning_rate": 1e-3})
        _write_metrics(run.model(arm) / "metrics.jsonl", rows)
    _tuning(run)


def _write_metrics(file: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as trainings write them, with checksums, those of training with the figures of every step."""
    step = {"grad_norm": 0.4, "tokens_per_second": 1550.5, "tflops_per_rank": 0.002, "mfu": None, "seconds": 0.66}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    for row in rows:
        Metrics(file).append({**row, **(step if row["kind"] == "train" else {})})


def _tuning(run: Run) -> None:
    def place(step: int) -> dict[str, int]:
        return {"iteration": step, "samples": 8 * step, "tokens": 1024 * step}

    losses = [3.9, 3.6, 3.45, 3.41, 3.44, 3.52]
    rows = [{"kind": "valid", **place(20 * k), "loss": loss} for k, loss in enumerate(losses)]
    rows += [
        {
            "kind": "train",
            "iteration": k,
            "samples": 8 * k,
            "tokens": 1024 * k,
            "loss": 3.2 - 0.004 * k,
            "learning_rate": 1e-3,
        }
        for k in range(1, 101)
    ]
    _write_metrics(run.model("synthesizer") / "metrics.jsonl", rows)
    consumed = {
        "training": "synthesizer",
        "stopped": "the loss on held-out pairs did not improve for 2 validations",
        "iterations": 100,
        "train_samples": 800,
        "train_tokens": 102400,
        "seconds": 58.0,
        "tokens_per_second": 1765.5,
        "datasets": {
            "pairs": {
                "samples": 800,
                "tokens": 102400,
                "dataset_tokens": 70000,
                "unique_tokens": 70000,
                "epochs": 1.46,
            }
        },
        "export_iteration": 60,
        "precision": "fp32",
        "best_valid_loss": 3.41,
        "valid_loss_before": 3.9,
    }
    files.write_json(run.model("synthesizer") / "consumed.json", consumed)


def _pairs(run: Run, random: np.random.Generator) -> None:
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


def synthetic_rows(run: Run, random: np.random.Generator, generations: int = 220) -> list[dict[str, Any]]:
    """Rows as the synthesizer writes them; the texts are shuffled sentences of two documents."""
    documents = [row for shard in run.document_shards("train") for row in files.read_jsonl_zst(shard)]
    rows = []
    for generation in range(generations):
        seed_row = int(random.integers(len(documents)))
        other = documents[int(random.integers(len(documents)))]["text"]
        words = (documents[seed_row]["text"].split()[:40]) + other.split()[:40]
        random.shuffle(words)
        rows.append(
            {
                "id": f"syn-{seed_row}-{generation}",
                "text": " ".join(words),
                "tokens": len(words) * 3,
                "finished": generation % 20 != 0,
                "seed_id": documents[seed_row]["id"],
                "seed_row": seed_row,
                "generation": generation,
                "synthesizer": "0" * 64,
                "temperature": 1.0,
                "top_p": 0.9,
                "max_new_tokens": 62,
                "engine": "transformers",
                "precision": "fp32",
                "run_seed": 1,
                "round": 1,
                "pairs_file": "pairs/pairs.parquet",
                "pairs": "0" * 64,
            }
        )
    return rows


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
