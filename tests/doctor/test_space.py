"""Bytes and inodes against what a run needs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.doctor.space import check_space, room
from megatron_sbp.doctor.subject import Subject
from megatron_sbp.planning.numbers import format_bytes, format_count
from megatron_sbp.recipe import Documents
from megatron_sbp.stages.run_folder import Run

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
DOCUMENTS = Documents(inputs=["corpus.jsonl"], train=200, valid=40, test=30)


@root
def test_too_few_bytes_and_inodes_for_the_run(mounted):
    folder = mounted("size=1m,nr_inodes=20")
    needed = list(room(folder, (2_000_000, 100)))
    assert [entry.status for entry in needed] == ["fail", "fail"]
    assert "1.05 MB; the run needs about 2 MB" in needed[0].text and "the run needs about 100" in needed[1].text
    assert [entry.status for entry in room(folder, (2_000_000, 100), begun=True)] == ["warn", "warn"]
    assert [entry.status for entry in room(folder, (1000, 3))] == ["ok", "ok"]
    assert [entry.status for entry in room(folder, None)] == ["warn", "warn"]


def test_more_than_any_disk_has(tmp_path):
    free, inodes = room(tmp_path, (1e24, 1e15))
    assert (free.check, free.status) == ("free bytes", "fail") and "the run needs about 1e+09 PB" in free.text
    assert inodes.status in ("fail", "ok") and "another run_folder" in free.remedy
    assert next(room(tmp_path, (1e24, 1e15), begun=True)).status == "warn"


def test_free_bytes_are_those_that_a_user_may_take(tmp_path):
    free = next(room(tmp_path, (1.0, 1.0)))
    assert free.status == "ok"
    value, unit = free.text.partition(";")[0].split()
    assert float(value) == pytest.approx(shutil.disk_usage(tmp_path).free / UNITS[unit], rel=0.05)


UNITS = {"MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15}


def test_the_plan_says_what_a_run_needs(tmp_path):
    subject = Subject(Run.of(small_recipe(tmp_path / "run", DOCUMENTS)))
    free, inodes, _ = check_space(subject)
    assert free.text.endswith(f"; the run needs about {format_bytes(subject.plan['disk']['total'])}")
    assert subject.plan["files"]["total"] > 50
    assert format_count(subject.plan["files"]["total"]) in inodes.text or "no limit" in inodes.text
    assert not list(tmp_path.iterdir()), "nothing is made"


def test_without_a_recipe_nothing_is_said_about_a_need(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = list(check_space(Subject()))
    assert [finding.check for finding in found] == ["free bytes", "free inodes", "quota"]
    assert not any("needs" in finding.text for finding in found)


@root
def test_a_run_that_has_begun_is_only_warned(mounted):
    """A part of what it needs is there already."""
    folder: Path = mounted("size=100k,nr_inodes=40")
    subject = Subject(Run.of(small_recipe(folder / "run", DOCUMENTS)))
    assert [finding.status for finding in check_space(subject)][:2] == ["fail", "fail"]
    (folder / "run").mkdir()
    again = list(check_space(Subject(subject.run)))
    assert [finding.status for finding in again][:2] == ["warn", "warn"]
    assert "what its folder holds already included" in again[0].text
