"""The plan: what every arm will train on and what the run will cost, before anything is asked of a machine.

Pure arithmetic without torch. Numbers that follow from the recipe are exact; those that hang on data not made yet are
estimates from ASSUMPTIONS and say so with `"from": "estimated"`; once the run folder holds audits of tokens/ that were
made from the same recipe and inputs, the same places say "measured".
"""

from __future__ import annotations

from typing import Any

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.files import free_bytes
from megatron_sbp.base.hub import cached, hub_names, offline
from megatron_sbp.checkpoint.start import check_start
from megatron_sbp.executor.measured import read_measured as read_measured
from megatron_sbp.executor.measured import vocab_size_of
from megatron_sbp.planning import cost, ledger
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.megatron_flags import check_megatron_flags
from megatron_sbp.recipe.tuning_start import keeps_best, start_folder
from megatron_sbp.stages.run_folder import ARMS, Run

ASSUMPTIONS: dict[str, tuple[float, str]] = {
    "tokens_per_document": (828.0, "482B tokens in 582M documents of DCLM (docs/paper.md, mark A)"),
    "bytes_per_token": (4.5, "byte-level BPE with 49k entries on English text"),
    "text_compression": (2.7, "zstd on JSON lines of English text"),
    "peak_flops": (989e12, "one H100, dense bf16"),
    "training_mfu": (
        0.40,
        "share of the peak in training; also for embedding, exact search and reading seed documents",
    ),
    "generation_mfu": (0.05, "share of the peak in writing; vLLM reached 3 to 6 % with 1.7B and 4B models on an H100"),
    "device_bytes": (80e9, "memory of one H100"),
}
"""What the estimates rest on: value and reason."""

# Embedders known here: dimensions of the vectors, weights in matrix products (the token embedding left out).
_EMBEDDERS = {"qwen3-embedding-0.6b": (1024, 440_401_920), "minilm-l6": (384, 10_616_832)}
_UNKNOWN_EMBEDDER = "qwen3-embedding-0.6b"


def make_plan(recipe: Recipe, measured: dict[str, Any] | None = None) -> dict[str, Any]:
    """The plan of a run, JSON-able.

    Args:
        recipe: The recipe.
        measured: What `read_measured` found: {"real": {"documents", "tokens", ...}, "oracle": ..., "pairs": ..., ...}.

    Returns:
        `arms.{baseline,sbp,oracle}` (tokens, samples, steps, epochs, shares, FLOPs), `model`, `unique_tokens`,
        `embedding`, `neighbors`, `tuning`, `synthesis`, `memory`, `disk` (bytes), `sources` (for every figure that
        depends on data: measured, recipe, estimated, at most or unknown), `assumptions`, `warnings`.

    Raises:
        InputError: Megatron would refuse a flag of `training.megatron`.
    """
    check_megatron_flags(recipe)
    measured = measured or {}
    vocab, vocab_from = _vocabulary(recipe, measured)
    padded = cost.padded_vocab_size(recipe.model, vocab, recipe.launch.tensor_parallel)
    count = cost.parameters(recipe.model, padded)
    unique = {name: _unique_tokens(recipe, measured, name) for name in ("real", "oracle")}
    plan: dict[str, Any] = {
        "name": recipe.name,
        "model": {
            "parameters": count.total,
            "embedding_parameters": count.embedding,
            "vocab_size": {"tokens": vocab, "from": vocab_from},
            "padded_vocab_size": padded,
            "sequence_length": recipe.model.sequence_length,
        },
        "unique_tokens": unique,
        "arms": {arm: _arm(recipe, arm, unique, padded, count.total) for arm in ARMS},
        "embedding": _embedding(recipe, unique["real"]),
        "tuning": _tuning(recipe, measured, unique["real"], padded),
        "synthesis": _synthesis(recipe, measured, unique["real"], padded),
        "memory": _memory(recipe, padded),
    }
    plan["neighbors"] = _neighbors(recipe, plan["embedding"]["dimensions"])
    plan["disk"] = _disk(recipe, plan, vocab, count.total)
    plan["sources"] = {
        "vocabulary": vocab_from,
        "unique tokens of D": unique["real"]["from"],
        "unique tokens of the oracle": unique["oracle"]["from"],
        "pairs": plan["tuning"]["from"],
        "tokens of a draw": plan["synthesis"]["from"],
        "embedding": plan["embedding"]["from"],
    }
    plan["assumptions"] = {name: {"value": value, "why": why} for name, (value, why) in ASSUMPTIONS.items()}
    plan["warnings"] = _warnings(recipe, plan, measured.get("others", []))
    return plan


