"""Real text with its tokenizer, and a run folder up to a synthesizer with random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.made_once import made_once

from megatron_sbp.base import files
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run

FOLDOC = Path(__file__).resolve().parents[2] / "examples" / "quickstart" / "foldoc.jsonl.zst"
ROLES = {"end_of_document": "<|endoftext|>", "padding": "<|padding|>", "separator": "<|related|>"}

RECIPE = """
name: synthesis
documents: {inputs: [documents.jsonl], id_field: id, train: 60, valid: 5, test: 5, documents_per_shard: 25}
tokenizer: {vocab_size: 600}
model: {num_layers: 2, hidden_size: 32, ffn_hidden_size: 64, num_attention_heads: 4, num_query_groups: 2,
        kv_channels: 8, sequence_length: 128, tied_embeddings: false}
training: {train_tokens: 100_000, global_batch_size: 8, micro_batch_size: 1}
tuning: {global_batch_size: 8, max_seed_tokens: 40}
synthesis: {tokens: 2_000, max_new_tokens: 50, generations_per_shard: 24, batch_size: 10, tokens_per_generation: 25}
filter: {min_tokens: 4}
launch: {device: cpu}
"""


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """400 entries of FOLDOC."""
    rows = files.read_jsonl_zst(FOLDOC)
    return [next(rows)["text"] for _ in range(400)]


@pytest.fixture(scope="session")
def tokenizer(texts):
    from megatron_sbp.tokenization.bpe import train_bpe

    return train_bpe(texts, 600, ROLES)


def save_random_model(
    folder: Path, vocabulary: int, end: int, mean_tokens: float, family="Qwen3", never=(), head_dim=8
):
    """A model with random weights whose texts end after about `mean_tokens`; ids in `never` hardly come."""
    import torch
    import transformers

    torch.manual_seed(3)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=head_dim, max_position_embeddings=128, tie_word_embeddings=False,
    )  # fmt: skip
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.normal_(0, 0.3)
        model.model.embed_tokens.weight[:, 0] = 5.0  # nearly constant, and what end-of-document looks at
        hidden = model.model(torch.randint(3, vocabulary, (8, 32))).last_hidden_state.flatten(0, 1)
        head = model.lm_head.weight
        head[:, 0] = head[end] = 0
        head[list(never)] = 0
        head[list(never), 0] = -5.0
        head[end, 0] = ((hidden @ head.T).logsumexp(1).mean() - np.log(mean_tokens)) / hidden[:, 0].mean()
    model.save_pretrained(folder)
    return model


@pytest.fixture(scope="session")
def random_model():
    return save_random_model


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, texts) -> Path:
    """A folder with recipe.yaml, and run/ with the stages up to the export finished. Read only."""
    return made_once(tmp_path_factory, "prepared", lambda folder: prepare(folder, texts))


def prepare(folder: Path, texts: list[str]) -> None:
    """Fills the folder of `prepared`."""
    from support.finished_stage import mark_finished

    from megatron_sbp.executor.claim import claim
    from megatron_sbp.executor.runner import StageRunner
    from megatron_sbp.stages.documents import DocumentsStage
    from megatron_sbp.stages.tokenize import TokenizeStage
    from megatron_sbp.stages.tokenizer import TokenizerStage
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    (folder / "recipe.yaml").write_text(RECIPE)
    rows = ({"id": f"entry-{number}", "text": text} for number, text in enumerate(texts[:100]))
    (folder / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = run_of(folder)
    claim(run)
    graph = [DocumentsStage(), TokenizerStage(), TokenizeStage()]
    for stage in graph:
        assert StageRunner(run, stage, graph).execute()
    tokenizer = load_tokenizer(run.tokenizer)
    marks = ((token, tokenizer.decode([token])) for token in range(3, tokenizer.vocab_size))
    broken = [token for token, mark in marks if "\ufffd" in mark or not mark.isprintable()]
    sizes = tokenizer.vocab_size, tokenizer.end_of_document, 25
    save_random_model(run.export("synthesizer"), *sizes, never=broken[3:])  # a few are left
    files.write_json(run.export("synthesizer") / "provenance.json", {"weights_sha256": "ab" * 32})
    audit = run.root / "tokens" / "pairs_audit.json"
    files.write_json(audit, {"pairs": {"mean_target_tokens": 30.0}})
    made = {"export-synthesizer": list(run.export("synthesizer").iterdir()), "tokenize-pairs": [audit]}
    for name, outputs in made.items():
        mark_finished(run, name, outputs)


def run_of(folder: Path, *overrides: str) -> Run:
    return Run.of(load_recipe(folder / "recipe.yaml", [f"run_folder={folder / 'run'}", *overrides]))


@pytest.fixture
def make_run(prepared, tmp_path):
    """Copies the prepared folder under a name; gives its run with overrides."""

    def make(name: str, *overrides: str) -> Run:
        if not (tmp_path / name).exists():
            shutil.copytree(prepared, tmp_path / name)
        return run_of(tmp_path / name, *overrides)

    return make


def execute_synthesis(run: Run, *stages: str) -> None:
    """Runs the stages from synthesize to filter, or the ones of these names."""
    from megatron_sbp.executor.runner import StageRunner
    from megatron_sbp.planning.units import wants_index
    from megatron_sbp.stages.compare import CompareStage
    from megatron_sbp.stages.deduplicate import DeduplicateStage
    from megatron_sbp.stages.embed import EmbedStage
    from megatron_sbp.stages.filter import FilterStage
    from megatron_sbp.stages.index_corpus import IndexCorpusStage
    from megatron_sbp.stages.judge import JudgeStage
    from megatron_sbp.stages.judge_pilot import JudgePilotStage
    from megatron_sbp.stages.pilot import PilotStage
    from megatron_sbp.stages.stage import by_name
    from megatron_sbp.stages.synthesize import SynthesizeStage

    graph = [SynthesizeStage(), JudgeStage(), DeduplicateStage(), FilterStage()]
    if run.recipe.synthesis.pilot:
        graph = [PilotStage(), JudgePilotStage(), *graph]
    if wants_index(run.recipe):
        graph.insert(0, IndexCorpusStage())
    if run.recipe.filter.min_similarity is not None:
        place = next(place for place, stage in enumerate(graph) if stage.name == "judge")
        graph = [EmbedStage(), *graph[:place], CompareStage(), *graph[place:]]
    for stage in stages or [stage.name for stage in graph]:
        assert StageRunner(run, by_name(graph, stage), graph).execute()


def digests(run: Run) -> dict[str, str]:
    """Digest of every file below synthetic/."""
    return {run.relative(path): files.sha256(path) for path in sorted(run.synthetic.rglob("*")) if path.is_file()}


@pytest.fixture(scope="session")
def synthesized(prepared, tmp_path_factory) -> Path:
    """A copy of the prepared folder with the stages from synthesize to filter finished. Read only."""

    def make(folder: Path) -> None:
        shutil.copytree(prepared, folder, dirs_exist_ok=True)
        execute_synthesis(run_of(folder))

    return made_once(tmp_path_factory, "synthesized", make)


@pytest.fixture
def undisturbed(synthesized, tmp_path) -> Run:
    """A copy of the synthesized run of one's own."""
    shutil.copytree(synthesized, tmp_path / "undisturbed")
    return run_of(tmp_path / "undisturbed")


def rewrite_generations(run: Run, texts: dict[int, str]) -> list[dict]:
    """Gives the first generations of the first shard other texts, by their place, as if they had been written so; gives
    all rows of the shard."""
    shard = run.generation_shards()[0]
    rows = list(files.read_jsonl_zst(shard))
    for place, text in texts.items():
        rows[place] = {**rows[place], "text": text, "finished": True}
    files.write_jsonl_zst(shard, rows)
    manifest = files.read_json(run.manifests / "synthesize.json")
    manifest["outputs"][run.relative(shard)] = files.describe(shard)
    files.write_json(run.manifests / "synthesize.json", manifest)
    return rows


class Killed(Exception):
    """Stands for SIGKILL: nothing behind it runs."""


@pytest.fixture
def counted(monkeypatch):
    """Texts that the engine wrote, and a number of batches after which it dies."""
    from megatron_sbp.synthesis.transformers_engine import TransformersEngine

    state, real = {"texts": 0, "batches": 10**9}, TransformersEngine.write

    def counting(self, generations, prompts):
        if not state["batches"]:
            raise Killed
        state["batches"] -= 1
        state["texts"] += len(generations)
        return real(self, generations, prompts)

    monkeypatch.setattr(TransformersEngine, "write", counting)
    return state
