"""What replaces the things that a rehearsal has no access to."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.recipe import Documents, Embedding, Evaluation, Neighbors, Recipe, Tokenizer, Tuning
from megatron_sbp.recipe.sections import Arm, Filter, Launch, Pairs, Slurm, Synthesis, Synthesizer, Vllm
from megatron_sbp.rehearsal.changes import Change, Draft
from megatron_sbp.rehearsal.made_up_documents import SIMILARITY
from megatron_sbp.rehearsal.replacements import (
    LEARNING_RATE,
    MARGIN,
    RANDOM_SIMILARITY,
    replace_embedder,
    replace_engines,
    replace_further_rules,
    replace_judge,
    replace_rules,
    replace_tokenizer,
)
from megatron_sbp.rehearsal.site import ENGINES, Site

CPU = Site(slurm=False, gpus=0, packages=frozenset(ENGINES))
GPU = Site(slurm=False, gpus=2, packages=frozenset(ENGINES))
WITHOUT_VLLM = Site(slurm=False, gpus=2, packages=frozenset(["scann"]))
CLUSTER = Site(slurm=True, gpus=0, packages=frozenset(ENGINES))


@pytest.fixture(autouse=True)
def without_network(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def make(tmp_path):
    def recipe(**sections) -> Recipe:
        documents = Documents(inputs=["corpus.jsonl"], train=200, valid=40, test=30)
        made = small_recipe(tmp_path / "run", documents, **sections)
        made.source = tmp_path / "recipe.yaml"
        return made

    return recipe


def changed(draft: Draft) -> dict[str, Change]:
    return {change.key: change for change in draft.changes}


def engines(recipe: Recipe, site: Site) -> dict[str, Change]:
    draft = Draft(recipe)
    replace_engines(draft, recipe, site)
    return changed(draft)


def test_where_everything_is_nothing_is_replaced(make):
    recipe = make(
        launch=Launch(device="cuda"), synthesis=Synthesis(tokens=1000, engine="vllm"), slurm=Slurm(gpus_per_node=8),
        neighbors=Neighbors(engine="scann"), embedding=Embedding(precision="fp16"),
    )  # fmt: skip
    recipe.training.megatron = {"fp8": "e4m3", "sequence-parallel": True}
    assert engines(recipe, GPU) == {} == engines(recipe, CLUSTER)


def test_without_a_gpu_the_device_is_chosen_where_it_runs(make):
    found = engines(make(launch=Launch(device="cuda")), CPU)["launch.device"]
    assert (found.here, found.kind) == ("auto", "replaced") and "no CUDA device" in found.reason
    assert engines(make(launch=Launch(device="cpu")), CPU) == {}


@pytest.mark.parametrize(
    ("site", "device", "why"),
    [
        (CPU, "auto", "vLLM needs a GPU"),
        (GPU, "cpu", "vLLM needs a GPU"),
        (WITHOUT_VLLM, "auto", "vLLM is not installed"),
    ],
)
def test_vllm_gives_way_wherever_it_is_asked_for(make, site, device, why):
    recipe = make(
        synthesis=Synthesis(tokens=1000, engine="vllm"), launch=Launch(device=device),
        synthesizers={"related": Synthesizer(), "other": Synthesizer(synthesis={"engine": "vllm"}),
                      "mine": Synthesizer(synthesis={"engine": "transformers"})},
    )  # fmt: skip
    found = engines(recipe, site)
    assert set(found) == {"synthesis.engine", "synthesizers.other.synthesis.engine"}
    assert all(change.here == "transformers" and change.reason.startswith(why) for change in found.values())


def test_an_interpreter_of_its_own_has_vllm_and_is_called_by_its_link(make, tmp_path):
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment" / "python").symlink_to("/usr/bin/env")
    vllm = Vllm(python="environment/python")
    found = engines(make(synthesis=Synthesis(tokens=1000, engine="vllm", vllm=vllm)), WITHOUT_VLLM)
    assert list(found) == ["synthesis.vllm.python"]
    assert found["synthesis.vllm.python"].here == f"{tmp_path}/environment/python"


def test_scann_gives_way_to_exact_search(make):
    recipe = make(neighbors=Neighbors(engine="scann"))
    bare = Site(slurm=False, gpus=2, packages=frozenset(["vllm"]))
    assert engines(recipe, bare)["neighbors.engine"].here == "exact" and engines(recipe, CPU) == {}


def test_on_a_cpu_precision_and_flags_of_gpus_are_left_out(make):
    recipe = make(embedding=Embedding(precision="fp16"))
    recipe.training.megatron = {"sequence_parallel": True, "fp8": "e4m3", "overlap-grad-reduce": True}
    draft = Draft(recipe)
    replace_engines(draft, recipe, CPU)
    assert draft.get("training", "megatron") == {"overlap-grad-reduce": True}
    found = changed(draft)
    assert found["embedding.precision"].here == "fp32"
    assert "needs Transformer Engine" in found["training.megatron.sequence_parallel"].reason


def test_all_that_training_refuses_on_a_cpu_is_left_out(make):
    cpu = pytest.importorskip("megatron_sbp.training.megatron.cpu")
    for name in set(cpu.REFUSED_ON_CPU) - {"context_parallel_size"}:  # that one is the layout's
        recipe = make()
        recipe.training.megatron = {name.replace("_", "-"): True}
        assert f"training.megatron.{name.replace('_', '-')}" in engines(recipe, CPU), name


@pytest.mark.parametrize(("layers", "here"), [(20, 2), (1, 1)])
def test_no_more_layers_are_recomputed_than_there_are(make, layers, here):
    recipe = make()
    recipe.training.megatron = {"recompute-num-layers": layers}
    draft = Draft(recipe)
    replace_engines(draft, recipe, GPU)
    assert draft.get("training", "megatron", "recompute-num-layers") == here


def rules(recipe: Recipe, made_up: bool, embedder_made: bool) -> dict[str, Change]:
    draft = Draft(recipe)
    replace_rules(draft, recipe, made_up, embedder_made)
    return changed(draft)


@pytest.mark.parametrize(
    ("alpha", "made_up", "embedder_made", "here"),
    [
        (0.9, True, False, SIMILARITY),
        (0.9, True, True, RANDOM_SIMILARITY),
        (0.1, True, True, 0.1),
        (0.9, False, False, -1.0),
        (0.9, False, True, -1.0),
    ],
)
def test_few_documents_still_make_pairs(make, alpha, made_up, embedder_made, here):
    recipe = make(
        pairs=Pairs(alpha=alpha), synthesizers={"related": Synthesizer(), "near": Synthesizer(pairs={"alpha": alpha})}
    )
    found = rules(recipe, made_up, embedder_made)
    for key in ("pairs.alpha", "synthesizers.near.pairs.alpha"):
        assert (found[key].here if key in found else alpha) == here


def test_an_upper_limit_of_similarity_holds_only_for_the_real_model_and_made_up_documents(make):
    recipe = make(pairs=Pairs(max_similarity=0.95))
    assert "pairs.max_similarity" not in rules(recipe, True, False)
    for made_up, embedder_made in ((True, True), (False, False)):
        assert rules(recipe, made_up, embedder_made)["pairs.max_similarity"].here is None


def test_unfinished_texts_are_kept_and_more_are_written(make):
    recipe = make(filter=Filter(unfinished="drop"), synthesis=Synthesis(tokens=1000, margin=1.2))
    found = rules(recipe, True, False)
    assert found["filter.unfinished"].here == "keep" and "drop would leave none" in found["filter.unfinished"].reason
    assert found["synthesis.margin"].here == MARGIN
    assert "synthesis.margin" not in rules(make(synthesis=Synthesis(tokens=1000, margin=5.0)), True, False)


def test_learning_rates_are_raised_where_models_begin_anew(make):
    arms = {"baseline": Arm(training={"learning_rate": 1e-4}), "sbp": Arm(synthetic="related", training={})}
    found = rules(make(arms=arms), True, False)
    assert {key for key in found if "learning_rate" in key} == {
        "training.learning_rate", "arms.baseline.training.learning_rate",
    }  # fmt: skip
    assert found["training.learning_rate"].here == LEARNING_RATE
    recipe = make()
    recipe.training.learning_rate = 0.5
    assert "training.learning_rate" not in rules(recipe, True, False)


@pytest.mark.parametrize(
    ("start", "raised"), [(None, False), ("last", False), ("best", False), ("scratch", True), ("./folder", True)]
)
def test_a_tuning_keeps_its_learning_rate_where_it_starts_from_an_arm(make, start, raised):
    found = rules(make(tuning=Tuning(start=start)), True, False)
    assert ("tuning.learning_rate" in found) == raised


def embedder(recipe: Recipe) -> tuple[bool, Change | None]:
    draft = Draft(recipe)
    made = replace_embedder(draft, recipe, "INPUTS/embedder")
    return made, changed(draft).get("embedding.model")


def test_an_embedding_model_that_is_not_here_is_made(make):
    for name, why in (("some/model", "some/model is not in the local cache"), ("./gone", "no such folder")):
        made, change = embedder(make(embedding=Embedding(model=name)))
        assert made and (change.here, change.kind) == ("INPUTS/embedder", "replaced")
        assert change.reason.startswith(why) and change.reason.endswith("a tiny BERT with random weights")


def test_an_embedding_model_that_is_here_is_called_by_its_place(make, tmp_path):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    made, change = embedder(make(embedding=Embedding(model="models/mine")))
    assert not made and (change.here, change.kind) == (f"{tmp_path}/models/mine", "own")
    (tmp_path / "hub" / "models--some--model" / "snapshots" / "abc").mkdir(parents=True)
    assert embedder(make(embedding=Embedding(model="some/model"))) == (False, None)


def test_with_a_network_a_name_on_the_hub_is_fetched_and_not_replaced(make, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert embedder(make(embedding=Embedding(model="some/model"))) == (False, None)


@pytest.mark.parametrize("made_up", [True, False])
def test_a_judge_stays_with_the_real_documents(make, tmp_path, made_up):
    recipe = make(evaluation=Evaluation(judge="check.py:judge"))
    draft = Draft(recipe)
    replace_judge(draft, recipe, made_up)
    change = changed(draft)["evaluation.judge"]
    expected = (None, "replaced") if made_up else (f"{tmp_path}/check.py:judge", "own")
    assert (change.here, change.kind) == expected


def test_no_text_of_a_rehearsal_falls_to_a_function_or_as_a_copy_of_the_corpus(make):
    rules = Filter(predicate="keep.py:keep", contaminated="drop", max_corpus_copying=0.2, min_similarity=0.6)
    recipe = make(filter=rules, synthesizers={"related": Synthesizer(filter={"max_corpus_copying": 0.1})})
    draft = Draft(recipe)
    replace_further_rules(draft)
    found = {key: change.here for key, change in changed(draft).items()}
    assert found == {
        "filter.predicate": None,
        "filter.contaminated": "keep",
        "filter.max_corpus_copying": 1.0,
        "filter.min_similarity": -1.0,
        "synthesizers.related.filter.max_corpus_copying": 1.0,
    }
    draft = Draft(make())
    replace_further_rules(draft)
    assert draft.changes == []


def test_no_judge_is_none(make):
    recipe = make()
    draft = Draft(recipe)
    replace_judge(draft, recipe, True)
    assert draft.changes == []


def tokenizer(recipe: Recipe) -> tuple[bool, dict[str, object]]:
    draft = Draft(recipe)
    made = replace_tokenizer(draft, recipe, "INPUTS/start")
    return made, {key: change.here for key, change in changed(draft).items()}


def test_a_tokenizer_that_is_trained_is_trained_here_too(make):
    assert tokenizer(make()) == (False, {})
    assert tokenizer(make(tuning=Tuning(start="best"))) == (False, {})


def test_a_tokenizer_that_is_not_here_gives_way_to_one_that_is_trained(make):
    assert tokenizer(make(tokenizer=Tokenizer(path="some/tokenizer"))) == (False, {"tokenizer.path": None})
    assert tokenizer(make(tokenizer=Tokenizer(path="./gone"))) == (False, {"tokenizer.path": None})


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "tokenizer.json").write_text("{}")
    return tmp_path / "mine"


def test_a_tokenizer_that_is_here_is_called_by_its_place(make, folder):
    assert tokenizer(make(tokenizer=Tokenizer(path="mine"))) == (False, {"tokenizer.path": str(folder)})


def test_a_checkpoint_for_the_tuning_is_made_with_the_tokenizer_that_the_run_has(make, folder):
    start = Tuning(start="./big")
    assert tokenizer(make(tuning=start, tokenizer=Tokenizer(path="mine"))) == (
        True, {"tuning.start": "INPUTS/start", "tokenizer.path": str(folder)},
    )  # fmt: skip
    for path in (None, "./big"):
        assert tokenizer(make(tuning=start, tokenizer=Tokenizer(path=path))) == (
            True, {"tuning.start": "INPUTS/start", "tokenizer.path": "INPUTS/start"},
        )  # fmt: skip


def test_the_start_of_one_synthesizer_alone(make):
    synthesizers = {"related": Synthesizer(), "other": Synthesizer(tuning={"start": "./big"})}
    made, here = tokenizer(make(synthesizers=synthesizers))
    assert made and here["synthesizers.other.tuning.start"] == "INPUTS/start" and "tuning.start" not in here
