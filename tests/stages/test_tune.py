"""What the tuning of a synthesizer reads, and which settings make it another one."""

from __future__ import annotations

import pytest
from support.training_stages import run_of

from megatron_sbp.stages.tune import TuneStage

TUNE = TuneStage()


@pytest.mark.parametrize(
    ("start", "read"),
    [("last", ("models/baseline/iter_*",)), ("best", ("models/baseline/iter_*", "models/baseline/consumed.json")),
     ("scratch", None)],
)  # fmt: skip
def test_the_tuning_reads_what_it_starts_from(tmp_path, start, read):
    assert TUNE.reads(run_of(tmp_path, f"tuning.start={start}")).get("train-baseline") == read


def test_the_tuning_ignores_what_only_arms_use_and_sees_its_own(tmp_path):
    usual = TUNE.settings(run_of(tmp_path))
    assert usual == TUNE.settings(run_of(tmp_path, "training.learning_rate=2e-3"))
    assert usual != TUNE.settings(run_of(tmp_path, "tuning.learning_rate=2e-3"))
    assert usual != TUNE.settings(run_of(tmp_path, "tuning.start=scratch"))