def _assumed(name: str) -> float:
    return ASSUMPTIONS[name][0]


def _gpu_hours(flops: float, mfu: str = "training_mfu") -> float:
    return flops / (_assumed("peak_flops") * _assumed(mfu)) / 3600


def _vocabulary(recipe: Recipe, measured: dict[str, Any]) -> tuple[int, str]:
    if "vocab_size" in measured:
        return measured["vocab_size"], "measured"
    if recipe.tokenizer.path is None:
        return recipe.tokenizer.vocab_size, "recipe"
    file = recipe.folder / recipe.tokenizer.path / "tokenizer.json"
    if file.exists():
        return vocab_size_of(file), "estimated"  # roles that it lacks are added later
    return recipe.tokenizer.vocab_size, "estimated"


def _unique_tokens(recipe: Recipe, measured: dict[str, Any], name: str) -> dict[str, Any]:
    """Tokens of D (`real`) or of D and the further documents (`oracle`); None where nobody can know yet."""
    if name in measured:
        return {"documents": measured[name]["documents"], "tokens": measured[name]["tokens"], "from": "measured"}
    documents: int | None = recipe.documents.train
    if name == "oracle":
        further = recipe.documents.oracle
        documents = None if further is None else recipe.documents.train + further
    tokens = None
    if documents is not None:
        per_document = _assumed("tokens_per_document")
        if "real" in measured:
            per_document = measured["real"]["tokens"] / max(1, measured["real"]["documents"])
        tokens = round(documents * per_document)
    return {"documents": documents, "tokens": tokens, "from": "unknown" if tokens is None else "estimated"}


def _arm(recipe: Recipe, arm: str, unique: dict[str, Any], vocab: int, count: int) -> dict[str, Any]:
    length = recipe.model.sequence_length
    parts = ledger.arm_samples(recipe, arm)
    samples = sum(parts.values())
    datasets = {}
    for name, part in parts.items():
        tokens = part * length
        # Every synthetic sequence is used once, so there are as many unique tokens as are used.
        known = {"tokens": tokens, "from": "recipe"} if name == "synthetic" else unique[name]
        epochs = tokens / known["tokens"] if known["tokens"] else None
        datasets[name] = {
            "samples": part,
            "tokens": tokens,
            "unique_tokens": known["tokens"],
            "epochs": epochs,
            "from": known["from"],
        }
    real = datasets["oracle" if arm == "oracle" else "real"]
    synthetic = datasets.get("synthetic", {"tokens": 0})["tokens"]
    flops = cost.training_flops(recipe.model, vocab, samples)
    return {
        "samples": samples,
        "train_tokens": samples * length,
        "steps": samples // recipe.training.global_batch_size,
        "datasets": datasets,
        # An arm that ends before its first epoch does has seen no more than it has read.
        "unique_real_tokens": real["unique_tokens"] and min(real["unique_tokens"], real["tokens"]),
        "real_tokens": real["tokens"],
        "real_epochs": real["epochs"],
        "from": real["from"],
        "synthetic_tokens": synthetic,
        "synthetic_share": synthetic / (samples * length),
        "flops": flops,
        "flops_6nd": 6 * count * samples * length,
        "gpu_hours": _gpu_hours(flops),
    }


