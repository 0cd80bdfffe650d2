"""Embeds documents as unit vectors with sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base import files
from megatron_sbp.base.device import compute_device
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.hub import check_available, go_offline, offline
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.base.quiet import quiet_libraries
from megatron_sbp.pairing.embedding_model import model_folder
from megatron_sbp.recipe import Embedding

if TYPE_CHECKING:
    import numpy as np
    from sentence_transformers import SentenceTransformer

CHARACTERS_PER_TOKEN = 12
"""Documents are truncated to this many characters per token before they reach the tokenizer. English has 4 to 5;
without this a tokenizer reads documents of megabytes to their end to produce the first tokens (mteb issue 5022)."""

_COUNTED_AT_ONCE = 1024


class Embedder:
    """An embedding model, loaded once.

    Args:
        settings: model, max_tokens, batch_size, batch_tokens, prompt and precision are used.
        folder: base of a relative model folder: the recipe's folder.
        device: auto (CUDA if torch finds it), cpu, or cuda.

    Attributes:
        dimensions: of the embeddings.
        max_tokens: maximum tokens per document, prompt included: the recipe's value, but not above the model's limit.

    Raises:
        InputError: the model cannot be loaded.
    """

    def __init__(self, settings: Embedding, folder: Path, device: str = "auto"):
        self.settings = settings
        self._model = _load(settings, folder, device)
        limit = self._model.max_seq_length
        self.max_tokens = settings.max_tokens if limit is None else min(settings.max_tokens, int(limit))
        if self.max_tokens < settings.max_tokens:
            say(f"embed: {settings.model} reads {limit} tokens at most, embedding.max_tokens is {settings.max_tokens}")
        self._model.max_seq_length = self.max_tokens
        self.dimensions = int(self._model.get_embedding_dimension())

    def beginning(self, text: str) -> str:
        """The part of a text that can reach the model."""
        return text[: self.max_tokens * CHARACTERS_PER_TOKEN]

    def encode(
        self,
        texts: Sequence[str],
        progress: Progress | None = None,
        *,
        name: Callable[[int], str] | None = None,
        file: Path | None = None,
    ) -> np.ndarray:
        """Embeddings of texts, in order.

        Args:
            texts: any number, including none.
            progress: advanced by documents.
            name: name of text number i in errors; `text i` by default.
            file: source of the texts, for errors.

        Returns:
            float32 [texts, dimensions], each of length 1.

        Raises:
            InputError: an embedding is not finite, is zero, or does not have `dimensions` dimensions; the device has
                too little memory for a batch.
        """
        name = name or (lambda place: f"text {place}")
        try:
            vectors = self._vectors([self.beginning(text) for text in texts], progress)
        except _OtherDimensions as other:
            raise InputError(
                f"the embedding of {name(other.place)} has {other.found} dimensions, and those of the model "
                f"{self.settings.model} have {self.dimensions}",
                file=file,
                key="embedding.model",
            ) from None
        return self._normalized(vectors, name, file)

    def _vectors(self, texts: list[str], progress: Progress | None) -> np.ndarray:
        """The model's vectors, float32 [texts, dimensions].

        Batches are formed from the texts sorted by length, longest first, to reduce padding. The composition of a batch
        changes an embedding only by rounding (about 1e-7 in fp32).
        """
        import numpy as np
        import torch

        result = np.empty((len(texts), self.dimensions), np.float32)
        for places in self._batches(texts):
            try:
                with torch.inference_mode():
                    batch = self._model.encode(
                        [texts[place] for place in places],
                        prompt=self.settings.prompt,
                        batch_size=len(places),
                        show_progress_bar=False,
                        convert_to_tensor=True,
                    )
            except torch.cuda.OutOfMemoryError as error:
                raise InputError(
                    f"{len(places)} documents of up to {self.max_tokens} tokens do not fit into the GPU's memory; "
                    "lower it",
                    key="embedding.batch_size" if self.settings.batch_tokens is None else "embedding.batch_tokens",
                ) from error
            place_vectors(result, places, batch.float().cpu().numpy())
            if progress:
                progress.advance(len(places))
        return result

    def _batches(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """Indices of the texts in each forward pass. They depend only on the texts: the sort is stable."""
        size, budget = self.settings.batch_size, self.settings.batch_tokens
        if budget is None:
            order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
            yield from (order[begin : begin + size] for begin in range(0, len(order), size))
            return
        lengths = self._lengths(texts)
        order = sorted(range(len(texts)), key=lambda place: -lengths[place])
        begin = 0
        while begin < len(order):
            end = begin + max(1, budget // max(1, lengths[order[begin]]))
            yield order[begin:end]
            begin = end

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens that the model reads of each text."""
        found: list[int] = []
        for begin in range(0, len(texts), _COUNTED_AT_ONCE):
            some = [self.settings.prompt + text for text in texts[begin : begin + _COUNTED_AT_ONCE]]
            found += map(len, self._model.tokenizer(some, truncation=True, max_length=self.max_tokens)["input_ids"])
        return found

    def _normalized(self, vectors: np.ndarray, name: Callable[[int], str], file: Path | None) -> np.ndarray:
        import numpy as np

        norms = np.linalg.norm(vectors, axis=1)
        bad = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
        if bad.size:
            what = "is zero" if norms[bad[0]] == 0 else "has values that are not finite"
            raise InputError(
                f"the embedding of {name(int(bad[0]))} {what} ({bad.size} of {len(vectors)} documents are affected); "
                f"model {self.settings.model}, precision {self.settings.precision}",
                file=file,
                key="embedding.precision" if self.settings.precision != "fp32" else "embedding.model",
            )
        return vectors / norms[:, None]


