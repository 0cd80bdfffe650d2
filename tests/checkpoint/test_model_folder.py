"""Names in the folder of a training."""

from __future__ import annotations

from megatron_sbp.checkpoint import model_folder


def test_names_are_those_of_run_folders_of_earlier_versions():
    """A training of an earlier version resumes only while its files are called as it called them."""
    named = {name: value for name, value in vars(model_folder).items() if name.isupper()}
    assert named == {
        "DATA": "data.json",
        "BLEND_LOCK": "blend.lock.json",
        "PRECISION": "precision.txt",
        "SETTINGS": "settings.json",
        "STARTED_FROM": "start.json",
        "CACHE": "cache",
        "METRICS": "metrics.jsonl",
        "COUNTS": "consumed",
        "STOPPED": "stopped.txt",
        "CONSUMED": "consumed.json",
    }
