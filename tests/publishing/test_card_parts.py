"""What all cards say: license, limits, and the recipe."""

from __future__ import annotations

import pytest
import yaml
from support.cards import AUDIT, PROVENANCE, parts, recipe

from megatron_sbp.publishing.card_parts import license_header
from megatron_sbp.publishing.dataset_card import dataset_card
from megatron_sbp.publishing.model_card import model_card
from megatron_sbp.recipe import Documents


@pytest.mark.parametrize(
    ("name", "header"),
    [
        (None, {"license": "unknown"}),
        ("", {"license": "unknown"}),
        ("cc-by-4.0", {"license": "cc-by-4.0"}),
        ("Our own terms", {"license": "other", "license_name": "Our own terms"}),
    ],
)
def test_licenses_as_the_hub_knows_them(name, header):
    assert license_header(name) == header


def test_limits_note_and_license_are_told():
    documents = Documents(inputs=["c.jsonl"], train=12_000, valid=40, test=30, license="cc-by-4.0")
    _, text = parts(model_card(recipe(documents=documents, note="Two\n  lines."), "sbp", PROVENANCE, None, 1))
    assert "12,000 unique documents" in text and "One training seed" in text and "From the recipe: Two lines." in text
    assert "cc-by-4.0. What follows from it" in text
    assert "One training seed" not in model_card(recipe(replicates=2), "sbp", PROVENANCE, None, 1)


def test_the_whole_recipe_is_there_and_its_places_are_not():
    text = model_card(recipe(), "sbp", PROVENANCE, None, 1)
    assert "global_batch_size: 4" in text and "/home/someone" not in text


def test_code_in_a_note_does_not_end_the_recipe():
    _, text = parts(dataset_card(recipe(note="see\n```\ncode\n````\n"), {"related": 1}, {"related": AUDIT}, {}))
    _, shown = text.split("\n`````yaml\n")
    assert yaml.safe_load(shown.split("\n`````\n")[0])["note"] == "see\n```\ncode\n````\n"
