"""Arms, synthesizers and replicates of a recipe: what they change, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.planning import ledger
from megatron_sbp.planning.plan import make_plan
from megatron_sbp.planning.text import format_plan
from megatron_sbp.recipe import Recipe, load_recipe
from megatron_sbp.recipe.tuning_start import keeps_best
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.run_folder import Run

TINY = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"
ARMS = """
synthesizers:
  random: {pairs: {relation: random}, tuning: {start: scratch}}
  related: {}
arms:
  baseline: {}
  regularized: {training: {weight_decay: 0.8}}
  control: {synthetic: random}
  sbp: {synthetic: related}
  oracle: {documents: oracle}
replicates: 3
"""


def load(folder: Path, text: str = ARMS, *words: str) -> Recipe:
    file = folder / "recipe.yaml"
    file.write_text(TINY.read_text() + text)
    return load_recipe(file, words)


def test_the_papers_arms_are_the_default():
    recipe = load_recipe(TINY)
    assert list(recipe.arms) == ["baseline", "sbp", "oracle"] and recipe.used_synthesizers == ["related"]
    assert recipe.replicates == 1 and recipe.for_replicate(1) is recipe


def test_what_differs(tmp_path):
    recipe = load(tmp_path)
    assert recipe.used_synthesizers == ["related", "random"]
    assert recipe.for_arm("regularized").training.weight_decay == 0.8
    assert recipe.for_arm("baseline").training == recipe.training
    random = recipe.for_synthesizer("random")
    assert (random.pairs.relation, random.tuning.start) == ("random", "scratch")
    assert random.pairs.alpha == recipe.pairs.alpha and recipe.pairs.relation == "similar"
    assert random.source == recipe.source  # paths and messages go on as before


def test_replicates_share_only_the_test(tmp_path):
    recipe = load(tmp_path)
    replicates = [recipe.for_replicate(number) for number in (1, 2, 3)]
    assert len({replicate.seed for replicate in replicates}) == 3
    assert {replicate.evaluation_seed for replicate in replicates} == {recipe.seed}
    assert replicates[2].for_synthesizer("random").seed == replicates[2].seed


def test_every_arm_reads_as_much(tmp_path):
    recipe = load(tmp_path, ARMS.replace("{pairs: {relation: random}", "{synthesis: {tokens: 5_000}"))
    samples = {arm: ledger.arm_samples(recipe, arm) for arm in recipe.arms}
    assert {sum(parts.values()) for parts in samples.values()} == {ledger.train_samples(recipe)}
    assert samples["control"]["synthetic"] == 5_000 // recipe.model.sequence_length < samples["sbp"]["synthetic"]
    assert samples["oracle"].keys() == {"oracle"} and samples["regularized"].keys() == {"real"}


def test_controls_without_pairs(tmp_path):
    controls = "  self: {method: samples}\n  noise: {method: replacement, replaced: 0.3}\n  related: {}\n"
    text = ARMS.replace("  related: {}\n", controls)
    arms = "  self: {synthetic: self}\n  noise: {synthetic: noise}\n  oracle:"
    recipe = load(tmp_path, text.replace("  oracle:", arms))
    assert recipe.used_synthesizers == ["related", "random", "self", "noise"]
    assert recipe.tuned_synthesizers == ["related", "random"]
    names = [stage.name for stage in all_stages(recipe)]
    assert {name for name in names if name.endswith(".self")} == {
        "export-synthesizer.self",
        "scan-corpus.self",
        "synthesize.self",
        "judge.self",
        "deduplicate.self",
        "filter.self",
        "tokenize-synthetic.self",
    }
    assert {name for name in names if name.endswith(".noise")} == {
        "scan-corpus.noise",
        "synthesize.noise",
        "judge.noise",
        "deduplicate.noise",
        "filter.noise",
        "tokenize-synthetic.noise",
    }
    plan = make_plan(recipe)
    assert plan["synthesizers"]["self"]["tuning"] is None and plan["synthesizers"]["self"]["synthesis"]["flops"] > 0
    assert plan["synthesizers"]["noise"]["synthesis"]["flops"] == 0
    text = format_plan(plan)
    assert "(noise)" in text and max(map(len, text.splitlines())) <= 115, "many arms are rows"
    for arm in recipe.arms:
        assert sum(line.split()[:1] == [arm] and line.endswith("%") for line in text.splitlines()) == 1


ROUNDS = """
synthesizers:
  third: {tuning: {start_arm: sbp2}}
  second: {tuning: {start: best, start_arm: sbp}}
  related: {tuning: {start: scratch}}
