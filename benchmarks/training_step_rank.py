"""One rank of benchmarks/training_step.py; torchrun starts it. Not for use by itself.

    training_step_rank.py mock|sbp [--sdpa-without-mask] [Megatron flags]

`mock` is the peer: Megatron's pretrain() with Megatron's MockGPTDataset through its BlendedMegatronDatasetBuilder, and
the forward step of Megatron-LM's pretrain_gpt.py for one rank; nothing of ours but what lets Megatron run on a CPU.
`sbp` is the main() of megatron_sbp.training.pretrain. Both print the CPU time of every iteration, logging included, and
how long it waited for the data loader.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Any


class Watch:
    """Counts a step's CPU seconds (this process, all its threads) and those in which it waits for micro-batches."""

    def __init__(self) -> None:
        from megatron.core.rerun_state_machine import RerunDataIterator

        self.wait, self.used = 0.0, time.process_time()
        step = RerunDataIterator.__next__

        def timed(iterator: Any) -> Any:
            started = time.perf_counter()
            try:
                return step(iterator)
            finally:
                self.wait += time.perf_counter() - started

        RerunDataIterator.__next__ = timed

    def print_every_step(self) -> None:
        """Prints a line after every training step."""
        import megatron.training.training as training

        train_step = training.train_step

        def step(*args: Any, **kwargs: Any) -> Any:
            result = train_step(*args, **kwargs)
            used = time.process_time()
            print(f"watch (ms): CPU {1000 * (used - self.used):.3f}, waited {1000 * self.wait:.3f}", flush=True)
            self.wait, self.used = 0.0, used
            return result

        training.train_step = step


def leave_out_the_mask() -> None:
    """Lets our attention forget the segments of packed pairs: the same data, plain causal attention."""
    from megatron_sbp.training.attention import SdpaAttention

    forward = SdpaAttention.forward
    SdpaAttention.forward = lambda self, query, key, value, mask, *rest, **named: forward(  # type: ignore[method-assign]
        self, query, key, value, None, *rest, **named
    )


def mock_datasets(num_samples: Any, vp_stage: int | None = None) -> Any:
    """Megatron's mock datasets."""
    from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
    from megatron.core.datasets.gpt_dataset import GPTDatasetConfig, MockGPTDataset
    from megatron.core.tokenizers.utils.build_tokenizer import build_tokenizer
    from megatron.training import get_args

    args = get_args()
    config = GPTDatasetConfig(
        random_seed=args.seed,
        sequence_length=args.seq_length,
        blend=None,
        blend_per_split=None,
        split="99,1,0",
        tokenizer=build_tokenizer(args),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
    )
    return BlendedMegatronDatasetBuilder(MockGPTDataset, num_samples, lambda: True, config).build()


def mock_forward_step(data_iterator: Any, model: Any, return_schedule_plan: bool = False) -> Any:
    """As pretrain_gpt.py has it, on one rank."""
    batch = next(data_iterator)
    names = ("tokens", "labels", "loss_mask", "position_ids")
    tokens, labels, mask, positions = (batch[name].cuda(non_blocking=True) for name in names)
    losses = model(tokens, positions, None, labels=labels)
    return losses, partial(mock_loss, mask)


def mock_loss(mask: Any, losses: Any) -> Any:
    """Masked sum, number of tokens, and both for the log."""
    import torch

    mask = mask.view(-1).float()
    total = torch.sum(losses.float().view(-1) * mask)
    count = mask.sum().clone().detach().to(torch.int)
    return total, count, {"lm loss": torch.cat([total.clone().detach().view(1), count.view(1)])}


mock_datasets.is_distributed = True  # type: ignore[attr-defined]


def mock() -> None:
    """The peer."""
    from megatron_sbp.training import cpu, pretrain

    pretrain._quiet()
    on_cpu = cpu.install()
    sys.argv += pretrain._machine_flags(on_cpu)
    import megatron.core.datasets.utils as dataset_utils
    import megatron.training.training as training
    from megatron.core.enums import ModelType
    from megatron.training import pretrain as train
    from megatron.training.argument_utils import gpt_config_from_args, pretrain_cfg_container_from_args
    from megatron.training.arguments import parse_and_validate_args

    dataset_utils.compile_helpers = lambda: None  # the wheel carries them ready built
    training.initialize_megatron = partial(training.initialize_megatron, allow_no_cuda=on_cpu)
    args = parse_and_validate_args()
    Watch().print_every_step()
    container = pretrain_cfg_container_from_args(args, gpt_config_from_args(args))
    train(container, mock_datasets, ModelType.encoder_or_decoder, mock_forward_step)


def watched() -> int:
    """Ours."""
    from megatron_sbp.training import cpu, pretrain

    cpu.install()
    if "--sdpa-without-mask" in sys.argv:
        sys.argv.remove("--sdpa-without-mask")
        leave_out_the_mask()
    Watch().print_every_step()
    return pretrain.main()


if __name__ == "__main__":
    kind = sys.argv.pop(1)
    sys.exit(mock() if kind == "mock" else watched())
