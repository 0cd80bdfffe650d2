"""Generation with vLLM, on GPUs."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.synthesis.engine import EngineSettings, Written
from megatron_sbp.synthesis.generations import Generation
from megatron_sbp.synthesis.sampling import stream_keys


class VllmEngine:
    """The interface of TransformersEngine on vLLM.

    Every request has a seed of its own, from the generation's identity. vLLM batches requests as they come, and its
    kernels may round differently in other batches: a text can differ between two runs where two tokens are
    nearly as probable.

    Raises:
        InputError: vLLM is not installed.
    """

    whole_shards = True

    def __init__(self, settings: EngineSettings):
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        try:
            from vllm import LLM
        except ImportError as error:
            raise InputError(
                "vLLM is not installed (pip install vllm, on a machine with a GPU); synthesis.engine=transformers runs "
                "anywhere",
                key="synthesis.engine",
            ) from error
        self.settings = settings
        self.model = LLM(
            model=str(settings.checkpoint),
            dtype={"fp32": "float32", "bf16": "bfloat16"}[settings.precision],
            skip_tokenizer_init=True,
            generation_config="vllm",  # not the checkpoint's own sampling defaults
            seed=settings.seed & 0x7FFFFFFF,
        )

    def write(self, generations: Sequence[Generation], prompts: Sequence[np.ndarray]) -> list[Written]:
        """Writes one text per generation; vLLM makes batches of its own."""
        from vllm import SamplingParams

        settings = self.settings
        parameters = [
            SamplingParams(
                temperature=settings.temperature,
                top_p=settings.top_p,
                max_tokens=settings.max_new_tokens,
                seed=int(key >> np.uint64(33)),
                stop_token_ids=[settings.end_of_document],
                logit_bias=dict.fromkeys(settings.forbidden, -100.0),  # the lowest that vLLM takes
                detokenize=False,
            )
            for key in stream_keys(generations, settings.seed)
        ]
        requests = [{"prompt_token_ids": np.asarray(prompt).tolist()} for prompt in prompts]
        outputs = self.model.generate(requests, parameters, use_tqdm=False)
        return [self._written(output.outputs[0]) for output in outputs]

    def _written(self, completion) -> Written:
        tokens = np.array(completion.token_ids, np.int64)
        finished = completion.finish_reason == "stop"
        if finished and tokens.size and tokens[-1] == self.settings.end_of_document:
            tokens = tokens[:-1]
        return Written(tokens, finished)
