"""Cards: what is said of a corpus and of a model, and what of a recipe nobody else should read."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from support.small_recipe import small_recipe

from megatron_sbp.publishing.cards import dataset_card, license_header, model_card, public_recipe
from megatron_sbp.recipe import Documents, Embedding, Evaluation, Recipe, Tokenizer, Tuning
from megatron_sbp.recipe.sections import Arm, Launch, Slurm, Synthesis, Synthesizer, Vllm

PROVENANCE = {
    "architecture": "Qwen3ForCausalLM", "parameters": 60_000, "weights_sha256": "cd" * 32, "dtype": "bfloat16",
    "iteration": 195,
}  # fmt: skip
AUDIT = {"tokens": 60_001, "generations": 220, "kept": 209, "dropped": {"too_short": 0, "unfinished": 11}}


def recipe(**sections) -> Recipe:
    documents = sections.pop("documents", Documents(inputs=["corpus.jsonl"], train=12_000, valid=40, test=30))
    return small_recipe(Path("/home/someone/run"), documents, **sections)


def parts(card: str) -> tuple[dict, str]:
    """Header and text."""
    empty, header, text = card.split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(header), text


def test_what_is_of_one_machine_is_not_published():
    mine = "/home/someone"
    real = recipe(
        documents=Documents(inputs=[f"{mine}/corpus.jsonl", "here/*.jsonl"], train=200, valid=40, test=30),
        tokenizer=Tokenizer(path=f"{mine}/tokenizer"), tuning=Tuning(start="~/models/start"),
        embedding=Embedding(model=f"{mine}/embedder"), slurm=Slurm(account="secret"), launch=Launch(workers=7),
        evaluation=Evaluation(questions=f"{mine}/questions.jsonl", judge=f"{mine}/judge.py:judge"),
        synthesis=Synthesis(tokens=1000, vllm=Vllm(python=f"{mine}/vllm/bin/python")),
        synthesizers={
            "related": Synthesizer(),
            "mine": Synthesizer(
                tuning={"start": f"{mine}/models/other", "max_epochs": 2},
                synthesis={"vllm": {"python": f"{mine}/python", "eager": True}},
            ),
            "scratch": Synthesizer(tuning={"start": None}),
        },
    )  # fmt: skip
    public = public_recipe(real)
    assert public.documents.inputs == ["corpus.jsonl", "here/*.jsonl"]
    assert (public.tokenizer.path, public.tuning.start, public.embedding.model) == ("tokenizer", "start", "embedder")
    assert (public.evaluation.questions, public.evaluation.judge) == ("questions.jsonl", "judge.py:judge")
    assert (public.slurm.account, public.launch.workers, public.run_folder) == (None, 1, None)
    assert public.synthesizers["mine"].tuning == {"start": "other", "max_epochs": 2}
    assert public.synthesizers["mine"].synthesis == {"vllm": {"python": "python", "eager": True}}
    assert public.synthesizers["scratch"].tuning == {"start": None} and public.synthesis.vllm.python == "python"
    assert "someone" not in str(public.to_dict())
    assert real.slurm.account == "secret" and real.synthesizers["mine"].tuning["start"] == f"{mine}/models/other"


def test_the_address_of_a_judge_is_not_published():
    endpoint = {"base_url": "http://node17.intern/v1", "model": "m"}
    real = recipe(evaluation=Evaluation.model_validate({"judge_endpoint": endpoint}))
    assert "intern" not in str(public_recipe(real).to_dict()) and real.evaluation.judge_endpoint.model == "m"


def test_folders_of_tasks_are_not_published():
    harness = {"tasks": ["sciq"], "task_folder": "/home/someone/tasks", "python": "~/venv/bin/python"}
    public = public_recipe(recipe(evaluation=Evaluation.model_validate({"harness": harness}))).evaluation.harness
    assert (public.tasks, public.task_folder, public.python) == (["sciq"], "tasks", "python")


def test_what_is_nobodys_secret_stays():
    real = recipe(embedding=Embedding(model="some/model"), tuning=Tuning(start="best"))
    public = public_recipe(real)
    assert public.embedding == real.embedding and public.tuning == real.tuning and public.documents == real.documents
    assert public.synthesizers == real.synthesizers and public.synthesis == real.synthesis


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


@pytest.mark.parametrize(
    ("documents", "size"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (2_500_000, "1M<n<10M"), (2 * 10**10, "10B<n<100B")],
)
def test_the_size_of_a_corpus(documents, size):
    header, _ = parts(dataset_card(recipe(), {"related": documents}, {"related": AUDIT}, {}))
    assert header["size_categories"] == [size]


def test_every_configuration_of_a_corpus_has_its_files_and_the_first_is_shown():
    real = recipe(
        synthesizers={
            "related": Synthesizer(), "chance": Synthesizer(method="replacement", replaced=0.25),
            "self": Synthesizer(method="samples"), "random": Synthesizer(pairs={"relation": "random"}),
        }
    )  # fmt: skip
    documents = {"related": 209, "chance": 10, "self": 5, "random-2": 7}
    header, text = parts(dataset_card(real, documents, dict.fromkeys(documents, AUDIT), {}))
    assert header["configs"][0] == {"config_name": "related", "data_files": "data/related/*.parquet", "default": True}
    assert header["configs"][3] == {"config_name": "random-2", "data_files": "data/random-2/*.parquet"}
    assert header["license"] == "unknown" and "arxiv:2509.15248" in header["tags"]
    lines = text.splitlines()
    assert "| `related` | a synthesizer tuned on pairs of similar documents | 209 | 60,001 | 220 |" in lines
    assert "25 % of their tokens replaced" in text and "the baseline, without a seed document" in text
    assert "| `random-2` | a synthesizer tuned on pairs of random documents (a control) | 7 | 60,001 | 220 |" in lines
    assert "| unfinished | 11 | 11 | 11 | 11 |" in lines
    assert text.count(": not measured.") == 4


RESULTS = {
    "arms": {
        "sbp": {
            "train_tokens": 200_000, "synthetic_tokens": 60_000, "real_epochs": 1.5, "test_loss": 4.0,
            "test_loss_stderr": 0.01, "test_bits_per_byte": 1.25, "recall": 0.5, "recall_stderr": 0.1,
            "replicates": [{}, {"test_loss": 3.0, "test_bits_per_byte": 1.0}],
        },
        "oracle": {"test_loss": None},
    },
    "comparisons": {
        "sbp-baseline": {"test_loss": {"difference": 0.12, "low": 0.1, "high": 0.14}},
        "sbp-oracle": {"test_loss": {"difference": -0.3, "low": None, "high": None}},
        "oracle-sbp": {"test_loss": {"difference": 0.3, "low": 0.2, "high": 0.4}},
    },
    "tuning": {"reading": {"gain": 0.19, "gain_stderr": 0.02, "loss_true_seed": 3.41, "loss_wrong_seed": 3.6}},
}  # fmt: skip


def test_a_model_has_its_figures_with_their_intervals():
    header, text = parts(model_card(recipe(), "sbp", PROVENANCE, RESULTS, 1))
    assert (header["library_name"], header["pipeline_tag"]) == ("transformers", "text-generation")
    lines = text.splitlines()
    for line in (
        "| parameters | 60,000 |", "| weights | bfloat16 |", f"| SHA-256 of the weights | `{'cd' * 32}` |",
        "| test loss (nats per token) | 4.0000 [3.9804, 4.0196] |", "| test bits per byte | 1.2500 |",
        "| closed-book recall (percent) | 50.0 [30.4, 69.6] |", "| synthetic tokens | 60,000 |",
        "| repetition baseline | +0.1200 [+0.1000, +0.1400] |",
    ):  # fmt: skip
        assert line in lines, line
    assert not any(line.startswith("| oracle |") for line in lines), "a gain without an interval is left out"
    assert "synthesizer `related`, each once, and the source corpus D for the rest" in text


def test_nothing_has_no_minus_sign():
    """A card said -0.0000."""
    gain = {"test_loss": {"difference": -0.00001, "low": -0.00002, "high": 0.0}}
    _, text = parts(model_card(recipe(), "sbp", PROVENANCE, {**RESULTS, "comparisons": {"sbp-baseline": gain}}, 1))
    assert "| repetition baseline | +0.0000 [+0.0000, +0.0000] |" in text
    reading = {"gain": -0.00001, "gain_stderr": 0.00001, "loss_true_seed": 3.4, "loss_wrong_seed": 3.4}
    results = {**RESULTS, "tuning": {"reading": reading}}
    _, text = parts(model_card(recipe(), "synthesizer-related", PROVENANCE, results, 1))
    assert "| gain from the seed | 0.0000 [0.0000, 0.0000] |" in text


def test_a_replicate_has_its_own_figures():
    real = recipe(replicates=2)
    _, text = parts(model_card(real, "sbp", PROVENANCE, RESULTS, 2))
    assert "# test: sbp, replicate 2" in text and "| test loss (nats per token) | 3.0000 |" in text


@pytest.mark.parametrize(("model", "results"), [("sbp", None), ("oracle", RESULTS)])
def test_a_model_that_was_not_evaluated(model, results):
    assert "Not evaluated yet." in model_card(recipe(), model, PROVENANCE, results, 1)


def test_a_synthesizer_says_how_it_is_asked_and_what_it_reads():
    _, text = parts(model_card(recipe(), "synthesizer-related", PROVENANCE, RESULTS, 1))
    assert "`<|related|>`" in text and "at most 32 tokens" in text
    assert "| gain from the seed | 0.1900 [0.1508, 0.2292] |" in text
    assert "Not evaluated." in model_card(recipe(), "synthesizer-related", PROVENANCE, None, 1)


def test_limits_note_and_license_are_told():
    documents = Documents(inputs=["c.jsonl"], train=12_000, valid=40, test=30, license="cc-by-4.0")
    _, text = parts(model_card(recipe(documents=documents, note="Two\n  lines."), "sbp", PROVENANCE, None, 1))
    assert "12,000 unique documents" in text and "One training seed" in text and "From the recipe: Two lines." in text
    assert "cc-by-4.0. What follows from it" in text
    assert "One training seed" not in model_card(recipe(replicates=2), "sbp", PROVENANCE, None, 1)


def test_the_whole_recipe_is_there_and_its_places_are_not():
    text = model_card(recipe(), "sbp", PROVENANCE, None, 1)
    assert "global_batch_size: 4" in text and "/home/someone" not in text


def test_no_path_of_one_machine_is_left_anywhere():
    mine = "/home/someone"
    flags = {"memory-snapshot-path": f"{mine}/snapshot.pickle", "num-workers": 2, "profile": True}
    embedding = Embedding.model_validate({"vllm": {"python": f"{mine}/vllm/bin/python"}})
    arms = {"baseline": Arm(), "other": Arm(training={"weight_decay": 0.2, "megatron": flags})}
    real = recipe(embedding=embedding, arms=arms)
    training = real.training.model_copy(update={"megatron": flags})
    public = public_recipe(real.model_copy(update={"training": training}))
    assert "someone" not in str(public.to_dict()) and public.embedding.vllm.python == "python"
    kept = {"memory-snapshot-path": "snapshot.pickle", "num-workers": 2, "profile": True}
    assert public.training.megatron == kept and public.arms["baseline"] == Arm()
    assert public.arms["other"].training == {"weight_decay": 0.2, "megatron": kept}


def test_code_in_a_note_does_not_end_the_recipe():
    _, text = parts(dataset_card(recipe(note="see\n```\ncode\n````\n"), {"related": 1}, {"related": AUDIT}, {}))
    _, shown = text.split("\n`````yaml\n")
    assert yaml.safe_load(shown.split("\n`````\n")[0])["note"] == "see\n```\ncode\n````\n"
