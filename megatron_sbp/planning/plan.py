"""The plan: what every arm will train on and what the run will cost, before any machine is used.

Pure arithmetic without torch. Numbers that follow from the recipe are exact; those that depend on data not made yet are
estimates from ASSUMPTIONS and say so with `"from": "estimated"`; once the run folder holds audits of tokens/ that were
made from the same recipe and inputs, the same places say "measured".
"""

from __future__ import annotations

from collections.abc import Mapping

from megatron_sbp.base.hub import cached_snapshot
from megatron_sbp.base.hugging_face_names import TOKENIZER
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.planning import cost, ledger
from megatron_sbp.planning.assumptions import ASSUMPTIONS, assumed, bytes_per_token
from megatron_sbp.planning.cpu_time import plan_cpu_time
from megatron_sbp.planning.duration import plan_checkpoint, plan_time, plan_total
from megatron_sbp.planning.hardware import Hardware
from megatron_sbp.planning.host_memory import plan_host_memory
from megatron_sbp.planning.pairing_cost import plan_embedding, plan_neighbors
from megatron_sbp.planning.resources import plan_disk, plan_memory
from megatron_sbp.planning.synthesizer_cost import plan_synthesis, plan_tuning
from megatron_sbp.planning.units import plan_arrays, plan_files
from megatron_sbp.planning.vocabulary import vocab_size_of
from megatron_sbp.planning.warnings import plan_warnings
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.megatron_flags import check_megatron_flags
from megatron_sbp.recipe.tokenizer_folder import folder_named


def make_plan(
    recipe: Recipe,
    measured: JsonObject | None = None,
    hardware: Hardware | None = None,
    sample: Mapping[str, JsonValue] | None = None,
) -> JsonObject:
    """The plan of a run, JSON-able.

    Args:
        recipe: The recipe.
        measured: What `read_measured` found: {"real": {"documents", "tokens", ...}, "oracle": ..., "vocab_size": ...,
            "synthesizers": {NAME: {"pairs": ...}}}.
        hardware: What GPUs and rates the estimates are for; None assumes them.
        sample: The first documents of the corpus: `file`, `documents`, their mean `bytes`, and
            `corpus`, the number of all documents, or None.

    Returns:
        docs/plan.md lists the keys.

    Raises:
        InputError: Megatron would refuse a flag of `training.megatron`.
    """
    check_megatron_flags(recipe)
    measured, hardware = measured or {}, hardware or Hardware()
    vocab, vocab_from = _vocabulary(recipe, measured)
    padded = cost.padded_vocab_size(recipe.model, vocab, recipe.launch.tensor_parallel)
    count = cost.parameters(recipe.model, padded)
    mean = tokens_per_document(sample, vocab)
    corpus = None if sample is None else sample["corpus"]
    unique = {name: _unique_tokens(recipe, measured, name, mean, corpus) for name in ("real", "oracle")}
    synthesizers: dict[str | None, JsonObject] = {}
    for name in recipe.used_synthesizers:
        own, known = recipe.for_synthesizer(name), measured.get("synthesizers", {}).get(name, {})
        synthesizers[name] = {
            "tuning": plan_tuning(own, known, unique["real"], padded, hardware)
            if name in recipe.tuned_synthesizers
            else None,
            "synthesis": plan_synthesis(
                own,
                measured=known,
                real=unique["real"],
                vocab=padded,
                method=recipe.synthesizers[name].method,
                hardware=hardware,
            ),
        }
    plan: JsonObject = {
        "name": recipe.name,
        "hardware": hardware.for_plan(recipe),
        "model": {
            "parameters": count.total,
            "embedding_parameters": count.embedding,
            "vocab_size": {"tokens": vocab, "from": vocab_from},
            "padded_vocab_size": padded,
            "sequence_length": recipe.model.sequence_length,
        },
        "unique_tokens": unique,
        "sample": None if sample is None else {**sample, "tokens_per_document": mean},
        "replicates": recipe.replicates,
        "arms": {
            arm: _arm(recipe.for_arm(arm), arm, unique=unique, vocab=padded, count=count.total, hardware=hardware)
            for arm in recipe.arms
        },
        "embedding": plan_embedding(recipe, unique["real"], hardware),
        "tuning": None,
        "synthesis": None,
        **synthesizers.pop(next(iter(synthesizers), None), {}),
        "synthesizers": synthesizers,
        "memory": plan_memory(recipe, padded),
    }
    plan["neighbors"] = plan_neighbors(recipe, plan["embedding"]["dimensions"], hardware)
    plan["arrays"] = plan_arrays(recipe, plan)
    plan["files"] = plan_files(recipe, plan)
    plan["cpu"] = plan_cpu_time(recipe, plan)
    plan["host_memory"] = plan_host_memory(recipe, plan)
    plan["disk"] = plan_disk(recipe, plan, vocab, count.total)
    plan["checkpoint"] = plan_checkpoint(recipe, plan)
    plan["total"] = plan_total(recipe, plan)
    plan["time"] = plan_time(recipe, plan)
    plan["sources"] = {
        "vocabulary": vocab_from,
        "unique tokens of D": unique["real"]["from"],
        "unique tokens of the oracle": unique["oracle"]["from"],
        **({"pairs": plan["tuning"]["from"]} if plan["tuning"] else {}),
        **({"tokens of a generation": plan["synthesis"]["from"]} if plan["synthesis"] else {}),
        "embedding": plan["embedding"]["from"],
        **{f"pairs of {name}": other["tuning"]["from"] for name, other in synthesizers.items() if other["tuning"]},
    }
    plan["assumptions"] = {name: {"value": value, "why": why} for name, (value, why) in ASSUMPTIONS.items()}
    plan["assumptions"]["bytes_per_token"]["value"] = round(bytes_per_token(vocab), 2)
    plan["warnings"] = plan_warnings(recipe, plan, measured.get("others", []))
    return plan


