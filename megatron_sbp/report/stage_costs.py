"""What every finished stage cost: wall time, compute time, GPU-hours, and FLOPs, beside the plan's FLOPs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.hugging_face_names import TOKENIZER
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.checkpoint.model_folder import CONSUMED
from megatron_sbp.planning.plan import make_plan
from megatron_sbp.planning.stage_flops import (
    WITHOUT_MODEL,
    Processed,
    evaluation_flops,
    planned_flops,
    processed_flops,
    scann_flops,
    shared_flops,
)
from megatron_sbp.planning.units import end_of
from megatron_sbp.planning.vocabulary import vocab_size_of
from megatron_sbp.recipe import Recipe
from megatron_sbp.report.sources import ReportSources, read_if_present

_OPTIONS = 4
"""Continuations of a question, each read after its document's beginning."""


def stage_costs(sources: ReportSources, recipe: Recipe) -> dict[str, JsonObject]:
    """The cost of every finished stage, in the order in which they began.

    Args:
        sources: what the stages wrote.
        recipe: the recipe.

    Returns:
        By stage: `seconds` of wall time, `units`, `unit_seconds` over all its processes, `gpu_hours` (0.0 on CPUs) as
        measured; `flops` of what it processed (0 of a stage that runs no model), and `planned_flops`. None where it is
        not known, or has no formula.
    """
    found = _times(sources.manifests, sources.stages, on_cpus=recipe.launch.device == "cpu")
    plan = make_plan(recipe, _measured(sources))
    flops: dict[str, int | None] = {name: 0 for name in found if name.split(".")[0] in WITHOUT_MODEL}
    flops |= shared_flops(recipe, plan)
    if recipe.neighbors.engine == "scann":
        flops["neighbors"] = scann_flops(read_if_present(sources.neighbors_audit) or {})
    for number in range(1, recipe.replicates + 1):
        end = "" if number == 1 else f".{number}"
        replaced = (name for name in sources.synthesizers if recipe.synthesizers[name].method == "replacement")
        flops |= {f"synthesize{end_of(name)}{end}": 0 for name in replaced}
        flops |= processed_flops(recipe, plan, number, _processed(sources, number))
        flops[f"evaluate{end}"] = _evaluated(sources, recipe, plan, number)
    planned = planned_flops(recipe, plan)
    return {
        name: {**entry, "flops": flops.get(name), "planned_flops": planned.get(name)} for name, entry in found.items()
    }


def _times(manifests: Path, stages: Collection[str] | None, on_cpus: bool) -> dict[str, JsonObject]:
    """What the manifests measured, of every finished stage or of those named."""
    found = []
    for file in manifests.glob("*.json"):
        manifest = files.read_json(file)
        if "seconds" in manifest and "stage" in manifest and (stages is None or manifest["stage"] in stages):
            found.append((manifest.get("started", 0.0), manifest["stage"], manifest))
    return {
        name: {
            "seconds": manifest["seconds"],
            "units": manifest.get("units"),
            "unit_seconds": manifest.get("unit_seconds"),
            "gpu_hours": _gpu_hours(manifest, on_cpus),
        }
        for _, name, manifest in sorted(found, key=lambda entry: entry[:2])
    }


def _gpu_hours(manifest: JsonObject, on_cpus: bool) -> float | None:
    """None if an earlier version, which did not record it, ran the stage."""
    seconds = manifest.get("gpu_seconds", 0.0 if on_cpus else None)
    return None if seconds is None else seconds / 3600


def _measured(sources: ReportSources) -> JsonObject:
    """What the plan is made with, as for `sbp plan` of a run folder."""
    found: JsonObject = {**(read_if_present(sources.tokens_audit) or {})}
    for name, writer in sources.synthesizers.items():
        found.setdefault("synthesizers", {})[name] = read_if_present(writer.pair_tokens_audit) or {}
    file = None if sources.tokenizer is None else sources.tokenizer / TOKENIZER
    return {**found, "vocab_size": vocab_size_of(file)} if file is not None and file.exists() else found


def _evaluated(sources: ReportSources, recipe: Recipe, plan: JsonObject, number: int) -> int | None:
    """FLOPs of evaluating the arms of a replicate; None where none is evaluated."""
    known = [read_if_present(arm.evaluation) for arm in sources.replicates[number - 1].values()]
    read = [found for found in known if found]
    if not read:
        return None
    held_out = sum(found[split].get("sequences", 0) for found in read for split in ("valid", "test"))
    asked = sum(found["choice"].get("questions") or 0 for found in read)
    return evaluation_flops(recipe, plan["model"]["padded_vocab_size"], held_out, _OPTIONS * asked)


def _processed(sources: ReportSources, number: int) -> Processed:
    arms, writers = sources.replicates[number - 1], sources.writers[number - 1]
    trained = {arm: read_if_present(found.consumed) for arm, found in arms.items()}
    tuned = {name: read_if_present(found.model / CONSUMED) for name, found in writers.items()}
    written = {name: read_if_present(found.synthetic_audit) for name, found in writers.items()}
    return Processed(
        trained={arm: found["train_samples"] for arm, found in trained.items() if found},
        tuned={name: found["train_samples"] for name, found in tuned.items() if found},
        written={name: (found["generations"], found["generated_tokens"]) for name, found in written.items() if found},
    )
