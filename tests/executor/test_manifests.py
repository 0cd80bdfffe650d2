"""Manifests: what is accepted as one, what counts as damage, and which inputs are the same."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from support.stage_toys import make_run

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.manifests import (
    STAGE_FIELDS,
    UNIT_FIELDS,
    DamagedManifest,
    check_present,
    damage,
    differences,
    entries,
    intact,
    read_manifest,
    read_unit,
    select,
    stage_manifest,
)

GOOD = {"key": "k", "outputs": {}, "seconds": 1, "started": 2.0, "settings": {}, "inputs": {}, "unit_seconds": 1.0}
ENTRY = {"sha256": "0" * 64, "size": 1, "mtime_ns": 1}


@pytest.fixture
def run(tmp_path):
    run = make_run(tmp_path)
    for name in ("a", "b"):
        files.write_text(run.root / "words" / f"{name}.txt", name * 100)
    return run


def written(tmp_path, value) -> Path:
    file = tmp_path / "m.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return file


def test_a_whole_one_is_read_and_a_missing_one_is_none(tmp_path):
    assert read_manifest(written(tmp_path, GOOD)) == GOOD
    assert read_manifest(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    "value",
    ["", "{", "null", "[1]", *({**GOOD, name: None} for name in STAGE_FIELDS),
     {**GOOD, "outputs": {"a": 1}}, {**GOOD, "outputs": {"a": {"sha256": "0"}}},
     {**GOOD, "outputs": {"../a": ENTRY}}, {**GOOD, "outputs": {"/etc/passwd": ENTRY}}],
)  # fmt: skip
def test_what_this_program_cannot_have_written_is_damaged(tmp_path, value):
    file = written(tmp_path, value)
    with pytest.raises(DamagedManifest) as caught:
        read_manifest(file)
    assert caught.value.file == file
    with pytest.raises(DamagedManifest, match="--discard words"):
        stage_manifest(file, "words")


def test_a_damaged_unit_is_none(tmp_path):
    unit = {name: GOOD[name] for name in UNIT_FIELDS}
    assert read_unit(written(tmp_path, unit)) == unit
    assert read_unit(written(tmp_path, "{")) is None
    started = tmp_path / "started.json"
    started.write_text(json.dumps(unit))
    assert read_unit(started) is None


def test_damage_is_what_is_gone_or_changed(run):
    paths = sorted((run.root / "words").iterdir())
    found = entries(run, paths)
    assert found.keys() == {"words/a.txt", "words/b.txt"} and intact(run, found)
    paths[0].unlink()
    files.write_text(paths[1], "b" * 99 + "x")
    first, second = damage(run, found)
    assert (first.path, first.gone, second.path, second.gone) == ("words/a.txt", True, "words/b.txt", False)
    assert not intact(run, found)


def test_a_change_without_a_trace_is_found_by_reading_everything(run):
    [file, _] = sorted((run.root / "words").iterdir())
    found, before = entries(run, [file]), file.stat()
    file.write_text("x" * 100)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    compared = []
    assert damage(run, found) == []
    assert [item.path for item in damage(run, found, read_all=True, advance=compared.append)] == ["words/a.txt"]
    assert compared == [100]


def test_a_touched_file_is_read_and_is_not_damaged(run):
    [file, _] = sorted((run.root / "words").iterdir())
    found = entries(run, [file])
    os.utime(file, ns=(1, 1))
    assert damage(run, found) == []


def test_inputs_are_chosen_by_pattern():
    outputs = {path: {**ENTRY, "sha256": path} for path in ("tokens/real.bin", "tokens/real.idx", "tokens/valid.bin")}
    assert select(outputs, ("tokens/real.*",)) == {
        "tokens/real.bin": "tokens/real.bin",
        "tokens/real.idx": "tokens/real.idx",
    }
    assert select(outputs, ()) == {}


def test_differences_name_settings_with_values_and_inputs_without():
    old = {"settings": {"model": {"layers": 2, "gone": 1}, "seed": 1}, "inputs": {"a": "x", "b": "x"}}
    new = {"settings": {"model": {"layers": 3}, "seed": 1}, "inputs": {"b": "y", "c": "x"}}
    assert differences(old, new) == [
        "model.gone was 1, is None", "model.layers was 2, is 3", "a was removed", "b changed", "c is new",
    ]  # fmt: skip
    many = {"settings": {str(number): 0 for number in range(30)}, "inputs": {}}
    assert len(found := differences({}, many)) == 11 and found[-1] == "and 20 more"


def test_inputs_that_are_gone_are_named(run):
    inputs = ["words/a.txt", "external:corpus.jsonl:0", "words/b.txt"]
    check_present(run, inputs)
    (run.root / "words" / "a.txt").unlink()
    with pytest.raises(InputError, match=r"words/a\.txt: is missing; `sbp run` regenerates it"):
        check_present(run, inputs)
    (run.root / "words" / "b.txt").unlink()
    (run.root / "words").rmdir()
    with pytest.raises(InputError, match=r"words/a\.txt: is missing, and 1 other files of its folder;"):
        check_present(run, inputs)


def test_outputs_are_read_on_all_cores(run, monkeypatch):
    """Each read waits for another one to be under way."""
    together, describe = threading.Barrier(2), files.describe

    def met(path: Path, **words: bool) -> dict:
        together.wait(10)
        return describe(path, **words)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(files, "describe", met)
    paths = [run.root / "words" / f"{name}.txt" for name in ("b", "a")]
    assert entries(run, paths) == {f"words/{path.name}": describe(path) for path in paths}
    assert list(entries(run, paths)) == ["words/a.txt", "words/b.txt"]
