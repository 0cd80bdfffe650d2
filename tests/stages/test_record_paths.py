"""Where the records of a run are, and folders for what is moved aside."""

from __future__ import annotations

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.recipe import Documents
from megatron_sbp.stages.run_folder import Run


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(small_recipe(tmp_path, Documents(inputs=["*.jsonl"], train=10, valid=2, test=2)), tmp_path)


def test_things_moved_aside_never_meet(run):
    found = [run.new_aside("words-replaced") for _ in range(3)]
    assert len(set(found)) == 3 and all(folder.is_dir() and folder.parent == run.aside for folder in found)


def test_places_on_disk(run):
    """Run folders that exist have these."""
    assert [path.relative_to(run.root).as_posix() for path in (
        run.marker_file, run.resolved_file, run.plan_file, run.stop_file, run.save_file, run.aside, run.job_logs,
        run.job_faults, run.stage_manifest("tokenize"), run.submitted("0123"), run.log("tune", "rank-0"),
        run.rejection_audit("documents"), run.work_folder("pairs", "0123456789abcdef"),
    )] == [
        "sbp-run.json", "resolved.yaml", "plan.json", "stop", "save", "aside", "logs/slurm",
        "logs/slurm/faults", "stages/tokenize.json", "submitted/0123.yaml", "logs/tune/rank-0.log",
        "logs/documents/audit.json", ".work/pairs-0123456789ab",
    ]  # fmt: skip


def test_records_belong_to_no_view_or_scope(run):
    """A replacement in progress must not hide the manifests of what it replaces."""
    view = run.view(run.work_folder("pairs", "0123"), ("pairs", "stages", "logs"))
    assert view.manifests == run.manifests and view.job_logs == run.job_logs


def test_work_folders_of_one_stage(run):
    for stage in ("pairs", "pairs", "pilot"):
        run.work_folder(stage, str(len(run.work_folders(stage)))).mkdir(parents=True)
    assert run.work_folders("pairs") == [run.work_root / "pairs-0", run.work_root / "pairs-1"]
