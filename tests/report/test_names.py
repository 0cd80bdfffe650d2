"""What arms are called, and how they are drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.report.names import OTHERS, color_of, dash_of, enumeration, label_of, name_of, names_of


def test_classic_arms_have_names_and_others_are_called_arms():
    assert name_of("baseline") == "the repetition baseline" and name_of("oracle", start=True) == "The oracle"
    assert name_of("noise", start=True) == "The arm noise" and name_of("sbp", start=True) == "SBP"
    assert [label_of(arm) for arm in ("baseline", "sbp", "oracle", "noise")] == [
        "repetition baseline", "SBP", "oracle", "noise",
    ]  # fmt: skip


def test_no_two_labels_are_alike():
    arms = ["baseline", "sbp", "SBP", "Sbp", "oracle", "Oracle"]
    assert len({label_of(arm) for arm in arms}) == len(arms)


@pytest.mark.parametrize(
    ("arms", "text"),
    [
        ([], ""),
        (["noise"], "the arm noise"),
        (["baseline", "noise"], "the repetition baseline and the arm noise"),
        (["noise", "baseline", "self", "decay"], "the repetition baseline and the arms noise, self, and decay"),
        (["baseline", "oracle", "a", "b"], "the repetition baseline, the oracle, and the arms a and b"),
    ],
)
def test_several_arms_in_a_sentence(arms, text):
    assert names_of(arms) == text


def test_enumeration():
    assert [enumeration("abc"[:count]) for count in range(4)] == ["", "a", "a and b", "a, b, and c"]


def test_colors_are_stable_and_all_of_them_are_in_the_style():
    arms = ["baseline", "a", "sbp", *"bcdef", "oracle"]
    colors = [color_of(arm, arms) for arm in arms]
    assert colors[0] == "baseline" and colors[2] == "sbp" and colors[-1] == "oracle"
    others = [color_of(arm, arms) for arm in "abcdef"]
    assert len(set(others)) == OTHERS and others[0] == others[OTHERS]  # they come around
    style = (Path(__file__).parents[2] / "megatron_sbp" / "report" / "style.css").read_text()
    for color in set(colors):
        assert f"--{color}: #" in style, color


def test_thirty_further_arms_are_told_apart():
    arms = ["baseline", "sbp", "oracle", *(f"arm_{number}" for number in range(30))]
    looks = {(color_of(arm, arms), dash_of(arm, arms)) for arm in arms}
    assert len(looks) == len(arms)
    assert [dash_of(arm, arms) for arm in arms[:3]] == ["solid", "7px,3px", "2px,3px"]
