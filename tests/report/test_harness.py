"""Figures of benchmark tasks: paired differences, the mean with equal weights, and the share of the oracle's gain."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from support.harness_figures import RIGHT, measured, recipe

from megatron_sbp.base.errors import InputError
from megatron_sbp.report.harness import harness_figures
from megatron_sbp.report.intervals import crossed_ratio


@pytest.fixture
def arms() -> dict:
    return {arm: measured(arm) for arm in RIGHT}


def test_nothing_was_measured():
    assert harness_figures([dict.fromkeys(RIGHT)], recipe()) is None


def test_figures_of_tasks(arms):
    found = harness_figures([arms], recipe())
    large = found["tasks"]["large"]
    assert (large["metric"], large["samples"], large["over_replicates"]) == ("acc", 400, None)
    units = np.array([arms[arm]["tasks"]["large"]["metrics"]["acc"]["sums"] for arm in ("sbp", "baseline")])
    plain = crossed_ratio((units[0] - units[1])[None], np.ones((1, 400)))
    told = large["comparisons"]["sbp-baseline"]
    assert told["difference"] == pytest.approx(plain.value) and told["stderr"] == pytest.approx(plain.stderr)
    assert large["comparisons"]["baseline-sbp"]["difference"] == pytest.approx(-plain.value)
    assert large["gap_closed"] == pytest.approx(0.5, abs=0.15)
    assert large["gap_closed_low"] < large["gap_closed"] < large["gap_closed_high"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_lower_perplexity_is_a_gain(arms):
    prose = harness_figures([arms], recipe())["tasks"]["prose"]
    assert prose["comparisons"]["sbp-baseline"]["difference"] == pytest.approx(0.15, abs=0.02)  # nats per word
    assert prose["gap_closed"] == pytest.approx(0.5, abs=0.1)


def test_a_figure_that_should_be_low_gains_when_it_falls(arms):
    for found in arms.values():
        found["tasks"]["large"]["metrics"]["acc"]["higher_is_better"] = False
    result = harness_figures([arms], recipe())
    assert result["tasks"]["large"]["comparisons"]["sbp-baseline"]["difference"] < 0
    assert result["mean"]["tasks"] == ["small"]


def test_the_mean_gives_tasks_the_same_weight(arms):
    found = harness_figures([arms], recipe())
    assert found["mean"]["tasks"] == ["large", "small"]
    values = [arms["sbp"]["tasks"][name]["metrics"]["acc"]["value"] for name in ("large", "small")]
    mean = found["mean"]["arms"]["sbp"]
    assert mean["value"] == pytest.approx(np.mean(values))
    errors = [value * (1 - value) / (n - 1) for value, n in zip(values, (400, 100), strict=True)]
    assert mean["stderr"] == pytest.approx(math.sqrt(sum(errors)) / 2)
    assert 0 < found["mean"]["gap_closed"] < 1
    separate = [found["tasks"][name]["comparisons"]["sbp-baseline"] for name in ("large", "small")]
    joint = found["mean"]["comparisons"]["sbp-baseline"]
    assert joint["difference"] == pytest.approx(np.mean([told["difference"] for told in separate]))
    assert joint["stderr"] == pytest.approx(math.hypot(*(told["stderr"] for told in separate)) / 2)


def test_the_recipe_says_which_metric_leads(arms):
    found = harness_figures([arms], recipe(large="acc_norm"))
    assert (found["tasks"]["large"]["metric"], found["tasks"]["small"]["metric"]) == ("acc_norm", "acc")
    with pytest.raises(InputError, match="large was not measured in 'f1', but in acc, acc_norm"):
        harness_figures([arms], recipe(large="f1"))


def test_a_metric_of_a_task_that_was_not_measured_is_an_error(arms):
    with pytest.raises(InputError, match=r"harness\.metrics': 'lrage' was not measured, but large, small, prose"):
        harness_figures([arms], recipe(lrage="acc_norm"))


def test_what_documents_do_not_make_up_is_shown_and_not_compared(arms):
    for found in arms.values():
        found["tasks"]["large"]["metrics"]["acc"] |= {"scale": None, "sums": None, "counts": None}
    result = harness_figures([arms], recipe())
    large = result["tasks"]["large"]
    assert large["arms"]["sbp"]["acc"]["value"] > 0 and large["comparisons"]["sbp-baseline"] is None
    assert large["gap_closed"] is None and "document by document" in large["gap_closed_reason"]
    assert result["mean"]["tasks"] == ["small"]


def test_an_oracle_that_is_not_ahead_has_no_share(arms):
    arms["oracle"] = arms["baseline"]
    large = harness_figures([arms], recipe())["tasks"]["large"]
    assert (
        large["gap_closed"] is None and "the oracle is not ahead of the baseline in large" in large["gap_closed_reason"]
    )


def test_an_arm_that_is_missing(arms):
    found = harness_figures([{**arms, "oracle": None}], recipe())
    assert found["tasks"]["large"]["arms"]["oracle"] is None and found["tasks"]["large"]["gap_closed"] is None
    del arms["oracle"]
    assert harness_figures([arms], recipe())["mean"]["gap_closed_reason"] == "no arm oracle"


def test_other_documents_are_no_comparison(arms):
    arms["sbp"]["tasks"]["small"]["documents"] = "e"
    with pytest.raises(InputError, match="baseline and sbp were evaluated on different documents of small"):
        harness_figures([arms], recipe())


def test_replicates_widen_the_interval(arms):
    second = {arm: measured(arm) for arm in RIGHT}
    metric = second["sbp"]["tasks"]["large"]["metrics"]["acc"]
    metric["sums"] = [1.0] * 100 + metric["sums"][100:]
    one, two = harness_figures([arms], recipe()), harness_figures([arms, second], recipe())
    told = [found["tasks"]["large"]["comparisons"]["sbp-baseline"] for found in (one, two)]
    assert told[1]["stderr"] > told[0]["stderr"]
    assert (
        two["tasks"]["large"]["over_replicates"]["sbp"]["value"] > two["tasks"]["large"]["arms"]["sbp"]["acc"]["value"]
    )