class _OtherDimensions(Exception):
    """A vector with a wrong number of dimensions.

    Args:
        place: index of its text.
        found: its dimensions.
    """

    def __init__(self, place: int, found: int):
        super().__init__(place, found)
        self.place, self.found = place, found


def place_vectors(result: np.ndarray, places: Sequence[int], vectors: Sequence[Sequence[float]] | np.ndarray) -> None:
    """Copies vectors into the rows of a float32 matrix [texts, dimensions]; `Embedder.encode` names one with a wrong
    length."""
    for place, vector in zip(places, vectors, strict=True):
        if len(vector) != result.shape[1]:
            raise _OtherDimensions(place, len(vector))
    result[places] = vectors


def write_embeddings(
    documents: Sequence[Mapping[str, str]],
    output: Path,
    embedder: Embedder,
    progress: Progress | None = None,
    *,
    file: Path | None = None,
    first: int = 0,
) -> None:
    """Writes the embeddings of documents to a .npy: float16 [documents, dimensions], unit norm, rows in order.

    Args:
        documents: with id and text.
        output: written atomically.
        embedder: the model.
        progress: advanced by documents.
        file: source of the documents, for errors.
        first: row number of the first one, for errors.

    Raises:
        InputError: see `Embedder.encode`; names row and document id.
    """
    import numpy as np

    from megatron_sbp.base import arrays

    def name(place: int) -> str:
        return f"row {first + place} (document id {documents[place]['id']})"

    vectors = embedder.encode([row["text"] for row in documents], progress, name=name, file=file)
    arrays.save(output, vectors.astype(np.float16))


def embed_shard(shard: Path, output: Path, embedder: Embedder, label: str) -> None:
    """Writes the embeddings of one file of documents/ (.jsonl.zst with id and text): see `write_embeddings`."""
    rows = [{"id": row["id"], "text": embedder.beginning(row["text"])} for row in files.read_jsonl_zst(shard)]
    with Progress(label, len(rows), "documents") as progress:
        write_embeddings(rows, output, embedder, progress, file=shard)


def _load(settings: Embedding, folder: Path, device: str) -> SentenceTransformer:
    go_offline()
    place = model_folder(settings.model, folder)
    if place is None:
        check_available(settings.model, "embedding.model")
    with quiet_libraries():
        import torch
        from sentence_transformers import SentenceTransformer

        device = compute_device(device)
        kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[settings.precision]
        try:
            model = SentenceTransformer(
                str(place) if place else settings.model,
                device=device,
                model_kwargs={"dtype": kind},
                local_files_only=place is not None or offline(),
            )
        except Exception as error:  # transformers, safetensors, and the hub raise many types
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            advice = f"{place or settings.model} must hold a sentence-transformers or transformers model"
            raise InputError(
                f"'{settings.model}' cannot be loaded: {reason}; {advice}", key="embedding.model"
            ) from error
    if place and not (place / "modules.json").exists():
        say(f"embed: {place} has no modules.json: taking the mean over the tokens of its last layer")
    return model.eval()
