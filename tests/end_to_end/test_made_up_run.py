"""The made-up run of other tests has files as real stages write them: keys, types, columns, dtypes and dimensions."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from support.file_schema import differences, schema_of
from support.made_up_run import made_up_run

from megatron_sbp.base import files

MAPS = {
    ".examples", ".inputs", ".model.vocab", ".outputs", ".settings", ".train.targets_per_seed.histogram",
    ".valid.targets_per_seed.histogram",
}  # fmt: skip
"""Dicts whose keys are data: names of rules, of files, of settings, tokens, numbers of targets."""

DIFFERENT = {
    r"(documents/\w+/\*\.jsonl\.zst|documents/ids/\w+/\*\.parquet) \.(field )?title: missing": "the recipe keeps it",
    r"stages/documents(/started)?\.json \.settings\[\]: .*": "the recipe has no id_field",
    r"synthetic/(generations/)?\*\.jsonl\.zst \.(token_ids|ids_digest): missing": "tests change the texts",
    r"evaluation/quality\.json \.judge(: dict instead of NoneType|\.\w+: unknown)": "only here a judge was asked",
    r"evaluation/quality\.json \.groups\.\w+\.(non_factual|pair_irrelevance): unknown": "likewise",
    r"evaluation/quality\.json \.(groups\.\w+|similarity|limits)\.intervals(\.\w+)?: missing": "a few are shown",
    r"evaluation/quality\.json \.groups\.(\w+\.lengths\.histogram|real\.corpus_documents): missing": "not shown",
}
"""What may differ, as a pattern, and why."""


def kinds(root: Path) -> dict[str, list[Path]]:
    """Files of a run by their place, shards of the same together, without locks; the .idx stands for its .bin."""
    found: dict[str, list[Path]] = {}
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        if not file.name.startswith(".") and file.suffix != ".bin":
            found.setdefault(re.sub(r"\d{5}", "*", file.relative_to(root).as_posix()), []).append(file)
    return found


def compared(ours: Path, theirs: Path) -> list[str]:
    """What is different in the files of a run from those of another, which has at least the same."""
    found = []
    for place, paths in kinds(ours).items():
        others = sorted(theirs.glob(place))
        assert others, f"{place}: no stage writes such a file"
        maps = {*MAPS, ""} if place == "stages/external.json" else MAPS
        found += [f"{place} {line}" for line in differences(schema_of(paths, maps), schema_of(others, maps))]
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return made_up_run(tmp_path_factory.mktemp("made_up")).root


@pytest.mark.slow
def test_every_file_is_as_real_stages_write_it(made, whole_run):
    assert len(kinds(made)) > 50
    found = compared(made, whole_run[0])
    unexplained = [line for line in found if not any(re.fullmatch(pattern, line) for pattern in DIFFERENT)]
    assert not unexplained, "\n".join(unexplained)
    for pattern, why in DIFFERENT.items():
        assert any(re.fullmatch(pattern, line) for line in found), f"no exception any more ({why}): {pattern}"


@pytest.fixture
def changed(made, tmp_path) -> Path:
    """A copy of the run, to be changed, without what is large."""
    return shutil.copytree(made, tmp_path / "run", ignore=shutil.ignore_patterns("documents", "tokenizer", "stages"))


def _rows(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Changes the last row of a file of several."""

    def apply(file: Path) -> None:
        rows = list(files.read_jsonl_zst(file))
        assert len(rows) > 50
        change(rows[-1])
        files.write_jsonl_zst(file, rows)

    return apply


def _json(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def apply(file: Path) -> None:
        value = files.read_json(file)
        change(value)
        files.write_json(file, value)

    return apply


GENERATIONS = "synthetic/generations/*.jsonl.zst"


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (
            "synthetic/generations/00001.jsonl.zst",
            _rows(lambda row: row.pop("seed_row")),
            f"{GENERATIONS} .seed_row: missing",
        ),
        (
            "synthetic/generations/00001.jsonl.zst",
            _rows(lambda row: row.update(tokens="9")),
            f"{GENERATIONS} .tokens: int|str instead of int",
        ),
        ("synthetic/00001.jsonl.zst", _rows(lambda row: row.update(own=1)), "synthetic/*.jsonl.zst .own: unknown"),
        (
            "pairs/audit.json",
            _json(lambda audit: audit["bands"][-1]["examples"][-1].pop("score")),
            "pairs/audit.json .bands[].examples[].score: missing",
        ),
        (
            "neighbors/audit.json",
            _json(lambda audit: audit.update(k=10.0)),
            "neighbors/audit.json .k: float instead of int",
        ),
        (
            "evaluation/sbp.json",
            _json(lambda found: found.update(test=None)),
            "evaluation/sbp.json .test: NoneType instead of dict",
        ),
        (
            "models/sbp/consumed.json",
            _json(lambda found: found["datasets"].pop("synthetic")),
            "models/sbp/consumed.json .datasets.synthetic: missing",
        ),
    ],
)
def test_a_change_of_one_row_is_noticed(made, changed, file, change, said):
    """Only the keys of first rows were compared once."""
    assert compared(changed, made) == []
    change(changed / file)
    assert compared(changed, made) == [said]


def test_a_row_of_metrics_is_compared_with_those_of_its_kind(made, changed):
    file = changed / "models/sbp/metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    (last,) = [place for place, line in enumerate(lines) if '"kind": "valid"' in line][-1:]
    lines[last] = lines[last].replace('"loss"', '"los"', 1)
    file.write_text("".join(lines))
    assert compared(changed, made) == [
        f"models/sbp/metrics.jsonl .valid.{line}" for line in ("los: unknown", "loss: missing")
    ]


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "said"),
    [
        (
            "a.npy",
            np.zeros((2, 3), np.float32),
            np.zeros((2, 3), np.float16),
            [".float32 [2]: unknown", ".float16 [2]: missing"],
        ),
        (
            "a.npy",
            np.zeros(6, np.float16),
            np.zeros((2, 3), np.float16),
            [".float16 [1]: unknown", ".float16 [2]: missing"],
        ),
        ("a.npy", np.zeros((9, 9), np.float16), np.zeros((2, 3), np.float16), []),
        (
            "a.npz",
            {"ids": np.zeros(2, np.int32)},
            {"ids": np.zeros(2, np.int64)},
            [".ids.int32 [1]: unknown", ".ids.int64 [1]: missing"],
        ),
        ("a.npz", {"ids": np.zeros(2)}, {"ids": np.zeros(2), "scores": np.zeros(2)}, [".scores: missing"]),
        (
            "a.parquet",
            {"row": pyarrow.array([1], "int32")},
            {"row": pyarrow.array([1], "int64")},
            [".row.int32: unknown", ".row.int64: missing"],
        ),
    ],
)
def test_arrays_and_tables(tmp_path, name, ours, theirs, said):
    for folder, held in (("ours", ours), ("theirs", theirs)):
        (tmp_path / folder).mkdir()
        if name.endswith(".npy"):
            np.save(tmp_path / folder / name, held)
        elif name.endswith(".npz"):
            np.savez(tmp_path / folder / name, **held)
        else:
            pyarrow.parquet.write_table(pyarrow.table(held), tmp_path / folder / name)
    assert compared(tmp_path / "ours", tmp_path / "theirs") == [f"{name} {line}" for line in said]
