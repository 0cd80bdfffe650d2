"""Generation with vLLM, on GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from megatron_sbp.errors import InputError
from megatron_sbp.synthesis.draws import Draw
from megatron_sbp.synthesis.sampling import stream_keys
from megatron_sbp.synthesis.transformers_engine import Written


class VllmEngine:
    """The interface of TransformersEngine on vLLM.

    Every request has a seed of its own, from the draw's identity. vLLM batches requests as they come, and its kernels
    may round differently in other batches: a text can differ between two runs where two tokens are nearly as probable.

    Args: those of TransformersEngine; the device is vLLM's.

    Raises:
        InputError: vLLM is not installed.
    """

    def __init__(
        self,
        checkpoint: Path,
        end_of_document: int,
        forbidden: Sequence[int],
        temperature: float,
        top_p: float,
        max_new_tokens: int,
        seed: int,
        precision: str = "bf16",
        device: str = "auto",
    ):
        try:
            from vllm import LLM
        except ImportError as error:
            raise InputError(
                "vLLM is not installed (pip install vllm, on a machine with a GPU); synthesis.engine=transformers runs "
                "anywhere",
                key="synthesis.engine",
            ) from error
        self.model = LLM(
            model=str(checkpoint),
            dtype={"fp32": "float32", "bf16": "bfloat16"}[precision],
            skip_tokenizer_init=True,
            enable_prefix_caching=False,
            seed=seed,
        )
        self.end, self.forbidden, self.seed = end_of_document, list(forbidden), seed
        self.temperature, self.top_p, self.limit = temperature, top_p, max_new_tokens

    def write(self, draws: Sequence[Draw], prompts: Sequence[np.ndarray]) -> list[Written]:
        """Writes one text per draw; vLLM makes batches of its own."""
        from vllm import SamplingParams

        keys = stream_keys(draws, self.seed)
        parameters = [
            SamplingParams(
                temperature=self.temperature,
                top_p=self.top_p,
                max_tokens=self.limit,
                seed=int(key >> np.uint64(33)),
                stop_token_ids=[self.end],
                logit_bias=dict.fromkeys(self.forbidden, -100.0),
                detokenize=False,
            )
            for key in keys
        ]
        requests = [{"prompt_token_ids": np.asarray(prompt).tolist()} for prompt in prompts]
        outputs = self.model.generate(requests, parameters, use_tqdm=False)
        results = []
        for output in outputs:
            ids = list(output.outputs[0].token_ids)
            finished = bool(ids) and ids[-1] == self.end
            results.append(Written(np.array(ids[:-1] if finished else ids, np.int64), finished))
        return results
