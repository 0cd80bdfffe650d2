"""The GPUs that the estimates are for: given, or assumed and marked as such."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.gpus import MEMORY_GB, PEAK_TFLOPS
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning.assumptions import assumed
from megatron_sbp.recipe import Recipe


@dataclass(frozen=True)
class Hardware:
    """One GPU, and the share of its peak that work reaches.

    Attributes:
        gpu: its type.
        peak_flops: dense bf16 FLOP/s of its data sheet.
        device_bytes: its memory.
        mfu: share of the peak in training, embedding, exact search, and reading seed documents.
        generation_mfu: share of the peak in writing.
        gpu_from: `given` or `assumed`.
        mfu_from: the same of `mfu`.
        generation_mfu_from: the same of `generation_mfu`.
    """

    gpu: str = "H100"
    peak_flops: float = assumed("peak_flops")
    device_bytes: float = assumed("device_bytes")
    mfu: float = assumed("training_mfu")
    generation_mfu: float = assumed("generation_mfu")
    gpu_from: str = "assumed"
    mfu_from: str = "assumed"
    generation_mfu_from: str = "assumed"

    def hours(self, flops: float, writing: bool = False) -> float:
        """Hours of one GPU for some FLOPs."""
        return flops / (self.peak_flops * (self.generation_mfu if writing else self.mfu)) / 3600

    def for_plan(self, recipe: Recipe) -> JsonObject:
        """`hardware` of the plan: this, and how many GPUs a training run has according to the recipe."""
        launch = recipe.launch
        gpus = None if launch.device == "cpu" else launch.nodes * launch.ranks_per_node
        return {**asdict(self), "nodes": launch.nodes, "gpus": gpus, "gpus_from": "recipe"}


def given_hardware(gpu: str | None, mfu: float | None, generation_mfu: float | None) -> Hardware:
    """Hardware of which some is given, and None is assumed.

    Raises:
        InputError: a GPU whose data sheet is not known here, or an impossible share.
    """
    found: JsonObject = {}
    if gpu is not None:
        names = {name.lower(): name for name in PEAK_TFLOPS}
        name = names.get(gpu.lower())
        if name is None:
            near = difflib.get_close_matches(gpu.lower(), names, 1)
            hint = f"; did you mean {names[near[0]]}?" if near else ""
            raise InputError(f"no data sheet for '{gpu}' here{hint}; known: {', '.join(PEAK_TFLOPS)}", key="--gpu")
        found |= {"gpu": name, "peak_flops": PEAK_TFLOPS[name] * 1e12, "device_bytes": MEMORY_GB[name] * 1e9}
        found["gpu_from"] = "given"
    for key, share in (("mfu", mfu), ("generation_mfu", generation_mfu)):
        if share is None:
            continue
        if not 0 < share <= 1:
            raise InputError(f"must be a share of the peak, above 0 and at most 1, not {share:g}", key=_OPTION[key])
        found |= {key: share, f"{key}_from": "given"}
    return Hardware(**found)


_OPTION = {"mfu": "--mfu", "generation_mfu": "--writing-mfu"}
