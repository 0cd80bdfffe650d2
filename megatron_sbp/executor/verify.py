"""`sbp verify`: reads every file that a manifest names and compares digests, to find silent changes."""

from __future__ import annotations

from collections.abc import Sequence

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.executor.manifests import damage, stage_manifest
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Damage, Stage


def verify(run: Run, graph: Sequence[Stage]) -> tuple[dict[str, list[Damage]], int, int]:
    """Reads the outputs of all finished stages.

    Returns:
        Damage by stage (an empty list for an intact one; stages that are not finished are left out), and the number of
        files and of bytes that were compared.

    Raises:
        InputError: a manifest is damaged, or nothing is finished.
    """
    manifests = {}
    for stage in graph:
        file = run.stage_manifest(stage.name)
        manifest = stage_manifest(file, stage.name)
        if manifest is not None:
            manifests[stage.name] = manifest
    if not manifests:
        raise InputError("no stage is finished here: there is nothing to verify", file=run.root)
    total = sum(entry["size"] for manifest in manifests.values() for entry in manifest["outputs"].values())
    found = {}
    with Progress("verify", total, "bytes") as progress:
        for name, manifest in manifests.items():
            found[name] = damage(run, manifest["outputs"], read_all=True, advance=progress.advance)
    return found, sum(len(manifest["outputs"]) for manifest in manifests.values()), total
