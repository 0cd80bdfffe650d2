"""Totals of a plan: GPU-hours of everything, wall time on the recipe's nodes, checkpoints."""

from __future__ import annotations

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning.assumptions import assumed
from megatron_sbp.planning.units import end_of, saved_checkpoints, synthesizers_of
from megatron_sbp.recipe import Recipe


def plan_total(recipe: Recipe, plan: JsonObject) -> JsonObject:
    """FLOPs and GPU-hours of the whole run, replicates included: pairing, tunings (at most), and generation too."""
    replicates, parts = plan["replicates"], {}
    synthesizers = synthesizers_of(recipe, plan).values()
    tunings = [entry["tuning"] for entry in synthesizers if entry["tuning"]]
    exact = plan["neighbors"] if recipe.neighbors.engine == "exact" else {"exact_flops": 0, "exact_gpu_hours": 0.0}
    for kind, end in (("flops", "flops"), ("gpu_hours", "gpu_hours")):
        parts[kind] = {
            "arms": replicates * sum(arm[end] for arm in plan["arms"].values()),
            "embedding": plan["embedding"][end]
            + replicates * sum(entry["synthesis"][f"compare_{end}"] for entry in synthesizers),
            "neighbors": exact[f"exact_{end}"],
            "tuning": replicates * sum(entry[f"max_{end}"] for entry in tunings),
            "synthesis": replicates * sum(entry["synthesis"][end] for entry in synthesizers),
        }
    return {
        "flops": sum(parts["flops"].values()),
        "gpu_hours": sum(parts["gpu_hours"].values()),
        "gpu_hours_of": parts["gpu_hours"],
    }


def plan_time(recipe: Recipe, plan: JsonObject) -> JsonObject | None:
    """Hours of wall time, or None for a recipe of CPU ranks, of which no rate is assumed.

    Every stage has the GPUs of the recipe's nodes, or one for each of its array tasks where these are fewer. Stages
    that use no GPU, starting, evaluating while training, and waiting in a queue are not in it.

    Returns:
        `stages` by name, of one replicate; `one_after_another`, all of them on the nodes of the recipe; `side_by_side`,
        with nodes for all stages that do not wait for one another.
    """
    gpus = plan["hardware"]["gpus"]
    if gpus is None:
        return None

    def of_array(stage: str, hours: float) -> float:
        return hours / max(1, min(plan["arrays"][stage]["tasks"], gpus))

    prepare = {"embed": of_array("embed", plan["embedding"]["gpu_hours"])}
    if recipe.neighbors.engine == "exact":
        prepare["neighbors"] = of_array("neighbors", plan["neighbors"]["exact_gpu_hours"])
    compared = {}
    trainings = {arm: entry["gpu_hours"] / gpus for arm, entry in plan["arms"].items()}
    tunings, writings = {}, {}
    for name, entry in synthesizers_of(recipe, plan).items():
        if entry["tuning"]:
            tunings[name] = entry["tuning"]["max_gpu_hours"] / gpus
        writings[name] = of_array("synthesize" + end_of(name), entry["synthesis"]["gpu_hours"])
        if "compare" + end_of(name) in plan["arrays"]:
            compared[name] = of_array("compare" + end_of(name), entry["synthesis"]["compare_gpu_hours"])

    def end_of_arm(arm: str) -> float:
        writer = recipe.arms[arm].synthetic
        return trainings[arm] + (0.0 if writer is None else end_of_synthesizer(writer))

    def end_of_synthesizer(name: str) -> float:
        start = recipe.start_arm_of(name)
        paired = sum(prepare.values()) if name in tunings else 0.0
        begin = max(paired, 0.0 if start is None else end_of_arm(start))
        return begin + tunings.get(name, 0.0) + writings[name] + compared.get(name, 0.0)

    stages = {
        **prepare,
        **{f"train-{arm}": hours for arm, hours in trainings.items()},
        **{"tune" + end_of(name): hours for name, hours in tunings.items()},
        **{"synthesize" + end_of(name): hours for name, hours in writings.items()},
        **{"compare" + end_of(name): hours for name, hours in compared.items()},
    }
    repeated = sum(hours for stage, hours in stages.items() if stage not in prepare)
    return {
        "stages": stages,
        "one_after_another": sum(prepare.values()) + plan["replicates"] * repeated,
        "side_by_side": max(map(end_of_arm, recipe.arms)),
    }


def plan_checkpoint(recipe: Recipe, plan: JsonObject) -> JsonObject:
    """One checkpoint of an arm, with its optimizer: bytes, seconds to write it, and how many there are at most."""
    size = plan["disk"]["one_checkpoint"]
    return {
        "bytes": size,
        "write_seconds": size / (recipe.launch.nodes * assumed("node_write_rate")),
        "from": "assumed",
        "on_disk": saved_checkpoints(recipe, plan),
    }
