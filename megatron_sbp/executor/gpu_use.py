"""How many GPUs a stage computes on, for the account of its cost."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from megatron_sbp.base.device import gpus
from megatron_sbp.base.untyped import JsonValue
from megatron_sbp.executor.manifests import work_of
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage


def gpus_used(run: Run, stage: Stage, environment: Mapping[str, str] = os.environ) -> int:
    """GPUs of all ranks of a training run, or of one process of another stage; 0 where it computes on CPUs.

    Call it in the process that did the work, at its end: if torch is loaded, it knows best whether there is a GPU.

    Args:
        run: the run.
        stage: of its graph.
        environment: of the process.
    """
    kind, launch = stage.device_for(run), run.recipe.launch
    if kind == "cpu" or launch.device == "cpu" or not gpus(environment):
        return 0
    torch = sys.modules.get("torch")
    if launch.device == "auto" and torch is not None and not torch.cuda.is_available():
        return 0
    return launch.nodes * launch.ranks_per_node if kind == "training" else stage.gpus(run)


def gpu_seconds(units: Sequence[Mapping[str, JsonValue]]) -> dict[str, float]:
    """`gpu_seconds`, seconds x GPUs of all units, for a stage manifest; nothing if a unit did not record them."""
    if any("gpus" not in unit for unit in units):  # of a version that did not record it
        return {}
    return {"gpu_seconds": round(sum(work_of(unit) * unit["gpus"] for unit in units), 3)}
