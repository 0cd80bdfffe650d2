"""What a run folder has measured already, for the plan: only what was made from the present recipe and inputs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.executor.external import remembered
from megatron_sbp.planning.units import pilots
from megatron_sbp.planning.vocabulary import vocab_size_of
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.scopes import suffix, synthesizer_run


def read_measured(run: Run, finished: Collection[str] = ()) -> JsonObject | None:
    """What the run folder knows about this very recipe.

    A measurement counts only under its own fingerprint: its stage and all stages before it must be finished under the
    fingerprints that the present recipe and inputs give.

    Args:
        run: the run.
        finished: stages that the caller has just found to be, with all before them; they are not looked at again.

    Returns:
        `vocab_size`; the audits of tokens/ by dataset name (`real`, `oracle`, ...); in `synthesizers.NAME` those of
        each synthesizer (`pairs`, `pilot`, `synthetic`, ...); in `others` the files that were made from something else.
        None when there is nothing.
    """
    measured: JsonObject = {}
    others: list[str] = []
    current = _CurrentStages(run, finished)

    def usable(stage: str, file: Path) -> bool:
        if not file.exists():
            return False
        if not current.made(stage, file):
            others.append(run.relative(file))
            return False
        return True

    if usable("tokenize", file := run.audit_tokens("audit")):
        measured.update(files.read_json(file))
    for name in run.recipe.used_synthesizers:
        own, end = synthesizer_run(run, name), suffix(name)
        for stage, audit in (("tokenize-pairs", "pairs_audit"), ("tokenize-synthetic", "synthetic_audit")):
            if usable(stage + end, file := own.audit_tokens(audit)):
                measured.setdefault("synthesizers", {}).setdefault(name, {}).update(files.read_json(file))
        if pilots(run.recipe, name) and usable("judge-pilot" + end, file := own.pilot_audit):
            measured.setdefault("synthesizers", {}).setdefault(name, {})["pilot"] = files.read_json(file)
    if usable("tokenizer", file := run.tokenizer_file):
        measured["vocab_size"] = vocab_size_of(file)
    if others:
        measured["others"] = others
    return measured or None


class _CurrentStages:
    """Which stages of a run folder are finished under the fingerprints that the present recipe gives.

    Reads no data: only manifests, and digests of inputs that are remembered.
    """

    def __init__(self, run: Run, finished: Collection[str]):
        # Here, because stages import much, and the plan of a run that has not begun needs none of them.
        from megatron_sbp.stages.graph import all_stages

        self.run = run
        self._graph = {stage.name: stage for stage in all_stages(run.recipe)}
        self._known = dict.fromkeys(finished, True)

    def made(self, name: str, file: Path) -> bool:
        """Whether a file is the output of a current stage."""
        if not self._is_current(name):
            return False
        outputs = files.read_json(self.run.stage_manifest(name))["outputs"]
        entry = outputs.get(self.run.relative(file))
        return entry is not None and file.is_file() and entry["sha256"] == files.sha256(file)

    def _is_current(self, name: str) -> bool:
        if name not in self._known:
            try:
                self._known[name] = self._check(name)
            except (InputError, OSError, LookupError, TypeError, AttributeError):  # input gone, manifest damaged
                self._known[name] = False
        return self._known[name]

    def _check(self, name: str) -> bool:
        from megatron_sbp.executor.runner import StageRunner

        stage, run = self._graph[name], self.run
        manifest = run.stage_manifest(name)
        if not manifest.exists() or not all(self._is_current(before) for before in stage.reads(run)):
            return False
        if not remembered(run, stage.external(run)):
            return False
        key = StageRunner(run, stage, list(self._graph.values())).fingerprints().stage
        return bool(files.read_json(manifest)["key"] == key)