def _embedding(recipe: Recipe, real: dict[str, Any]) -> dict[str, Any]:
    name = recipe.embedding.model.lower().replace("_", "-")
    known = next((key for key in _EMBEDDERS if key in name), None)
    dimensions, weights = _EMBEDDERS[known or _UNKNOWN_EMBEDDER]
    documents = recipe.documents.train + recipe.documents.valid + recipe.documents.test
    tokens = round(documents * min(recipe.embedding.max_tokens, real["tokens"] / max(1, real["documents"])))
    flops = 2 * weights * tokens
    return {
        "documents": documents,
        "dimensions": dimensions,
        "tokens": tokens,
        "flops": flops,
        "gpu_hours": _gpu_hours(flops),
        "from": "estimated",
        "embedder": known or f"unknown here; counted like {_UNKNOWN_EMBEDDER}",
    }


def _neighbors(recipe: Recipe, dimensions: int) -> dict[str, Any]:
    """Exact search among N documents is N^2 inner products: 2 N^2 d FLOPs; train and valid are searched apart."""
    flops = 2 * dimensions * (recipe.documents.train**2 + recipe.documents.valid**2)
    return {
        "engine": recipe.neighbors.engine,
        "k": recipe.neighbors.k,
        "exact_flops": flops,
        "exact_gpu_hours": _gpu_hours(flops),
    }


