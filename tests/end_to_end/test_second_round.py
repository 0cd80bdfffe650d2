"""A second round by recipe: in a copy of the finished run, a synthesizer that starts from the arm `sbp`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.whole_program import RECIPE, digests, run_sbp

from megatron_sbp.base.files import read_jsonl_zst, sha256
from megatron_sbp.cli import main

ROUND = (
    "synthesizers={related: {}, second: {tuning: {start_arm: sbp, max_epochs: 0.5}, synthesis: {tokens: 2_000}}}",
    "arms={baseline: {}, sbp: {synthetic: related}, oracle: {documents: oracle}, again: {synthetic: second}}",
)


def rows(folder: Path) -> list[dict]:
    return [row for file in sorted(folder.glob("synthetic/0*.zst")) for row in read_jsonl_zst(file)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_text_of_a_second_round_names_its_round_and_the_model_that_wrote_it(whole_run, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(whole_run[0], folder)
    words = (RECIPE, f"run_folder={folder}", *ROUND, "launch.workers=1")
    printed = run_sbp("run", *words, "--until", "tokenize-synthetic.second")
    for stage in ("train-baseline", "tune", "synthesize", "train-sbp"):
        assert f"] {stage}: already complete" in printed
    first, second = rows(folder), rows(folder / "synthesizers" / "second")
    assert {row["round"] for row in first} == {1} and second and {row["round"] for row in second} == {2}
    start = json.loads((folder / "stages" / "tune.second.json").read_text())["inputs"]
    assert any(name.startswith("models/sbp/iter_") for name in start)
    assert not any(name.startswith("models/baseline/") for name in start)
    export = folder / "synthesizers" / "second" / "export" / "synthesizer"
    writer = json.loads((export / "provenance.json").read_text())["weights_sha256"]
    assert {row["synthesizer"] for row in second} == {writer} != {row["synthesizer"] for row in first}
    pairs = folder / "synthesizers" / "second" / "pairs" / "pairs.parquet"
    assert {row["pairs"] for row in second} == {sha256(pairs)} and all(row["seed_id"] for row in second)
    assert main(["trace", str(folder), second[0]["id"], "--synthesizer", "second", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["sampling"]["round"], told["sampling"]["synthesizer"]) == (2, writer)
    assert told["text"] == second[0]["text"] and told["filters"]["verdict"] == "kept"
    assert digests(folder).items() >= digests(whole_run[0]).items()  # nothing of the first round was made again