arms:
  sbp3: {synthetic: third}
  sbp2: {synthetic: second}
  baseline: {}
  sbp: {synthetic: related}
"""


def test_further_rounds_start_from_what_earlier_ones_trained(tmp_path):
    recipe = load(tmp_path, ROUNDS)
    assert {name: recipe.round_of(name) for name in recipe.synthesizers} == {"related": 1, "second": 2, "third": 3}
    assert [arm for arm in recipe.arms if keeps_best(recipe, arm)] == ["sbp"]
    names = [stage.name for stage in all_stages(recipe)]
    order = ["train-baseline", "tune", "train-sbp", "tune.second", "train-sbp2", "tune.third", "train-sbp3"]
    assert [name for name in names if name in order] == order and len(names) == len(set(names))
    tune = next(stage for stage in all_stages(recipe) if stage.name == "tune.second")
    run = Run(recipe, tmp_path / "run")
    assert tune.reads(run)["train-sbp"] == ("models/sbp/iter_*", "models/sbp/consumed.json")
    assert tune.settings(run)["start_arm"] == "sbp"


def test_a_start_that_cannot_be(tmp_path):
    with pytest.raises(InputError, match=r"there is no arm 'sbq'; arms: sbp3, sbp2, baseline, sbp") as caught:
        load(tmp_path, ROUNDS.replace("start_arm: sbp}", "start_arm: sbq}"))
    assert caught.value.key == "synthesizers.second.tuning.start_arm" and caught.value.line
    with pytest.raises(InputError, match=r"is a cycle of synthesizers: third <- second <- third"):
        load(tmp_path, ROUNDS.replace("start_arm: sbp}", "start_arm: sbp3}"))


def test_a_sweep_of_shares(tmp_path):
    recipe = load(tmp_path, ARMS.replace("control: {", "control: {synthetic_share: 0.1, "))
    samples = ledger.arm_samples(recipe, "control")
    total = ledger.train_samples(recipe)
    assert samples == {"real": total - int(0.1 * total), "synthetic": int(0.1 * total)}
    assert "synthetic_share" not in str(recipe.for_arm("control").training)


@pytest.mark.parametrize("share", ["0.99", "0.000001"])
def test_a_share_that_there_is_not(tmp_path, share):
    recipe = load(tmp_path, ARMS.replace("control: {", f"control: {{synthetic_share: {share}, "))
    with pytest.raises(InputError, match="at most what the synthesizer 'random' writes") as caught:
        ledger.arm_samples(recipe, "control")
    assert caught.value.key == "arms.control.synthetic_share" and caught.value.line


@pytest.mark.parametrize(
    ("old", "new", "key", "reason"),
    [
        ("synthetic: random", "synthetic: rndom", "arms.control.synthetic", "there is no synthesizer 'rndom'"),
        ("related: {}", "related: {method: sampled}", "synthesizers.related.method", "samples"),
        ("random: {", "random: {method: samples, ", "synthesizers.random.pairs", "is not tuned on pairs"),
        ("related: {}", "related: {replaced: 0.2}", "synthesizers.related.replaced", "has no effect"),
        ("  baseline: {}", "  baseline: {order: synthetic_first}", "arms.baseline.order", "reads no synthetic text"),
        ("oracle: {", "oracle: {synthetic_share: 0.3, ", "arms.oracle.synthetic_share", "reads no synthetic text"),
        ("control: {", "control: {synthetic_share: 0, ", "arms.control.synthetic_share", "must be above 0"),
        ("weight_decay: 0.8", "weight_decay: -1", "arms.regularized.training.weight_decay", "must be 0 or more"),
        ("weight_decay: 0.8", "wait_decay: 1", "arms.regularized.training.wait_decay", "did you mean 'weight_decay'"),
        ("weight_decay: 0.8", "train_tokens: 700000", "arms.regularized.training.train_tokens", "at equal tokens"),
        ("weight_decay: 0.8", "global_batch_size: 4", "arms.regularized.training.global_batch_size", "at equal tokens"),
        ("relation: random", "alpha: 0.9, max_similarity: 0.8", "synthesizers.random.pairs", "is not above alpha"),
        ("  baseline: {}\n", "", "arms", "has no 'baseline', from which the synthesizer 'related' starts"),
        (
            "related: {}",
            "related: {filter: {corpus_index_gb: 2}}",
            "synthesizers.related.filter.corpus_index_gb",
            "one in",
        ),
        (
            "related: {}",
            "related: {pairs: {shingle_tokens: 9}, filter: {max_corpus_copying: 0.5}}",
            "synthesizers.related.pairs.shingle_tokens",
            "9 is not that of the index of D, 13",
        ),
        ("control:", "quality:", "arms.quality", "is taken by other files"),
        ("control:", "con-trol:", "arms.con-trol", "must be 1 to 40 characters"),
        ("control:", "2:", "arms.2", "begin with a letter"),
        ("control:", "sbp:", None, "sbp"),
        ("replicates: 3", "replicates: 0", "replicates", "must be between 1 and 1,000"),
        ("replicates: 3", "replicates: 1000000", "replicates", "must be between 1 and 1,000"),
        ("documents: oracle", "documents: test", "arms.oracle.documents", "one of train, oracle"),
        ("synthetic: random", "model: {}", "arms.control.model", "unknown key"),
    ],
)
def test_refused(tmp_path, old, new, key, reason):
    assert ARMS.count(old) == 1
    with pytest.raises(InputError, match=reason) as caught:
        load(tmp_path, ARMS.replace(old, new))
    assert caught.value.line and caught.value.line > TINY.read_text().count("\n")
    assert key is None or caught.value.key == key


@pytest.mark.parametrize(
    "words, key, reason",
    [
        ("pairs: {same_fields: [site]}", "pairs", "pairs.same_fields: 'site' is not among documents.keep_fields"),
        ("pairs: {max_target_tokens: 0.5e1, min_target_tokens: 6}", "pairs", "5 is below min_target_tokens 6"),
        ("filter: {min_tokens: 5000}", "filter.min_tokens", "5000 is above the .* tokens that a text can have"),
    ],
)
def test_rules_of_a_synthesizer_that_leave_nothing(tmp_path, words, key, reason):
    with pytest.raises(InputError, match=reason) as caught:
        load(tmp_path, ARMS.replace("related: {}", f"related: {{{words}}}"))
    assert caught.value.key == f"synthesizers.related.{key}"
    assert caught.value.line is not None


def test_a_filter_that_no_text_can_pass(tmp_path):
    with pytest.raises(InputError, match="all would be dropped") as caught:
        load(tmp_path, ARMS, "filter.min_tokens=5000")
    assert caught.value.key == "filter.min_tokens"
    replaced = {"method": "replacement"}  # whose texts are as long as documents are
    load(tmp_path, "\n", "filter.min_tokens=5000", f"synthesizers={{related: {replaced}}}")


@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_single_document_has_no_pairs(tmp_path, split):
    with pytest.raises(InputError, match="it must be 2 or more") as caught:
        load(tmp_path, ARMS, f"documents.{split}=1")
    assert caught.value.key == f"documents.{split}"
    load(tmp_path, "\n", f"documents.{split}=1", "arms={baseline: {}}")
