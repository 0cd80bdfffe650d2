"""Generation with vLLM: requests go in as token ids, and texts come back as they finish."""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.base.vllm_library import OutOfMemory, explained, import_vllm
from megatron_sbp.synthesis.engine import EngineSettings, Written
from megatron_sbp.synthesis.generations import Generation
from megatron_sbp.synthesis.token_sampling import stream_keys
from megatron_sbp.synthesis.vllm_arguments import (
    engine_arguments,
    environment,
    lowered_arguments,
    request_arguments,
    request_seed,
)

if TYPE_CHECKING:
    from vllm import CompletionOutput, SamplingParams

_explained = functools.partial(
    explained,
    memory_advice="lower synthesis.vllm.max_num_seqs, change synthesis.vllm.gpu_memory, or raise "
    "synthesis.vllm.tensor_parallel",
    memory_key="synthesis.vllm.gpu_memory",
)


class VllmEngine:
    """Generates texts for token ids with vLLM, in order of completion.

    Every request has its own seed, derived from the generation's identity. vLLM batches requests as they arrive, and
    its kernels may round differently in different batches: a text can differ between two runs if two tokens are almost
    equally probable, unless `synthesis.vllm.batch_invariant` is set.

    If memory is short, at the start or later, it restarts once with half as many concurrent texts.

    Args:
        settings: with `vllm`.

    Raises:
        InputError: vLLM is not installed, is built for another device, or lacks memory with half as many texts, too.
        Fault: vLLM did not start, for another reason.
    """

    def __init__(self, settings: EngineSettings):
        assert settings.vllm is not None
        llm, cpu = import_vllm(
            environment(settings.vllm),
            "synthesis.vllm.python",
            "synthesis.engine=transformers runs anywhere",
            "synthesis.engine",
        )
        self.settings = settings
        self._llm, self._arguments, self._lowered = llm, engine_arguments(settings, cpu=cpu), False
        self._at_once: int | None = self._arguments.get("max_num_seqs")
        try:
            self._start()
            return
        except OutOfMemory as error:
            self._lower(error)
        self._start()  # not in the handler: the frames of the exception hold memory

    def _start(self) -> None:
        with _explained("did not start"):
            self.model = self._llm(**self._arguments)
        config = self.model.llm_engine.vllm_config
        self._at_once = config.scheduler_config.max_num_seqs
        self._context: int = config.model_config.max_model_len
        # Enough that vLLM never waits for the next request, but no more: avoids a second copy of a shard's prompts.
        self._requests = 2 * config.scheduler_config.max_num_seqs

    def _lower(self, error: OutOfMemory) -> None:
        """Halves the number of concurrent texts; raises the error if that was done before or is not possible."""
        lowered = None if self._lowered else lowered_arguments(self._arguments, self._at_once, str(error))
        if lowered is None:
            raise error
        changed = ", ".join(f"{name}={value}" for name, value in lowered.items() if value != self._arguments.get(name))
        self._lowered, self._arguments = True, lowered
        say(f"{error}; trying once more with {changed}")

    def stream(self, generations: Sequence[Generation], prompts: Sequence[np.ndarray]) -> Iterator[tuple[int, Written]]:
        """Writes one text per generation; see `StreamingEngine`.

        Raises:
            InputError: a prompt leaves no room for `max_new_tokens`, or memory is short with half as many texts, too.
            Fault: vLLM stopped for another reason.
        """
        self._check_room(prompts)
        missing = dict.fromkeys(range(len(prompts)))
        try:
            for place, text in self._stream(missing, generations, prompts):
                del missing[place]
                yield place, text
            return
        except OutOfMemory as error:
            self._lower(error)
        del self.model  # its key-value cache takes the memory of the next one's
        gc.collect()
        self._start()
        yield from self._stream(missing, generations, prompts)

    def _stream(
        self, places: Iterable[int], generations: Sequence[Generation], prompts: Sequence[np.ndarray]
    ) -> Iterator[tuple[int, Written]]:
        """The texts at these indices, until memory is short."""
        engine = self.model.llm_engine
        keys = stream_keys(generations, self.settings.seed)
        waiting = iter(list(places))
        running: set[str] = set()
        try:
            while True:
                with _explained("stopped"):
                    for place in itertools.islice(waiting, self._requests - len(running)):
                        prompt = {"prompt_token_ids": np.asarray(prompts[place]).tolist()}
                        engine.add_request(str(place), prompt, self._parameters(keys[place]))
                        running.add(str(place))
                    finished = [output for output in engine.step() if output.finished] if running else []
                for output in finished:
                    running.remove(output.request_id)
                    yield int(output.request_id), self._written(output.outputs[0])
                if not running and not finished:
                    return
        finally:
            if running:  # the caller stopped early, or vLLM died
                with contextlib.suppress(Exception):
                    engine.abort_request(list(running))

    def _check_room(self, prompts: Sequence[np.ndarray]) -> None:
        longest, new = max(map(len, prompts), default=0), self.settings.max_new_tokens
        if longest + new > self._context:
            raise InputError(
                f"a prompt of {longest:,} tokens and {new:,} new ones do not fit into the synthesizer's context of "
                f"{self._context:,}",
                file=self.settings.checkpoint,
            )

    def _parameters(self, key: np.uint64) -> SamplingParams:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        parameters = SamplingParams(
            **request_arguments(self.settings), seed=request_seed(key), output_kind=RequestOutputKind.FINAL_ONLY
        )
        if self.settings.vllm and self.settings.vllm.speculative_tokens:
            # Speculative decoding takes no bias; words that must not come, which are of one token each, it takes, but
            # only as text. These are their ids.
            parameters._bad_words_token_ids = [[token] for token in self.settings.forbidden]
        return parameters

    def _written(self, completion: CompletionOutput) -> Written:
        tokens = np.array(completion.token_ids, np.int64)
        finished = completion.finish_reason == "stop"
        if finished and tokens.size and tokens[-1] == self.settings.end_of_document:
            tokens = tokens[:-1]
        return Written(tokens, finished)
