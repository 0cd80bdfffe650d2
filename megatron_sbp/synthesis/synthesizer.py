"""Generates rows of raw generations from planned generations and seed documents."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.checkpoint.hugging_face_folder import PROVENANCE
from megatron_sbp.recipe import Synthesis
from megatron_sbp.synthesis.engine import Engine, EngineSettings, StreamingEngine, Written
from megatron_sbp.synthesis.engines import load_engine
from megatron_sbp.synthesis.generations import Generation, batches
from megatron_sbp.synthesis.own_tokenizer import check_own_tokenizer
from megatron_sbp.synthesis.streaming import stream_all
from megatron_sbp.synthesis.text_limits import TextLimits
from megatron_sbp.synthesis.unfinished import Unfinished
from megatron_sbp.tokenization.tokenizer import TextTokenizer
from megatron_sbp.tokenization.truncation import cut_tokens
from megatron_sbp.tokenization.written_ids import FIELD, ids_with_text, pack_ids

WHOLE = 4096
"""Default generations per batch, and per save to disk."""


class Writer:
    """Turns planned generations into rows of raw generations: prompts, engine, and row contents.

    Args:
        engine: writes the texts.
        tokenizer: decodes them.
        batch_size: generations per batch, for engines that do not form their own.
    """

    id_prefix = "syn"
    """Row ids are PREFIX-ROW-NUMBER."""

    def __init__(self, engine: Engine | StreamingEngine, tokenizer: TextTokenizer, *, batch_size: int = WHOLE):
        self.engine, self.tokenizer = engine, tokenizer
        self._batch_size = batch_size

    def generate(
        self,
        planned: Sequence[Generation],
        tokens: Mapping[int, np.ndarray],
        names: Mapping[int, str],
        advance: Callable[[int], None] | None = None,
        unfinished: Unfinished | None = None,
    ) -> list[JsonObject]:
        """Rows of the planned generations, in order: text and parents, before filtering.

        Args:
            planned: seed document and number of each generation.
            tokens: of the seed documents, integers [n], by `Generation.row`.
            names: their ids, by `Generation.row`.
            advance: called with the number of texts written since the last call.
            unfinished: stores every batch immediately, and contains those of an interrupted start.

        Returns:
            id, text, tokens (generated, including end-of-document), token_ids (see `ids_with_text`, `pack_ids`) and
            their digest, finished, seed_id, seed_row, generation, the provenance of the engine's settings
            (`synthesizer`: sha256 of its weights, and the sampling settings), and run_seed of each.
        """
        prompts = [self._prompt(tokens[generation.row]) for generation in planned]
        texts = write_all(
            self.engine, planned, prompts, batch_size=self._batch_size, advance=advance, unfinished=unfinished
        )
        return [
            self._row(generation, text, names[generation.row]) for generation, text in zip(planned, texts, strict=True)
        ]

    def identity(self, planned: Sequence[Generation], tokens: Mapping[int, np.ndarray]) -> str:
        """Digest of everything that determines the texts, including batches; arguments as for `generate`."""
        prompts = hashlib.blake2b(digest_size=16)
        for generation in planned:
            prompts.update(f"{generation.name} ".encode())
            prompts.update(self._prompt(tokens[generation.row]).astype("<i8").tobytes())
        settings = self.engine.settings.identity()
        if not isinstance(self.engine, StreamingEngine):
            settings["batch_size"] = self._batch_size
        kinds = [type(self).__name__, type(self.engine).__name__]
        return files.digest({**settings, "kinds": kinds, "prompts": prompts.hexdigest()})

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.engine.settings.seed

    def _prompt(self, seed: np.ndarray) -> np.ndarray:
        """The engine's prompt for a seed document, from its tokens: integers [n]."""
        raise NotImplementedError

    def _row(self, generation: Generation, written: Written, seed_id: str | None) -> JsonObject:
        ids = ids_with_text(written.tokens, written.finished, self.tokenizer)
        return {
            "id": f"{self.id_prefix}-{generation.row}-{generation.number}",
            "text": text_of(written, self.tokenizer),
            "tokens": len(written.tokens) + int(written.finished),
            FIELD: pack_ids(ids),
            "ids_digest": ids_digest(ids),
            "finished": written.finished,
            "seed_id": seed_id,
            "seed_row": generation.row,
            "generation": generation.number,
            **self.engine.settings.provenance(),
            "run_seed": self.seed,
        }