def _tuning(recipe: Recipe, measured: dict[str, Any], real: dict[str, Any], vocab: int) -> dict[str, Any]:
    """Pairs are unknown before they are mined: at most every document with all its allowed targets."""
    length = recipe.tuning_sequence_length
    if "pairs" in measured:
        audit, source = measured["pairs"], "measured"
        pairs = audit["pairs"]
        tokens = audit["seed_tokens"] + audit["target_tokens"] + pairs
    else:
        cap = recipe.pairs.max_targets_per_seed or recipe.neighbors.k
        pairs, source = real["documents"] * min(cap, recipe.neighbors.k), "at most"
        mean = real["tokens"] / max(1, real["documents"])
        seed, target = min(mean, recipe.max_seed_tokens), min(mean, recipe.max_target_tokens)
        tokens = round(pairs * (seed + 1 + target))
    samples = -(-tokens // length)
    steps = int(recipe.tuning.max_epochs * samples / recipe.tuning.global_batch_size)
    flops = cost.training_flops(recipe.model, vocab, steps * recipe.tuning.global_batch_size, length)
    return {
        "pairs": pairs,
        "tokens": tokens,
        "max_steps": steps,
        "max_flops": flops,
        "max_gpu_hours": _gpu_hours(flops),
        "from": source,
    }


def _synthesis(recipe: Recipe, measured: dict[str, Any], real: dict[str, Any], vocab: int) -> dict[str, Any]:
    mean = real["tokens"] / max(1, real["documents"])
    new = recipe.synthesis.tokens_per_draw
    source = "recipe" if new else "estimated"
    if not new and "pairs" in measured:
        new, source = measured["pairs"]["mean_target_tokens"], "measured"
    new = new or min(mean, recipe.max_target_tokens)
    planned = round(recipe.synthesis.tokens * recipe.synthesis.margin)
    draws = round(planned / new)
    reading, writing = cost.generation_flops(recipe.model, vocab, draws, min(mean, recipe.max_seed_tokens), new)
    return {
        "tokens": recipe.synthesis.tokens,
        "planned_tokens": planned,
        "tokens_per_draw": new,
        "draws": draws,
        "draws_per_document": draws / max(1, real["documents"]),
        "kept_per_document": recipe.synthesis.tokens / new / max(1, real["documents"]),
        "flops": reading + writing,
        "gpu_hours": _gpu_hours(reading) + _gpu_hours(writing, "generation_mfu"),
        "from": source,
    }


def _memory(recipe: Recipe, vocab: int) -> dict[str, Any]:
    launch, result = recipe.launch, {}
    for name, distributed in (("plain", False), ("distributed_optimizer", True)):
        entry = cost.memory(recipe.model, recipe.training, launch, vocab, distributed)
        result[name] = {
            "parameters": entry.parameters,
            "weights": entry.weights,
            "gradients": entry.gradients,
            "optimizer": entry.optimizer,
            "activations": entry.activations,
            "total": entry.total,
        }
    chosen = "distributed_optimizer" if launch.distributed_optimizer else "plain"
    ranks = launch.nodes * launch.ranks_per_node
    return {
        "ranks": ranks,
        "tensor_parallel": launch.tensor_parallel,
        "pipeline_parallel": launch.pipeline_parallel,
        "context_parallel": launch.context_parallel,
        "data_parallel": ranks // (launch.tensor_parallel * launch.pipeline_parallel * launch.context_parallel),
        "chosen": chosen,
        "per_rank": result[chosen]["total"],
        **result,
    }


def _disk(recipe: Recipe, plan: dict[str, Any], vocab: int, count: int) -> dict[str, int]:
    """Bytes of every kind of file, largest state; `documents.oracle: null` counts as none."""
    real, oracle = plan["unique_tokens"]["real"], plan["unique_tokens"]["oracle"]
    per_document = real["tokens"] / max(1, real["documents"])
    held_out = recipe.documents.valid + recipe.documents.test
    everything = (oracle["documents"] or recipe.documents.train) + held_out
    token_size = 2 if vocab <= 65_500 else 4
    text = _assumed("bytes_per_token") / _assumed("text_compression")

    def dataset(documents: float, tokens: float, sequences: int = 1) -> float:
        # .bin: the tokens; .idx: a length (4) and a pointer (8) per sequence, an index (8) per document
        return tokens * token_size + documents * (12 * sequences + 8)

    oracle_documents = oracle["documents"] or recipe.documents.train
    oracle_tokens = oracle["tokens"] or real["tokens"]
    tokens = (
        dataset(real["documents"], real["tokens"])
        + dataset(oracle_documents, oracle_tokens)
        + dataset(held_out, held_out * per_document)
    )
    embedding, tuning, synthesis = plan["embedding"], plan["tuning"], plan["synthesis"]
    neighbors = (recipe.documents.train + recipe.documents.valid) * recipe.neighbors.k * 12
    checkpoint = cost.checkpoint_bytes(recipe.training, count)
    # A training keeps all its checkpoints until it ends, then the last; baseline and oracle may run side by side.
    steps = plan["arms"]["baseline"]["steps"]
    often = recipe.training.eval_interval if keeps_best(recipe, "baseline") else recipe.training.save_interval
    saves = -(-steps // often) + -(-steps // recipe.training.save_interval) + 2
    weight = 2 if recipe.training.precision == "bf16" else 4
    disk = {
        "documents": everything * per_document * text,
        "tokens": tokens,
        "embeddings": embedding["documents"] * embedding["dimensions"] * 2,
        "neighbors": neighbors,
        # two row numbers, a score, and two ids of about 32 characters; and the tokenised pairs
        "pairs": tuning["pairs"] * 84 + dataset(tuning["pairs"], tuning["tokens"], 2),
        # and the synthesizer's start, while it is tuned
        "checkpoints": checkpoint * saves + (count * weight if start_folder(recipe) else 0),
        "exports": 4 * count * weight,
        "synthetic": (synthesis["planned_tokens"] + synthesis["tokens"]) * text
        + dataset(synthesis["draws"], synthesis["tokens"]),
    }
    rounded = {name: round(size) for name, size in disk.items()}
    return {**rounded, "total": sum(rounded.values()), "one_checkpoint": checkpoint}


def _warnings(recipe: Recipe, plan: dict[str, Any], others: list[str]) -> list[str]:
    found = []
    if others:
        found.append(
            f"not used, since other settings or inputs made them (or inputs changed since): {', '.join(others)}"
        )
    arms = plan["arms"]
    oracle, baseline, sbp = arms["oracle"], arms["baseline"], arms["sbp"]
    if oracle["real_epochs"] is None:
        found.append(
            "oracle: its unique tokens are unknown (documents.oracle is null: all documents that are left); "
            "if they are fewer than its budget, it repeats them"
        )
    elif oracle["real_epochs"] > 1:
        found.append(
            f"oracle: {_count(oracle['datasets']['oracle']['unique_tokens'])} unique tokens for a budget of "
            f"{_count(oracle['train_tokens'])}: it repeats them {oracle['real_epochs']:.2f} times and is no true oracle"
        )
    if baseline["real_epochs"] < 1:
        found.append(
            f"baseline: {baseline['real_epochs']:.2f} epochs of D: nothing is repeated, so there is nothing to compare"
        )
    if sbp["synthetic_share"] > 0.5:
        found.append(f"sbp: {100 * sbp['synthetic_share']:.1f} % of its tokens are synthetic, more than half")
    optimizer = str(recipe.training.megatron.get("optimizer", "adam"))
    if optimizer == "adam" and recipe.training.learning_rate >= 5e-3:
        found.append(
            f"training.learning_rate {recipe.training.learning_rate:g} is too high for AdamW: the paper's 1e-2 belongs "
            "to an optimizer with scaled updates"
        )
    try:
        check_start(recipe)
    except InputError as error:
        found.append(f"tuning.start: the tuning will be refused: {error}")
    try:
        missing = {key: name for key, name in hub_names(recipe).items() if offline() and not cached(name)}
        found += [f"{key}: not in the local hub cache: `hf download {name}` first" for key, name in missing.items()]
    except InputError as error:
        found.append(f"{error.key}: the run will be refused: {error.reason}")
    if recipe.launch.context_parallel > 1:
        found.append("launch.context_parallel: the tuning will be refused, since it would cut packed pairs apart")
    memory = plan["memory"]
    if recipe.launch.device != "cpu" and memory["per_rank"] > _assumed("device_bytes"):
        found.append(
            f"a rank needs about {_bytes(memory['per_rank'])}, more than the {_bytes(_assumed('device_bytes'))} of an "
            "H100; launch.distributed_optimizer, tensor_parallel or a smaller micro_batch_size bring it down"
        )
    root = Run.of(recipe).root
    free = free_bytes(root)
    if plan["disk"]["total"] > free:
        there = " (what the run folder holds already counts)" if root.exists() else ""
        found.append(
            f"the run needs about {_bytes(plan['disk']['total'])} on disk{there}, and {root} has {_bytes(free)} free"
        )
    return found


def format_plan(plan: dict[str, Any]) -> str:
    """The plan as text for a terminal of 100 columns."""
    model, memory, synthesis, tuning = plan["model"], plan["memory"], plan["synthesis"], plan["tuning"]
    arms = plan["arms"]
    lines = [
        f"Plan of {plan['name']}",
        "",
        f"model       {model['parameters']:,} parameters ({model['embedding_parameters']:,} in embeddings), "
        f"sequences of {model['sequence_length']:,} tokens",
        f"D           {_unique(plan['unique_tokens']['real'])}",
        f"oracle has  {_unique(plan['unique_tokens']['oracle'])}",
        "",
        f"{'':24}" + "".join(f"{arm:>20}" for arm in arms),
    ]

    def row(label: str, values: list[str]) -> None:
        lines.append(f"{label:24}" + "".join(f"{value:>20}" for value in values))

    every = list(arms.values())
    row("training tokens", [f"{arm['train_tokens']:,}" for arm in every])
    row("samples (sequences)", [f"{arm['samples']:,}" for arm in every])
    row("optimizer steps", [f"{arm['steps']:,}" for arm in every])
    row("real tokens", [f"{arm['real_tokens']:,}" for arm in every])
    row("  unique", [_marked(arm["unique_real_tokens"], arm["from"], _count) for arm in every])
    row("  epochs", [_marked(arm["real_epochs"], arm["from"], "{:.2f}".format) for arm in every])
    row("synthetic tokens", [f"{arm['synthetic_tokens']:,}" for arm in every])
    row("  share", [f"{100 * arm['synthetic_share']:.1f} %" for arm in every])
    row("FLOPs", [f"{arm['flops']:.2e}" for arm in every])
    row("  by 6 N D", [f"{arm['flops_6nd']:.2e}" for arm in every])
    row("H100-hours *", [_hours(arm["gpu_hours"]) for arm in every])
    embedding, neighbors = plan["embedding"], plan["neighbors"]
    lines += [
        "",
        "outside the token budget",
        f"  embedding   {embedding['documents']:,} documents, {embedding['dimensions']} dimensions, "
        f"{embedding['flops']:.2e} FLOPs, {_hours(embedding['gpu_hours'])} H100-hours *",
        f"  neighbors   k = {neighbors['k']}, engine {neighbors['engine']}; exact search is "
        f"{neighbors['exact_flops']:.2e} FLOPs, {_hours(neighbors['exact_gpu_hours'])} H100-hours *",
        f"  tuning      {tuning['pairs']:,} pairs ({tuning['from']}), up to {tuning['max_steps']:,} steps, "
        f"{tuning['max_flops']:.2e} FLOPs, {_hours(tuning['max_gpu_hours'])} H100-hours *",
        f"  synthesis   {_count(synthesis['planned_tokens'])} tokens to write for {_count(synthesis['tokens'])} kept, "
        f"{synthesis['draws']:,} draws ({synthesis['draws_per_document']:.1f} per document),",
        f"              {synthesis['flops']:.2e} FLOPs, {_hours(synthesis['gpu_hours'])} H100-hours *",
        "",
        f"memory of a rank: {_bytes(memory['per_rank'])} ({memory['ranks']} ranks = data {memory['data_parallel']} x "
        f"tensor {memory['tensor_parallel']} x pipeline {memory['pipeline_parallel']} x context "
        f"{memory['context_parallel']}; {memory['chosen'].replace('_', ' ')})",
    ]
    for name in ("plain", "distributed_optimizer"):
        entry = memory[name]
        lines.append(
            f"  {name.replace('_', ' '):22} weights {_bytes(entry['weights'])}, "
            f"gradients {_bytes(entry['gradients'])}, "
            f"optimizer {_bytes(entry['optimizer'])}, activations ~{_bytes(entry['activations'])}"
        )
    disk = plan["disk"]
    lines += [
        "",
        f"disk: {_bytes(disk['total'])} at its fullest (a checkpoint is {_bytes(disk['one_checkpoint'])})",
    ]
    kinds = [f"{name} {_bytes(size)}" for name, size in disk.items() if name not in ("total", "one_checkpoint")]
    lines += ["  " + ", ".join(kinds[:4]), "  " + ", ".join(kinds[4:]), ""]
    lines += _sources(plan["sources"])
    lines.append(
        f"~ estimated: {_assumed('tokens_per_document'):g} tokens a document until D is tokenized. * at "
        f"{100 * _assumed('training_mfu'):g} % (writing {100 * _assumed('generation_mfu'):g} %) of "
        f"{_assumed('peak_flops') / 1e12:g} TFLOP/s, an assumption."
    )
    lines += [f"warning: {warning}" for warning in plan["warnings"]]
    return "\n".join(lines) + "\n"


def _sources(sources: dict[str, str]) -> list[str]:
    """Which figures were measured in this run folder, and which are not."""
    meanings = {"measured": "measured here", "recipe": "by the recipe", "at most": "upper bounds"}
    return [
        f"{meanings.get(kind, kind)}: {', '.join(name for name in sources if sources[name] == kind)}"
        for kind in dict.fromkeys(sources.values())
    ]


def _marked(value: Any, source: str, form) -> str:
    if value is None:
        return "unknown"
    return ("~" if source == "estimated" else "") + form(value)


def _unique(entry: dict[str, Any]) -> str:
    if entry["tokens"] is None:
        return "an unknown number of unique tokens"
    return f"{entry['documents']:,} documents, {_marked(entry['tokens'], entry['from'], '{:,}'.format)} unique tokens"


def _count(value: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


def _bytes(value: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def _hours(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
