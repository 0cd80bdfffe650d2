"""Tables of all arms: few arms are columns, many are rows."""

from __future__ import annotations

import re

from megatron_sbp.report.arm_table import MOST_COLUMNS, Figure, arm_table

FIGURES = [
    Figure("tokens", lambda arm: "1,000"),
    Figure("epochs", lambda arm: str(arm["epochs"])),
    Figure("loss", lambda arm: str(arm["loss"]), lead=True),
]


def made(count: int) -> str:
    arms = {f"arm{place}": {"epochs": place, "loss": place / 8} for place in range(count)}
    return arm_table("this run", arms, FIGURES, caption="Measured.", kind="ours")


def rows(markup: str) -> list[list[str]]:
    return [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", markup)]


def test_few_arms_are_columns():
    found = rows(made(MOST_COLUMNS))
    assert found[0] == ["this run", *(f"arm{place}" for place in range(MOST_COLUMNS))]
    assert [row[0] for row in found[1:]] == ["tokens", "epochs", "loss"]
    assert found[3][3] == "0.25"


def test_many_arms_are_rows_what_leads_comes_first_and_what_is_alike_is_said_once():
    markup = made(MOST_COLUMNS + 1)
    found = rows(markup)
    assert found[0] == ["this run", "loss", "epochs"]
    assert found[3] == ["arm2", "0.25", "2"] and len(found) == MOST_COLUMNS + 2
    assert "The same in every arm: tokens 1,000." in markup
    assert 'class="scroll turned ours"' in markup
    assert markup.count('<td class="lead">') == MOST_COLUMNS + 1


def test_both_layouts_hold_the_same_numbers():
    few, many = rows(made(MOST_COLUMNS)), rows(made(MOST_COLUMNS + 1))
    for place in range(MOST_COLUMNS):
        assert many[place + 1][1:] == [few[3][place + 1], few[2][place + 1]]
