"""The stage `judge-pilot`: where hardly anything passes, nothing more is written."""

from __future__ import annotations

import pytest
from support.synthesis_run import execute_synthesis

from megatron_sbp.base.errors import InputError

PILOT = "synthesis.pilot=30"  # two shards of 24


@pytest.mark.parametrize(("least", "passed"), [(50, 0), (49, r"\d")])
def test_when_hardly_anything_passes(make_run, least, passed):
    run = make_run("none", PILOT, f"filter.min_tokens={least}")
    with pytest.raises(
        InputError, match=rf"{passed} of the first 48 generations pass, with \d\.\d% of the tokens .*too_short \d+"
    ):
        execute_synthesis(run, "pilot", "judge-pilot")
    assert not run.pilot_audit.exists()
