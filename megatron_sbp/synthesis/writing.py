"""From a range of draws to rows of a drafts file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from megatron_sbp import files
from megatron_sbp.progress import Progress
from megatron_sbp.run_folder import Run
from megatron_sbp.synthesis.draws import Draw, batches, draws
from megatron_sbp.tokenization.cutting import cut_tokens
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import TextTokenizer, load_tokenizer


def prompt_of(tokens: np.ndarray, tokenizer: TextTokenizer, limit: int, cut: str) -> np.ndarray:
    """The prompt for a seed document, as in tuning: its tokens, cut, and the separator.

    Args:
        tokens: of the document, without end-of-document.
        tokenizer: for the separator and the characters' beginnings.
        limit: tokens of the seed at most.
        cut: which end is cut away.
    """
    return np.append(cut_tokens(tokens, limit, tokenizer.starts_character, cut), tokenizer.separator)  # type: ignore[arg-type]


def engine_of(run: Run, tokenizer: TextTokenizer) -> Any:
    """The recipe's generation engine, loaded with the synthesizer."""
    chosen = run.recipe.synthesis
    if chosen.engine == "vllm":
        from megatron_sbp.synthesis.vllm_engine import VllmEngine as Engine
    else:
        from megatron_sbp.synthesis.transformers_engine import TransformersEngine as Engine  # type: ignore[assignment]
    return Engine(
        run.export("synthesizer"),
        tokenizer.end_of_document,
        [tokenizer.padding, tokenizer.separator],
        chosen.temperature,
        chosen.top_p,
        run.recipe.max_new_tokens,
        run.recipe.seed,
        chosen.precision,
        run.recipe.launch.device,
    )


_engines: dict[str, Any] = {}


def write_drafts(run: Run, begin: int, end: int, label: str) -> Iterator[dict[str, Any]]:
    """The rows of the draws from `begin` to before `end`, ordered by draw.

    Rows: id, text, tokens (written, end-of-document included), finished, and the parents: seed_id, seed_row, draw,
    synthesizer (sha256 of its weights), temperature, top_p, run_seed.
    """
    recipe, tokenizer = run.recipe, load_tokenizer(run.tokenizer)
    provenance = files.read_json(run.export("synthesizer") / "provenance.json")
    digest = provenance["weights_sha256"]
    engine = _engines.get(digest) or _engines.setdefault(digest, engine_of(run, tokenizer))
    real = open_indexed(run.tokens("real"))
    names = [row["id"] for file in run.document_shards("train") for row in files.read_jsonl_zst(file)]
    planned = draws(begin, end, len(real), recipe.seed)
    prompts = {
        draw: prompt_of(real[draw.row][:-1].astype(np.int64), tokenizer, recipe.max_seed_tokens, recipe.tuning.seed_cut)
        for draw in planned
    }
    lengths = np.array([len(prompts[draw]) for draw in planned])
    # vLLM batches by itself, and best when it sees everything.
    size = len(planned) if recipe.synthesis.engine == "vllm" else recipe.synthesis.batch_size
    rows: dict[Draw, dict[str, Any]] = {}
    with Progress(label, len(planned), "documents") as progress:
        for batch in batches(planned, lengths, size):
            for draw, written in zip(batch, engine.write(batch, [prompts[draw] for draw in batch]), strict=True):
                rows[draw] = {
                    "id": draw.name,
                    "text": tokenizer.decode(written.tokens),
                    "tokens": len(written.tokens) + int(written.finished),
                    "finished": written.finished,
                    "seed_id": names[draw.row],
                    "seed_row": draw.row,
                    "draw": draw.number,
                    "synthesizer": digest,
                    "temperature": recipe.synthesis.temperature,
                    "top_p": recipe.synthesis.top_p,
                    "run_seed": recipe.seed,
                }
            progress.advance(len(batch))
    return iter([rows[draw] for draw in planned])
