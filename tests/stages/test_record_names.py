"""Names of the records of a run, against those that a run folder has had since they were first written."""

from __future__ import annotations

from fnmatch import fnmatch

import pytest

from megatron_sbp.stages import record_names as records


def test_names_on_disk():
    """Run folders that exist have these."""
    assert records.manifest("tokenize") == "tokenize.json" and records.unit_lock("real") == ".real.lock"
    assert records.submitted("0123456789ab") == "0123456789ab.yaml"
    assert fnmatch("tokenize/started.json", records.STARTED_STAGES) and fnmatch("12_3.jsonl", records.FAULT_FILES)


def test_manifests_are_not_hidden_files(tmp_path):
    """A lock, and a file that is being written, begin with a dot."""
    for name in ("real.json", "started.json", ".real.lock", ".real.json.tmp", ".real.json"):
        (tmp_path / name).touch()
    assert {file.name for file in tmp_path.glob(records.UNIT_MANIFESTS)} == {"real.json", "started.json"}


def test_files_of_a_job(tmp_path):
    """Job 12 is not job 112, nor 120."""
    for name in (
        "12.jsonl",
        "12_0.jsonl",
        "112.jsonl",
        "112_12.jsonl",
        "120_0.jsonl",
        "a-12.out",
        "a-12_7.out",
        "a-112.out",
    ):
        (tmp_path / name).touch()

    def found(patterns: tuple[str, str]) -> list[str]:
        return sorted(file.name for pattern in patterns for file in tmp_path.glob(pattern))

    assert found(records.faults_of("12")) == ["12.jsonl", "12_0.jsonl"]
    assert found(records.logs_of("12")) == ["a-12.out", "a-12_7.out"]


@pytest.mark.parametrize(
    ("path", "outside"),
    [("a/b", False), ("..a/b..", False), ("/a", True), ("..", True), ("a/../../b", True), ("a/..", True)],
)
def test_what_leads_out_of_the_run_folder(path, outside):
    assert records.is_outside(path) == outside


def test_folder_and_name():
    assert records.below_folder("a/b/c.json") == ("a/b", "c.json") and records.below_folder("plan.json") == (
        "",
        "plan.json",
    )


def test_the_unit_in_a_path():
    matching = records.of_one_unit("synthetic/generations/", ".jsonl*")
    found = matching.fullmatch("synthetic/generations/00003.jsonl.zst")
    assert found is not None and found["unit"] == "00003"
    assert matching.fullmatch("synthetic/generations/a/00003.jsonl.zst") is None
    assert matching.fullmatch("synthetic/generations/00003_jsonl.zst") is None
