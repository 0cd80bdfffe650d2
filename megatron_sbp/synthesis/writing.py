"""From draws to rows of a drafts file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.progress import Progress
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.synthesis.draws import Draw, batches, draws
from megatron_sbp.synthesis.engine import Engine, EngineSettings, Written, load_engine
from megatron_sbp.tokenization.cutting import cut_tokens
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import TextTokenizer, load_tokenizer


def prompt_of(tokens: np.ndarray, tokenizer: TextTokenizer, limit: int, cut: Literal["head", "tail"]) -> np.ndarray:
    """The prompt for a seed document, as in tuning: its tokens, cut, and the separator.

    Args:
        tokens: of the document, integers [n]; an end-of-document at its end does not count.
        tokenizer: for the separator and the characters' beginnings.
        limit: tokens of the seed at most.
        cut: which end is cut away.

    Returns:
        int64 [at most limit + 1].
    """
    tokens = without_end(tokens, tokenizer).astype(np.int64)
    return np.append(cut_tokens(tokens, limit, tokenizer.starts_character, cut), tokenizer.separator)


def without_end(tokens: np.ndarray, tokenizer: TextTokenizer) -> np.ndarray:
    """The tokens without an end-of-document at their end."""
    return tokens[:-1] if tokens.size and tokens[-1] == tokenizer.end_of_document else tokens


def write_all(
    engine: Engine,
    planned: Sequence[Draw],
    prompts: Sequence[np.ndarray],
    batch_size: int,
    advance: Callable[[int], None] | None = None,
) -> list[Written]:
    """Writes a text per draw, in batches of prompts of similar length; texts come back in the order of the draws.

    Args:
        engine: writes them.
        planned: the draws.
        prompts: of each, integers [n].
        batch_size: draws generated together; an engine that makes batches of its own gets all at once.
        advance: called with the number of texts written since the last call.
    """
    written: dict[int, Written] = {}
    lengths = np.array([len(prompt) for prompt in prompts])
    size = max(1, len(planned)) if engine.whole_shards else batch_size
    for batch in batches(planned, lengths, size):
        texts = engine.write([planned[place] for place in batch], [prompts[place] for place in batch])
        written.update(zip(batch, texts, strict=True))
        if advance:
            advance(len(batch))
    return [written[place] for place in range(len(planned))]


def text_of(written: Written, tokenizer: TextTokenizer) -> str:
    """The text; of one that did not end, a character that was cut in two is left out."""
    text = tokenizer.decode(written.tokens)
    return text if written.finished else text.rstrip("\ufffd")


def engine_settings(run: Run, tokenizer: TextTokenizer) -> EngineSettings:
    """The recipe's synthesizer and how it is sampled."""
    chosen = run.recipe.synthesis
    return EngineSettings(
        checkpoint=run.export("synthesizer"),
        weights=files.read_json(run.export("synthesizer") / "provenance.json")["weights_sha256"],
        end_of_document=tokenizer.end_of_document,
        forbidden=(tokenizer.padding, tokenizer.separator),
        temperature=chosen.temperature,
        top_p=chosen.top_p,
        max_new_tokens=run.recipe.max_new_tokens,
        seed=run.recipe.seed,
        precision=chosen.precision,
        device=run.recipe.launch.device,
    )


def write_drafts(run: Run, begin: int, end: int, label: str) -> list[dict[str, Any]]:
    """The rows (`row_of_draft`) of the draws from `begin` to before `end`, in their order."""
    recipe, tokenizer = run.recipe, load_tokenizer(run.tokenizer)
    settings = engine_settings(run, tokenizer)
    engine = load_engine(recipe.synthesis.engine, settings)
    real = open_indexed(run.tokens("real"))
    names = _seed_ids(tuple(run.document_shards("train")))
    planned = draws(begin, end, len(real), recipe.seed)
    prompts = [prompt_of(real[draw.row], tokenizer, recipe.max_seed_tokens, recipe.tuning.seed_cut) for draw in planned]
    with Progress(label, len(planned), "documents") as progress:
        texts = write_all(engine, planned, prompts, recipe.synthesis.batch_size, progress.advance)
    return [
        row_of_draft(draw, written, names[draw.row], tokenizer, settings)
        for draw, written in zip(planned, texts, strict=True)
    ]


def row_of_draft(
    draw: Draw, written: Written, seed_id: str, tokenizer: TextTokenizer, settings: EngineSettings
) -> dict[str, Any]:
    """A row: id, text, tokens (written, end-of-document included), finished, and the text's parents."""
    return {
        "id": draw.name,
        "text": text_of(written, tokenizer),
        "tokens": len(written.tokens) + int(written.finished),
        "finished": written.finished,
        "seed_id": seed_id,
        "seed_row": draw.row,
        "draw": draw.number,
        "synthesizer": settings.weights,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "run_seed": settings.seed,
    }


@lru_cache(maxsize=1)
def _seed_ids(shards: tuple[Path, ...]) -> list[str]:
    """Ids of all train documents; read once for all shards that a process writes."""
    return [row["id"] for shard in shards for row in files.read_jsonl_zst(shard)]
