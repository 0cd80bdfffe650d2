"""One rank of benchmarks/training_step.py; torchrun starts it. Not for use by itself.

    training_step_rank.py SOCKET NAME mock|sbp [--sdpa-without-mask] [Megatron flags]

`mock` is the peer: Megatron's pretrain() with Megatron's MockGPTDataset through its BlendedMegatronDatasetBuilder, and
the forward step of Megatron-LM's pretrain_gpt.py for one rank; of our code, only the CPU backend runs.
`sbp` is the main() of megatron_sbp.training.pretrain. Before every step both wait at the same gate.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from functools import partial
from typing import Any


class Gate:
    """Holds the training run before every step until the benchmark says go; then reports what the last one took.

    An iteration is everything from one gate to the next: the step, its log, our records. Seconds: by the clock, of this
    process's CPU time with all its threads, and waiting for micro-batches.

    Args:
        path: Unix socket of the benchmark.
        name: of this case.
    """

    def __init__(self, path: str, name: str):
        from megatron.core.rerun_state_machine import RerunDataIterator

        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        self.file = connection.makefile("rw")
        self.say(name)
        self.began: tuple[float, float] | None = None
        self.wait = 0.0
        step = RerunDataIterator.__next__

        def timed(iterator: Any) -> Any:
            started = time.perf_counter()
            try:
                return step(iterator)
            finally:
                self.wait += time.perf_counter() - started

        RerunDataIterator.__next__ = timed

    def say(self, line: str) -> None:
        self.file.write(line + "\n")
        self.file.flush()

    def attach(self) -> None:
        """Puts the gate before every training step."""
        import megatron.training.training as training
        import torch

        train_step = training.train_step

        def step(*args: Any, **kwargs: Any) -> Any:
            torch.cuda.synchronize()  # nothing on a CPU
            if self.began:
                seconds = time.perf_counter() - self.began[0]
                self.say(json.dumps([seconds, time.process_time() - self.began[1], self.wait]))
            else:
                self.say("here")
            self.file.readline()
            self.wait, self.began = 0.0, (time.perf_counter(), time.process_time())
            return train_step(*args, **kwargs)

        training.train_step = step


def leave_out_the_mask() -> None:
    """Lets our attention forget the segments of packed pairs: the same data, plain causal attention."""
    from megatron_sbp.training.megatron.attention import SdpaAttention

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


def mock(path: str, name: str) -> None:
    """The peer."""
    from megatron_sbp.training import pretrain, rank_flags
    from megatron_sbp.training.megatron import cpu

    pretrain._quiet()
    options, sys.argv[1:] = rank_flags.process_options(sys.argv[1:])
    on_cpu = cpu.install(device=options.sbp_device)
    sys.argv += rank_flags.machine_flags(on_cpu)
    import megatron.core.datasets.utils as dataset_utils
    import megatron.training.training as training
    from megatron.core.enums import ModelType
    from megatron.training import pretrain as train
    from megatron.training.argument_utils import gpt_config_from_args, pretrain_cfg_container_from_args
    from megatron.training.arguments import parse_and_validate_args

    dataset_utils.compile_helpers = lambda: None  # the wheel carries them ready built
    training.initialize_megatron = partial(training.initialize_megatron, allow_no_cuda=on_cpu)
    args = parse_and_validate_args()
    Gate(path, name).attach()
    container = pretrain_cfg_container_from_args(args, gpt_config_from_args(args))
    train(container, mock_datasets, ModelType.encoder_or_decoder, mock_forward_step)


def ours(path: str, name: str) -> int:
    """Ours."""
    from megatron_sbp.training import pretrain, rank_flags
    from megatron_sbp.training.megatron import cpu

    cpu.install(device=rank_flags.process_options(sys.argv[1:])[0].sbp_device)
    if "--sdpa-without-mask" in sys.argv:
        sys.argv.remove("--sdpa-without-mask")
        leave_out_the_mask()
    Gate(path, name).attach()
    return pretrain.main()


if __name__ == "__main__":
    path, name, kind = sys.argv.pop(1), sys.argv.pop(1), sys.argv.pop(1)
    sys.exit((mock if kind == "mock" else ours)(path, name))