class Synthesizer(Writer):
    """A checkpoint with tokenizer, engine, and sampling settings that generates related documents for seed documents.

    Args:
        checkpoint: Hugging Face checkpoint.
        tokenizer: of the tuning, with its separator.
        settings: engine, temperature, top_p, batch_size, precision and vllm are used.
        limits: of seed documents and texts.
        seed: the run's seed.
        device: auto, cpu or cuda.
        round: of synthesis.
        pairs: name and SHA-256 of the file of the pairs that the checkpoint was tuned on; None if unknown.

    Raises:
        InputError: there are no weights, or another tokenizer's; see `load_engine`.
    """

    def __init__(
        self,
        checkpoint: Path,
        tokenizer: TextTokenizer,
        settings: Synthesis,
        limits: TextLimits,
        *,
        seed: int,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        round: int = 1,
        pairs: tuple[str, str] | None = None,
    ):
        check_own_tokenizer(checkpoint, tokenizer)
        sampling = EngineSettings(
            checkpoint=checkpoint,
            weights=weights_digest(checkpoint),
            end_of_document=tokenizer.end_of_document,
            forbidden=tokenizer.never_in_text,
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_new_tokens=limits.max_new_tokens,
            seed=seed,
            precision=settings.precision,
            device=device,
            vllm=settings.vllm if settings.engine == "vllm" else None,
        )
        super().__init__(load_engine(settings.engine, sampling), tokenizer, batch_size=settings.batch_size)
        self._limits, self._round, self._pairs = limits, round, pairs

    def _prompt(self, seed: np.ndarray) -> np.ndarray:
        return prompt_of(seed, self.tokenizer, self._limits.max_seed_tokens, self._limits.seed_cut)

    def _row(self, generation: Generation, written: Written, seed_id: str | None) -> JsonObject:
        row = super()._row(generation, written, seed_id)
        file, digest = self._pairs or (None, None)
        return {**row, "round": self._round, "pairs_file": file, "pairs": digest}


def weights_digest(checkpoint: Path) -> str:
    """Digest of a checkpoint's weights: the one in its provenance.json, otherwise one of the files.

    Raises:
        InputError: there are no weights.
    """
    provenance = checkpoint / PROVENANCE
    if provenance.exists():
        return files.read_json(provenance)["weights_sha256"]
    weights = sorted(checkpoint.glob("*.safetensors"))
    if not weights:
        raise InputError("holds no weights (*.safetensors)", file=checkpoint)
    return files.digest([files.sha256(file) for file in weights])


def prompt_of(tokens: np.ndarray, tokenizer: TextTokenizer, limit: int, cut: Literal["head", "tail"]) -> np.ndarray:
    """The prompt for a seed document, as in tuning: its truncated tokens and the separator.

    Args:
        tokens: of the document, integers [n]; a final end-of-document is ignored.
        tokenizer: for the separator and the tokens that start a character.
        limit: maximum number of seed tokens.
        cut: truncation side.

    Returns:
        int64 [at most limit + 1]; longer if the separator is a text, or if the model needs a token before texts.
    """
    tokens = without_end(tokens, tokenizer).astype(np.int64)
    seed = cut_tokens(tokens, limit, tokenizer.starts_character, cut)
    return np.concatenate([np.array(tokenizer.before_text, np.int64), seed, np.array(tokenizer.between, np.int64)])


def without_end(tokens: np.ndarray, tokenizer: TextTokenizer) -> np.ndarray:
    """The tokens without a final end-of-document."""
    return tokens[:-1] if tokens.size and tokens[-1] == tokenizer.end_of_document else tokens


def write_all(
    engine: Engine | StreamingEngine,
    planned: Sequence[Generation],
    prompts: Sequence[np.ndarray],
    *,
    batch_size: int,
    advance: Callable[[int], None] | None = None,
    unfinished: Unfinished | None = None,
) -> list[Written]:
    """Generates a text per planned generation, in batches of prompts of similar length; returns texts in plan order.

    Args:
        engine: writes them.
        planned: the generations.
        prompts: of each, integers [n].
        batch_size: texts generated together; an engine that forms its own batches gets all at once.
        advance: called with the number of texts written since the last call.
        unfinished: see `Writer.generate`.
    """
    written: dict[int, Written] = {} if unfinished is None else dict(unfinished.done)
    if isinstance(engine, StreamingEngine):
        written = stream_all(engine, planned, prompts, done=written, advance=advance, unfinished=unfinished)
        return [written[place] for place in range(len(planned))]
    lengths = np.array([len(prompt) for prompt in prompts])
    for batch in batches(planned, lengths, batch_size):
        missing = sum(place not in written for place in batch)
        if missing:
            texts = engine.write([planned[place] for place in batch], [prompts[place] for place in batch])
            written.update(zip(batch, texts, strict=True))
            if unfinished is not None:
                unfinished.add(batch, texts)
        if advance and missing:
            advance(missing)
    return [written[place] for place in range(len(planned))]


def ids_digest(tokens: np.ndarray | Sequence[int]) -> str:
    """Digest of token ids without end-of-document, to check whether a text's tokens are the generated ones.

    Returns:
        16 hexadecimal digits: BLAKE2b of the ids as little-endian int32.
    """
    return hashlib.blake2b(np.asarray(tokens).astype("<i4").tobytes(), digest_size=8).hexdigest()


def text_of(written: Written, tokenizer: TextTokenizer) -> str:
    """The text; an incomplete character at the end of an unfinished text is dropped."""
    text = tokenizer.decode(written.tokens)
    return text if written.finished else text.rstrip("\ufffd")
