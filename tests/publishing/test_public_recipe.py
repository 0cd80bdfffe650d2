"""What of a recipe nobody else should read."""

from __future__ import annotations

from support.cards import recipe

from megatron_sbp.publishing.public_recipe import public_recipe
from megatron_sbp.recipe import Documents, Embedding, Evaluation, Tokenizer, Tuning
from megatron_sbp.recipe.sections import Arm, Launch, Slurm, Synthesis, Synthesizer, Vllm


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
