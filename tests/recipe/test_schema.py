"""The JSON schema: it is the one that is shipped, takes every shipped recipe, and refuses what a recipe refuses."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from megatron_sbp.cli import main
from megatron_sbp.recipe.schema import schema_of

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "examples" / "recipe.schema.json"
EXAMPLES = sorted(ROOT.glob("examples/*/recipe.yaml"))
CHECK = jsonschema.Draft202012Validator(schema_of())


def test_the_shipped_schema_is_what_the_command_prints(capsys):
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == SHIPPED.read_text(), "run: sbp schema > examples/recipe.schema.json"
    CHECK.check_schema(schema_of())


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.parent.name)
def test_shipped_recipes_name_it_and_agree_with_it(file):
    first = file.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=../recipe.schema.json"
    CHECK.validate(yaml.safe_load(file.read_text()))


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("documents", "train", 0),
        ("documents", "train", "many"),
        ("documents", "trian", 5),
        ("documents", "oracle", -1),
        ("documents", "inputs", "x.jsonl"),
        ("model", "qk_layernorm", "yes"),
        ("training", "precision", "fp8"),
        ("training", "adam_beta1", 1),
        ("pairs", "max_similarity", 2),
        ("synthesis", "margin", 0.5),
        ("training", "megatron", {"spec": {"a": 1}}),
    ],
)
def test_what_it_refuses(section, key, value):
    tree = yaml.safe_load(EXAMPLES[0].read_text())
    tree.setdefault(section, {})[key] = value
    assert not CHECK.is_valid(tree)


def test_numbers_as_yaml_1_1_and_1_2_read_them():
    tree = yaml.safe_load(EXAMPLES[0].read_text())
    for value in (100_000, "100_000", 1e5, "1e5", "1_0.5e-3"):
        tree["training"]["train_tokens"] = value
        assert CHECK.is_valid(tree)


def test_every_key_has_its_documentation():
    trees = [schema_of(), *schema_of()["$defs"].values()]
    for tree in trees:
        for key, part in tree["properties"].items():
            assert part.get("description") or "$ref" in part, key
    assert "unique real data" in json.dumps(schema_of())
