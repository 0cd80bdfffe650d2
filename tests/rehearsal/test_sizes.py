"""Sizes of a rehearsal, and what of the real recipe's proportions they keep."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.planning.query_blocks import part_count
from megatron_sbp.recipe import Documents, Recipe, load_recipe
from megatron_sbp.recipe.sections import Arm, Launch, Model, Neighbors, Synthesizer
from megatron_sbp.rehearsal.changes import Draft, flat
from megatron_sbp.rehearsal.sizes import AT_MOST, SEQUENCE, STEPS, Scale, cut_sizes, scale_of

PAPER = Path(__file__).parents[2] / "examples" / "sbp_3b_200b" / "recipe.yaml"


def cut(real: Recipe, launch: Launch | None = None) -> tuple[Draft, Scale]:
    draft, scale = Draft(real), scale_of(real, launch or Launch())
    cut_sizes(draft, real, scale)
    return draft, scale


def paper(*words: str) -> Recipe:
    return load_recipe(PAPER, words)


def small(**sections) -> Recipe:
    documents = Documents(inputs=["corpus.jsonl"], train=30, valid=8, test=8, documents_per_shard=10)
    return small_recipe(Path("/run"), documents, **sections)


def test_every_size_is_one_of_the_recipe():
    every = {".".join(path) for path in flat(small().to_dict())}
    assert set(AT_MOST) <= every


def test_nothing_is_larger_than_its_limit_and_null_stays():
    real = paper(
        "slurm.array_size=64", "documents.oracle=null", "evaluation.questions=q.jsonl", "evaluation.recall_points=6"
    )
    draft, _ = cut(real)
    here = {".".join(path): value for path, value in flat(draft.values).items()}
    assert all(here[key] is None or here[key] <= limit for key, limit in AT_MOST.items())
    assert here["documents.oracle"] is None
    assert here["pairs.max_targets_per_seed"] == 2 and here["tuning.max_epochs"] == 1.0
    assert {change.kind for change in draft.changes} == {"size"}


@pytest.mark.parametrize(("documents", "several"), [(60_000_000, True), (1_900_000, False)])
def test_several_indexes_of_scann_stay_several(documents, several):
    draft, _ = cut(paper("neighbors.engine=scann", f"documents.train={documents}"))
    here = draft.values
    files = -(-here["documents"]["train"] // here["documents"]["documents_per_shard"])
    parts = part_count(files * here["documents"]["documents_per_shard"], files, Neighbors(**here["neighbors"]))
    assert (parts > 1) is several
    assert any(change.key == "neighbors.documents_per_index" for change in draft.changes) is several


def test_only_sizes_are_changed():
    draft, _ = cut(paper())
    numbers = [change for change in draft.changes if change.key != "slurm.time"]
    assert all(isinstance(change.here, int | float) and change.here < change.real for change in numbers)
    for key in ("training.learning_rate", "pairs.alpha", "synthesis.top_p", "model.rotary_base", "seed"):
        assert key not in {change.key for change in draft.changes}


def test_the_budget_is_a_few_steps_of_whole_sequences():
    draft, scale = cut(paper())
    tokens, batch = draft.get("training", "train_tokens"), draft.get("training", "global_batch_size")
    assert scale.context == SEQUENCE == draft.get("model", "sequence_length") and scale.length == 128 / 4096
    assert tokens == STEPS * batch * SEQUENCE and scale.samples * SEQUENCE == tokens
    assert draft.get("synthesis", "tokens") % SEQUENCE == 0
    assert draft.get("synthesis", "tokens") / tokens == pytest.approx(75 / 200, abs=1 / scale.samples)


@pytest.mark.parametrize(("data", "batch"), [(1, 4), (2, 8)])
def test_every_data_parallel_rank_has_two_micro_batches(data, batch):
    real = paper()  # 128 ranks of 16 sequences
    draft, _ = cut(real, Launch(ranks_per_node=data))
    assert draft.get("training", "global_batch_size") == batch
    assert draft.get("tuning", "global_batch_size") == 2 * data  # of two sequences each: no more here
    assert draft.get("training", "micro_batch_size") == 2


@pytest.mark.parametrize(
    ("synthetic", "expected"), [(1, 1), (200_000_000_000, STEPS * 4 - 1), (100_000_000_000, STEPS * 2)]
)
def test_some_of_the_budget_is_synthetic_and_some_is_not(synthetic, expected):
    real = paper()
    real.synthesis.tokens = synthetic
    assert cut(real)[0].get("synthesis", "tokens") == expected * SEQUENCE


@pytest.mark.parametrize(("real", "here"), [(500, 8), (10, 8), (4, 4), (23_842, 23_842), (30_000, 30_000)])
def test_evaluations_come_several_times_and_what_never_comes_still_does_not(real, here):
    assert cut(paper(f"training.eval_interval={real}"))[0].get("training", "eval_interval") == here


@pytest.mark.parametrize("seed", [1, 100, 1000, 2047, 4000])
def test_a_seed_document_and_its_target_have_room(seed):
    target = 4094 - seed
    words = [
        f"tuning.max_seed_tokens={seed}",
        f"tuning.max_target_tokens={target}",
        f"synthesis.max_new_tokens={target + 1}",
    ]
    draft, _ = cut(paper(*words))
    tuning = draft.get("tuning")
    assert tuning["max_seed_tokens"] >= 1 and tuning["max_target_tokens"] >= 1
    assert tuning["max_seed_tokens"] + tuning["max_target_tokens"] + 2 <= SEQUENCE
    assert 1 <= draft.get("synthesis", "max_new_tokens") <= SEQUENCE - tuning["max_seed_tokens"] - 1


def test_a_recipe_that_is_small_stays_as_it_is():
    real = small()
    draft, scale = cut(real)
    changed = {change.key for change in draft.changes}
    assert scale.length == 1 and not any(key.startswith("model.") for key in changed)
    assert not {"documents.train", "documents.valid", "training.global_batch_size"} & changed


def model_of(launch: Launch | None = None, **values) -> dict:
    usual = {"num_layers": 26, "hidden_size": 3072, "ffn_hidden_size": 8064, "num_attention_heads": 24}
    model = Model(**{**usual, "num_query_groups": 8, "sequence_length": 4096, **values})
    return cut(small().model_copy(update={"model": model}), launch)[0].get("model")


def test_a_model_of_the_same_kind():
    grouped, plain = model_of(), model_of(num_query_groups=24)
    assert (grouped["num_attention_heads"], grouped["num_query_groups"]) == (4, 2)
    assert (plain["num_attention_heads"], plain["num_query_groups"]) == (4, 4)
    for model in (grouped, plain):
        assert (model["hidden_size"], model["ffn_hidden_size"], model["num_layers"]) == (64, 128, 2)
        assert model["kv_channels"] is None


def test_heads_of_an_unusual_size_stay_unusual():
    assert model_of(kv_channels=128)["kv_channels"] * 4 == 64
    assert model_of(kv_channels=256)["kv_channels"] * 4 > 64


@pytest.mark.parametrize("tensor", [2, 3, 4])
def test_tensor_parallel_ranks_have_whole_heads_and_groups(tensor):
    model = model_of(Launch(ranks_per_node=tensor, tensor_parallel=tensor), num_query_groups=12)
    assert model["num_attention_heads"] % tensor == 0 and model["num_query_groups"] % tensor == 0
    assert 1 < model["num_query_groups"] < model["num_attention_heads"]


def test_every_pipeline_rank_has_a_layer():
    assert model_of(Launch(ranks_per_node=4, pipeline_parallel=4))["num_layers"] == 4


def test_overrides_are_cut_like_what_they_override():
    real = small(
        synthesizers={
            "related": Synthesizer(filter={"min_tokens": "1e2"}, tuning={"max_epochs": 4, "eval_interval": 2})
        },
        arms={"sbp": Arm(synthetic="related", synthetic_share=1e-6, training={"eval_interval": 9, "log_interval": 50})},
    )
    draft, scale = cut(real)
    assert draft.get("synthesizers", "related", "filter") == {"min_tokens": 8}
    assert draft.get("synthesizers", "related", "tuning") == {"max_epochs": 1.0, "eval_interval": 2}
    assert draft.get("arms", "sbp", "training") == {"eval_interval": 8, "log_interval": 2}
    assert int(draft.get("arms", "sbp", "synthetic_share") * scale.samples) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["synthesis.max_new_tokens=128"],
        ["tuning.max_target_tokens=100"],
        ["synthesizers={related: {synthesis: {max_new_tokens: 128}, filter: {min_tokens: 20}}}"],
    ],
)
def test_texts_of_short_generations_are_not_too_short(words):
    """3 % of 128 tokens are fewer than the 8 tokens to which filter.min_tokens is lowered."""
    real = paper(*words)
    here = Recipe.model_validate(cut(real)[0].values)
    for one in (here, here.for_synthesizer("related")):
        assert 0 < one.filter.min_tokens <= one.max_new_tokens // 2
    assert real.for_synthesizer("related").filter.min_tokens < real.for_synthesizer("related").max_new_tokens


@pytest.mark.parametrize(
    ("limit", "here"),
    [("24:00:00", "00:30:00"), ("2-00", "00:30:00"), ("'31'", "00:30:00"), ("00:10:00", "00:10:00"), ("'30'", "30")],
)
def test_jobs_have_half_an_hour_at_most(limit, here):
    draft, _ = cut(paper(f"slurm.time={limit}", "slurm.stages={tune: {time: '12:00:00'}, cpu: {memory: 16G}}"))
    assert re.fullmatch(here, draft.get("slurm", "time"))
    assert draft.get("slurm", "stages", "tune")["time"] == "00:30:00"
    assert draft.get("slurm", "stages", "cpu")["time"] is None
