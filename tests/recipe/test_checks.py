"""Every value has bounds, and every name is safe in paths, job names and terminals."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.ranges import ranges

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import load_recipe

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart" / "recipe.yaml"
RANGES = ranges()


def test_every_number_has_a_bound():
    assert len(RANGES) > 70
    assert [key for key, interval in RANGES.items() if interval.low is None] == []


@pytest.mark.parametrize("key", sorted(RANGES))
def test_values_out_of_bounds_are_refused(key):
    interval = RANGES[key]
    wrong = [interval.low - 1, *([interval.high + 1] if interval.high else [])]
    if interval.low_open:
        wrong.append(interval.low)
    if interval.high_open:
        wrong.append(interval.high)
    for value in [*wrong, "1e400", ".nan", "-.inf", 1 << 53]:
        with pytest.raises(InputError) as caught:
            load_recipe(EXAMPLE, [f"{key}={value}"])
        assert caught.value.key == key and caught.value.file == "command line"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed=-1", "must be 0 or more and below 4,294,967,296, not -1"),
        ("seed=4294967296", "must be 0 or more and below 4,294,967,296"),
        ("training.adam_beta1=1", "must be 0 or more and below 1, not 1.0"),
        ("training.weight_decay=-0.1", "must be 0 or more, not -0.1"),
        ("model.init_method_std=0", "must be above 0, not 0.0"),
        ("documents.min_characters=-1", "must be 0 or more, not -1"),
        ("synthesis.margin=0.5", "must be between 1 and 1,000, not 0.5"),
        ("model.rotary_base=10000.5", "must be a whole number, as Megatron takes it, not 10000.5"),
        ("training.train_tokens=-2e6", "must be above 0, not -2000000"),
    ],
)
def test_messages_of_bounds(override, words):
    with pytest.raises(InputError, match=words):
        load_recipe(EXAMPLE, [override])


@pytest.mark.parametrize(
    ("overrides", "key", "words"),
    [
        (["pairs.same_fields=[language]"], "pairs.same_fields", "'language' is not among documents.keep_fields"),
        (
            ["documents.keep_fields=[text]", "pairs.different_fields=[text]"],
            "pairs.different_fields",
            "'text' is not among",
        ),
        (
            ["documents.keep_fields=[a, b]", "pairs.same_fields=[a]", "pairs.different_fields=[b, a]"],
            "pairs.different_fields",
            "'a' is in same_fields already",
        ),
        (
            ["pairs.min_target_tokens=9", "pairs.max_target_tokens=8"],
            "pairs.max_target_tokens",
            "8 is below min_target",
        ),
    ],
)
def test_rules_of_pairs(overrides, key, words):
    with pytest.raises(InputError, match=words) as caught:
        load_recipe(EXAMPLE, overrides)
    assert caught.value.key == key
    load_recipe(EXAMPLE, ["documents.keep_fields=[a, b]", "pairs.same_fields=[a]", "pairs.different_fields=[b]"])


@pytest.mark.parametrize("name", ["..", ".hidden", "-x", "a/b", "", "a b", "x" * 101, "näme", "a\\nb", "$(touch x)"])
def test_names_that_are_no_words(name):
    with pytest.raises(InputError, match="1 to 100 characters") as caught:
        load_recipe(EXAMPLE, [f"name='{name}'"])
    assert caught.value.key == "name"


@pytest.mark.parametrize("name", ["a", "0", "sbp_3b.200b-v2", "x" * 100, "2026-01-31"])
def test_names_that_are_words(name):
    assert load_recipe(EXAMPLE, [f"name='{name}'"]).name == name


@pytest.mark.parametrize(
    "override",
    [
        r'slurm.account="a\nb"',
        r'slurm.sbatch=["--mem=0\e[31m"]',
        r'documents.text_field="a\0"',
        r'run_folder="runs/\x7f"',
        r'note="\e]0;title\a"',
        r'note="\ud800"',
        r'marks={"pairs.alpha": "\x9b31m"}',
        r'training.megatron={"log-interval\n": 1}',
    ],
)
def test_control_characters(override):
    with pytest.raises(InputError, match="control character") as caught:
        load_recipe(EXAMPLE, [override])
    assert str(caught.value).isprintable()


def test_prose_may_have_lines():
    recipe = load_recipe(EXAMPLE, [r'slurm.setup="module load x\nexport A=1\n"', r'note="a\n\tb"'])
    assert recipe.slurm.setup == "module load x\nexport A=1\n" and recipe.note == "a\n\tb"


@pytest.mark.parametrize("key", ["documents.text_field", "tokenizer.separator", "embedding.model", "run_folder"])
def test_empty_texts(key):
    with pytest.raises(InputError, match="is empty"):
        load_recipe(EXAMPLE, [f"{key}=''"])


def test_megatron_values_are_plain():
    with pytest.raises(InputError, match=r"'training.megatron.a'.*must be a number, a string"):
        load_recipe(EXAMPLE, ["training.megatron={a: {b: c}}"])
    with pytest.raises(InputError, match="must be a number"):
        load_recipe(EXAMPLE, ["training.megatron={a: [.nan]}"])


@pytest.mark.parametrize("split", ["train", "oracle", "valid", "test"])
def test_a_split_has_at_most_as_many_shards_as_five_digits_name(split):
    """Shard 100000 is sorted before 10001: rows would be counted in another order than files are numbered in."""
    size = {"train": 200_000_000, "oracle": 200_000_000, "valid": 400_000, "test": 400_000}[split]
    enough = size // 100_000
    chosen = [f"documents.{split}={size}", f"documents.documents_per_shard={enough - 1}"]
    with pytest.raises(InputError, match=f"shards of {enough - 1:,}.* must be at least {enough:,}") as caught:
        load_recipe(EXAMPLE, chosen)
    assert caught.value.key == "documents.documents_per_shard"


@pytest.mark.parametrize(
    ("overrides", "key", "words"),
    [
        (["neighbors.leaves=400", "documents.valid=300"], "neighbors.leaves", "400 is more than documents.valid 300"),
        (["neighbors.leaves=1e6"], "neighbors.leaves", "1000000 is more than documents.train"),
        (
            ["neighbors.leaves=20", "neighbors.leaves_to_search=30"],
            "neighbors.leaves_to_search",
            "30 is more than the 20",
        ),
    ],
)
def test_leaves_that_no_index_can_have(overrides, key, words):
    """They were found by the search, after all documents had been embedded."""
    with pytest.raises(InputError, match=words) as caught:
        load_recipe(EXAMPLE, [*overrides, "neighbors.engine=scann"])
    assert caught.value.key == key
    load_recipe(EXAMPLE, [*overrides, "neighbors.engine=exact"])


def test_context_parallel_ranks_share_a_sequence_evenly():
    layout = ["launch.device=cuda", "launch.context_parallel=3", "launch.ranks_per_node=3"]
    with pytest.raises(InputError, match="is not a multiple of 2 x 3") as caught:
        load_recipe(EXAMPLE, layout)
    assert caught.value.key == "launch.context_parallel"
    load_recipe(EXAMPLE, ["launch.device=cuda", "launch.context_parallel=2", "launch.ranks_per_node=2"])
