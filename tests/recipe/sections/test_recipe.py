"""What a recipe says of itself: derived lengths, and the recipes of synthesizers, arms and replicates."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from megatron_sbp.recipe import load_recipe, settings

TINY = Path(__file__).parents[2] / "end_to_end" / "recipe.yaml"
STUDY = Path(__file__).parents[3] / "examples" / "people" / "study.yaml"


def tiny(*overrides: str):
    return load_recipe(TINY, overrides)


def test_a_pair_fits_whatever_is_left_open():
    length = tiny().model.sequence_length
    open_ = tiny("tuning.max_seed_tokens=null", "tuning.max_target_tokens=null", "synthesis.max_new_tokens=null")
    assert open_.pair_room == length and open_.max_seed_tokens == length // 2
    # Seed, separator, target, end-of-document.
    assert open_.max_seed_tokens + 1 + open_.max_target_tokens + 1 == length
    assert open_.max_new_tokens == open_.max_target_tokens + 1
    given = tiny("tuning.max_seed_tokens=20", "tuning.max_target_tokens=null", "synthesis.max_new_tokens=null")
    assert given.max_seed_tokens + 1 + given.max_target_tokens + 1 == length


def test_a_longer_packed_sequence_makes_no_longer_pairs():
    length = tiny().model.sequence_length
    packed = tiny(f"tuning.sequence_length={4 * length}")
    assert packed.tuning_sequence_length == 4 * length and packed.pair_room == length


def test_only_synthesizers_that_an_arm_reads_are_used_and_related_comes_first():
    study = load_recipe(STUDY)
    assert study.used_synthesizers[0] == "related" and set(study.used_synthesizers) == {
        "related",
        "random",
        "self",
        "noise",
        "rephrase",
    }
    assert study.tuned_synthesizers == ["related", "random", "rephrase"]
    assert (study.start_arm_of("self"), study.start_arm_of("noise")) == ("baseline", None)
    assert {study.round_of(name) for name in study.used_synthesizers} == {1}


def test_sections_of_synthesizers_and_arms_change_nothing_else():
    study = load_recipe(STUDY)
    random = study.for_synthesizer("random")
    assert random.pairs.relation == "random" and study.pairs.relation == "similar"
    assert random.tuning == study.tuning and random.model == study.model
    decayed = study.for_arm("decay_16")
    assert decayed.training.weight_decay == 1.6 != study.training.weight_decay
    assert settings(decayed.training, "weight_decay") == settings(study.training, "weight_decay")
    assert random.source == study.source and random.folder == study.folder


def test_replicates_have_seeds_of_their_own_and_the_same_questions():
    study = load_recipe(STUDY)
    seeds = [study.for_replicate(number).seed for number in range(1, 4)]
    assert seeds[0] == study.seed and len(set(seeds)) == 3 and study.seed + 1 not in seeds
    assert {study.for_replicate(number).evaluation_seed for number in range(1, 4)} == {study.seed}


def test_overrides_are_checked_like_the_sections():
    with pytest.raises(ValidationError):
        tiny().overridden("pairs", {"alpha": 2})
    with pytest.raises(ValidationError):
        tiny().overridden("pairs", {"alhpa": 0.5})
    assert tiny().overridden("pairs", {"alpha": "5e-1"}).pairs.alpha == 0.5
    one = tiny().overridden("synthesis", {"vllm": {"eager": True}})
    both = one.overridden("synthesis", {"vllm": {"max_num_seqs": 8}}).synthesis.vllm
    assert (both.eager, both.max_num_seqs) == (True, 8)


def test_an_error_names_the_line_of_the_nearest_key_that_was_given():
    recipe = tiny()
    line = next(n for n, text in enumerate(TINY.read_text().splitlines(), 1) if text.startswith("model"))
    found = recipe.error("model.norm_epsilon", "is odd")
    assert found.file == recipe.source and found.line == line
    assert recipe.error("neither.nor", "is odd").line is None
    assert str(tiny("pairs.alpha=0.9").error("pairs.alpha", "is odd").file) == "command line"