def _vocabulary(recipe: Recipe, measured: JsonObject) -> tuple[int, str]:
    if "vocab_size" in measured:
        return measured["vocab_size"], "measured"
    if recipe.tokenizer.path is None:
        return recipe.tokenizer.vocab_size, "recipe"
    for folder in (folder_named(recipe, recipe.tokenizer.path), cached_snapshot(recipe.tokenizer.path)):
        if folder is not None and (file := folder / TOKENIZER).exists():
            return vocab_size_of(file), "estimated"  # roles that it lacks are added later
    return recipe.tokenizer.vocab_size, "estimated"


def tokens_per_document(sample: Mapping[str, JsonValue] | None, vocab: int) -> float:
    """Before D is tokenized: by the corpus's first documents, with one token that ends each; else that of DCLM."""
    return assumed("tokens_per_document") if sample is None else sample["bytes"] / bytes_per_token(vocab) + 1


def _unique_tokens(recipe: Recipe, measured: JsonObject, name: str, mean: float, corpus: int | None) -> JsonObject:
    """Tokens of D (`real`) or of D and the further documents (`oracle`); None where it cannot be known yet.

    Args:
        recipe: The recipe.
        measured: What the run folder has.
        name: Whose.
        mean: Tokens of a document, estimated.
        corpus: Usable documents of the corpus, where it is so small that all of it was looked at.
    """
    if name in measured:
        return {"documents": measured[name]["documents"], "tokens": measured[name]["tokens"], "from": "measured"}
    documents: int | None = recipe.documents.train
    if name == "oracle":
        further = recipe.documents.oracle
        if further is None and corpus is not None:
            further = max(0, corpus - recipe.documents.train - recipe.documents.valid - recipe.documents.test)
        documents = None if further is None else recipe.documents.train + further
    tokens = None
    if documents is not None:
        per_document = mean
        if "real" in measured:
            per_document = measured["real"]["tokens"] / max(1, measured["real"]["documents"])
        tokens = round(documents * per_document)
    return {"documents": documents, "tokens": tokens, "from": "unknown" if tokens is None else "estimated"}


def _arm(recipe: Recipe, arm: str, *, unique: JsonObject, vocab: int, count: int, hardware: Hardware) -> JsonObject:
    length = recipe.model.sequence_length
    parts = ledger.arm_samples(recipe, arm)
    samples = sum(parts.values())
    datasets: dict[str, JsonObject] = {}
    for name, part in parts.items():
        tokens = part * length
        # Every synthetic sequence is used once, so there are as many unique tokens as are used.
        known: JsonObject = {"tokens": tokens, "from": "recipe"} if name == "synthetic" else unique[name]
        epochs = tokens / known["tokens"] if known["tokens"] else None
        datasets[name] = {
            "samples": part,
            "tokens": tokens,
            "unique_tokens": known["tokens"],
            "epochs": epochs,
            "from": known["from"],
        }
    real = next(entry for name, entry in datasets.items() if name != "synthetic")
    synthetic = datasets.get("synthetic", {"tokens": 0})["tokens"]
    flops = cost.training_flops(recipe.model, vocab, samples)
    return {
        "samples": samples,
        "train_tokens": samples * length,
        "steps": samples // recipe.training.global_batch_size,
        "datasets": datasets,
        # An arm that ends within its first epoch has no more unique tokens than it has read.
        "unique_real_tokens": real["unique_tokens"] and min(real["unique_tokens"], real["tokens"]),
        "real_tokens": real["tokens"],
        "real_epochs": real["epochs"],
        "from": real["from"],
        "synthetic_tokens": synthetic,
        "synthetic_share": synthetic / (samples * length),
        "flops": flops,
        "flops_6nd": 6 * count * samples * length,
        "gpu_hours": hardware.hours(flops),
    }
