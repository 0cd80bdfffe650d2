"""Embeds documents as unit vectors in vLLM's pooling mode, with the pooling specified in the model's folder."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.hub import check_available, go_offline
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.base.vllm_library import IN_ONE_PROCESS, device_arguments, explained, import_vllm
from megatron_sbp.pairing.embedding import Embedder, place_vectors
from megatron_sbp.pairing.embedding_model import model_folder
from megatron_sbp.recipe import Embedding

if TYPE_CHECKING:
    import numpy as np

_PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_AT_ONCE = 8192
"""Documents passed to vLLM together."""

_explained = functools.partial(
    explained, memory_advice="change embedding.vllm.gpu_memory", memory_key="embedding.vllm.gpu_memory"
)


class VllmEmbedder(Embedder):
    """An embedding model in vLLM; see `Embedder`.

    Documents are truncated by the model's tokenizer, as in sentence-transformers, and passed as token ids.

    Raises:
        InputError: vLLM is not installed, is built for another device, or lacks memory.
        Fault: vLLM did not start, for another reason, such as an unknown model.
    """

    def __init__(self, settings: Embedding, folder: Path, device: str = "auto"):
        self.settings = settings
        place = model_folder(settings.model, folder)
        go_offline()
        if place is None:
            check_available(settings.model, "embedding.model")
        model = str(place) if place else settings.model
        llm, cpu = import_vllm(
            IN_ONE_PROCESS,
            "embedding.vllm.python",
            "embedding.engine=sentence_transformers runs anywhere",
            "embedding.engine",
        )
        if device != "auto" and (device == "cpu") != cpu:
            built = "CPUs" if cpu else "GPUs"
            raise InputError(
                f"the installed vLLM is built for {built}, and launch.device is {device}", key="embedding.engine"
            )
        limit = _limit(model, place)
        self.max_tokens = min(settings.max_tokens, limit)
        if self.max_tokens < settings.max_tokens:
            say(f"embed: {settings.model} reads {limit} tokens at most, embedding.max_tokens is {settings.max_tokens}")
        options = settings.vllm
        arguments: JsonObject = {
            "model": model,
            "runner": "pooling",
            "dtype": _PRECISIONS[settings.precision],
            "max_model_len": self.max_tokens,
            **device_arguments(cpu, options.gpu_memory, options.eager),
            "enable_prefix_caching": False,  # documents start differently
            "use_tqdm_on_load": False,
        }
        with _explained("did not start"):
            self._model = llm(**arguments)
            self._tokenizer = self._model.get_tokenizer()
        self.dimensions = len(self._embedded(["."])[0])

    def _vectors(self, texts: list[str], progress: Progress | None) -> np.ndarray:
        import numpy as np

        result = np.empty((len(texts), self.dimensions), np.float32)
        begin = 0
        for some in itertools.batched(texts, _AT_ONCE):
            place_vectors(result, range(begin, begin + len(some)), self._embedded(list(some)))
            begin += len(some)
            if progress:
                progress.advance(len(some))
        return result

    def _embedded(self, texts: list[str]) -> list[list[float]]:
        prompted = [self.settings.prompt + text for text in texts]
        ids = self._tokenizer(prompted, truncation=True, max_length=self.max_tokens)["input_ids"]
        with _explained("stopped"):
            outputs = self._model.embed([{"prompt_token_ids": tokens} for tokens in ids], use_tqdm=False)
        return [output.outputs.embedding for output in outputs]


def _limit(model: str, place: Path | None) -> int:
    """Maximum number of tokens of the model: the value for sentence-transformers in its folder, or its positions."""
    from transformers import AutoConfig

    said = place / "sentence_bert_config.json" if place else None
    if said is not None and said.exists():
        limit = files.read_json(said).get("max_seq_length")
        if isinstance(limit, int):
            return limit
    try:
        return int(AutoConfig.from_pretrained(model).max_position_embeddings)
    except Exception as error:  # transformers and the hub raise many types
        raise InputError(f"'{model}' cannot be loaded: {error}", key="embedding.model") from error
