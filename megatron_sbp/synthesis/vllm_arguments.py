"""Converts the recipe's `synthesis.vllm` to arguments of vLLM's engine and requests."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.base.vllm_library import IN_ONE_PROCESS, device_arguments
from megatron_sbp.recipe.sections import Vllm
from megatron_sbp.synthesis.engine import EngineSettings

MOST_TEMPERATURE = 2.0
"""Maximum that vLLM accepts."""

_ASKED = re.compile(r"is less than desired GPU memory utilization \(([\d.]+),")
"""vLLM's error if its share of the GPU's memory is not free. On a CPU, it is a share of the machine's memory and
stays."""

_MOST_AT_ONCE = 256
"""vLLM's default for `max_num_seqs` on small devices, from which it is lowered if vLLM did not report its own."""

_NGRAM = {"method": "ngram", "prompt_lookup_min": 2, "prompt_lookup_max": 4}


def environment(options: Vllm) -> dict[str, str]:
    """Environment variables that vLLM must see when it is imported."""
    return {
        # Set by the recipe and not the shell, since it affects the texts.
        "VLLM_BATCH_INVARIANT": str(int(options.batch_invariant)),
        **IN_ONE_PROCESS,
    }


def engine_arguments(settings: EngineSettings, cpu: bool) -> JsonObject:
    """Keyword arguments of `vllm.LLM`.

    Args:
        settings: with `vllm`.
        cpu: whether this vLLM is built for CPUs.

    Raises:
        InputError: a setting that vLLM, or this build of it, does not support.
    """
    options = settings.vllm
    assert options is not None
    if settings.device != "auto" and (settings.device == "cpu") != cpu:
        built = "CPUs" if cpu else "GPUs"
        raise InputError(
            f"the installed vLLM is built for {built}, and launch.device is {settings.device}", key="synthesis.engine"
        )
    if settings.temperature > MOST_TEMPERATURE:  # tools/synthesize.py has no recipe that was checked
        message = f"vLLM takes {MOST_TEMPERATURE:g} at most, not {settings.temperature:g}"
        raise InputError(message, key="synthesis.temperature")
    if cpu and options.chunked_prefill:
        # vLLM undoes the random draw after a chunk, and torch's CPU generator cannot be rewound.
        raise InputError(
            "vLLM on CPUs cannot use chunked prefill when every text has its own seed; remove this key",
            key="synthesis.vllm.chunked_prefill",
        )
    if cpu and options.speculative_tokens:
        # Seen with 0.32: they pass through a kernel for integers, so that 0.9 becomes 0.
        raise InputError(
            "vLLM's speculative decoding on CPUs rounds temperature and top_p down to whole numbers; remove this key",
            key="synthesis.vllm.speculative_tokens",
        )
    arguments: JsonObject = {
        "model": str(settings.checkpoint),
        "dtype": {"fp32": "float32", "bf16": "bfloat16"}[settings.precision],
        "skip_tokenizer_init": True,
        "generation_config": "vllm",  # not the checkpoint's own sampling defaults
        "seed": settings.seed & 0x7FFFFFFF,  # for operations without their own seed, none of which matter here
        "tensor_parallel_size": options.tensor_parallel,
        "enable_prefix_caching": options.prefix_caching,
        "enable_chunked_prefill": not cpu if options.chunked_prefill is None else options.chunked_prefill,
        **device_arguments(cpu, options.gpu_memory, options.eager),
        "use_tqdm_on_load": False,
    }
    if options.max_num_seqs is not None:
        arguments["max_num_seqs"] = options.max_num_seqs
    if options.speculative_tokens:
        arguments["speculative_config"] = {**_NGRAM, "num_speculative_tokens": options.speculative_tokens}
    return arguments


def lowered_arguments(arguments: Mapping[str, JsonValue], at_once: int | None, reason: str) -> JsonObject | None:
    """Arguments of `vllm.LLM` for a retry after an out-of-memory error, or None if nothing can be lowered.

    Args:
        arguments: of the failed start.
        at_once: its `max_num_seqs`; None if vLLM chose it without reporting it.
        reason: vLLM's error.

    Returns:
        Half of `max_num_seqs`. If vLLM asked for a larger share of a GPU's memory than is free, also three quarters of
        that share.
    """
    half = (at_once or _MOST_AT_ONCE) // 2
    lowered = {**arguments, **({"max_num_seqs": half} if half else {})}
    asked = _ASKED.search(reason)
    if asked:
        lowered["gpu_memory_utilization"] = round(0.75 * float(asked[1]), 4)
    return lowered if half or asked else None


def request_arguments(settings: EngineSettings) -> Mapping[str, JsonValue]:
    """Keyword arguments of `vllm.SamplingParams` that all requests share."""
    options = settings.vllm
    assert options is not None
    shared = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_tokens": settings.max_new_tokens,
        "stop_token_ids": [settings.end_of_document],
        "detokenize": False,
    }
    if not options.speculative_tokens:
        # Minus infinity, which no logit can offset. A mask of allowed ids says the same, but vLLM's present runner
        # takes 1,024 ids at most, and every request would carry all others.
        shared["logit_bias"] = dict.fromkeys(settings.forbidden, float("-inf"))
    return shared


def request_seed(key: np.uint64) -> int:
    """A request's seed: the upper 63 bits of its stream's key.

    vLLM holds seeds in 64 bits with a sign, and takes -1 for none. Its build for CPUs uses the lower 32 of these: two
    texts of a large run can then share a stream, though never a prompt and a stream unless they are the same text.
    """
    return int(key >> np.uint64(1))
