"""The startup banner of a training run: model, layout, data, and fused and unfused operations."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version

import torch

from megatron_sbp.base.gpus import peak_tflops
from megatron_sbp.training.megatron import state
from megatron_sbp.training.megatron.attention import has_packed_kernel
from megatron_sbp.training.megatron.forward import PretrainCallbacks
from megatron_sbp.training.optional_packages import UNFUSED


class StartupBanner:
    """Collects the facts about a training run before its first step.

    Args:
        trainer: the training run.
        on_cpu: whether it runs on CPU ranks.
    """

    def __init__(self, trainer: PretrainCallbacks, on_cpu: bool):
        self.trainer, self.on_cpu = trainer, on_cpu
        self.args = trainer.args
        self.device = "CPU" if on_cpu else torch.cuda.get_device_name()
        self.peak: float | None = self.args.sbp_peak_tflops or (None if on_cpu else peak_tflops(self.device))
        """Peak TFLOP/s of one device for MFU; None if neither given nor known."""
        self.flops_per_sample = 0.0
        """Forward and backward FLOPs of a sequence by Megatron's formula; set by `text`."""

    def text(self, model: list[torch.nn.Module]) -> str:
        """The banner. Every rank must call it, since the number of parameters is a sum over ranks."""
        from megatron.training.training import num_floating_point_operations

        args, trainer = self.args, self.trainer
        self.flops_per_sample = num_floating_point_operations(args, args.global_batch_size) / args.global_batch_size
        lines = [
            ("training", f"{trainer.folder.name}, step {args.iteration} of {args.train_iters}"),
            ("model", f"{_parameters(model):,} parameters, {self._model()}"),
            ("layout", self._layout()),
            ("batch", self._batch()),
            *self._data(),
            ("attention", self._attention()),
            *self._unfused(),
            ("device", self._device()),
            ("versions", ", ".join(f"{name} {version(name)}" for name in ("megatron-core", "torch"))),
        ]
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"sbp: {name:{width}}  {text}" for name, text in lines)

    def _model(self) -> str:
        args = self.args
        precision = "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"
        name = "HybridModel" if args.sbp_model_builder == "hybrid" else "GPTModel"
        return (
            f"{name}, {args.num_layers} layers, hidden size {args.hidden_size:,}, {args.num_attention_heads} heads in "
            f"{args.num_query_groups} groups, {precision}, {self.flops_per_sample:.3g} FLOPs a sequence"
        )

    def _layout(self) -> str:
        args = self.args
        text = (
            f"{args.world_size} ranks = data {args.data_parallel_size} x tensor {args.tensor_model_parallel_size} x "
            f"pipeline {args.pipeline_model_parallel_size} x context {args.context_parallel_size}"
        )
        if args.virtual_pipeline_model_parallel_size:
            text += f", {args.virtual_pipeline_model_parallel_size} virtual stages"
        if args.sequence_parallel:
            text += ", sequence parallel"
        return text + (", distributed optimizer" if args.use_distributed_optimizer else "")

    def _batch(self) -> str:
        args = self.args
        micro = args.global_batch_size // (args.micro_batch_size * args.data_parallel_size)
        return (
            f"{args.global_batch_size:,} sequences of {args.seq_length:,} tokens = {args.data_parallel_size} ranks x "
            f"{micro} micro-batches of {args.micro_batch_size}"
        )

    def _data(self) -> list[tuple[str, str]]:
        return [
            (f"data {source.name}", f"{source.samples:,} samples, {dataset.describe()}")
            for source, dataset in zip(self.trainer.data.train, self.trainer.train_datasets, strict=True)
        ]

    def _attention(self) -> str:
        pairs = self.trainer.data.kind == "pairs"
        if self.args.transformer_impl == "transformer_engine":
            half = self.args.bf16 or self.args.fp16
            packed = pairs and has_packed_kernel(torch.bfloat16 if half else torch.float32)
            how = ("pairs by cu_seqlens" if packed else "pairs by torch's attention and a mask") if pairs else ""
            return "Transformer Engine" + (f", {how}" if how else "")
        how = ("pair by pair" if self.on_cpu else "pairs by a mask") if pairs else ""
        return "torch scaled_dot_product_attention" + (f", {how}" if how else "")

    def _unfused(self) -> list[tuple[str, str]]:
        if self.on_cpu:
            return [
                ("not fused", "nothing is: Transformer Engine and Apex are for GPUs, and torch.compile is left out")
            ]
        return [
            ("not fused", f"{name} is not installed: {cost}")
            for module, name, cost in UNFUSED
            if importlib.util.find_spec(module) is None
        ]

    def _device(self) -> str:
        if self.peak is None:
            return f"{self.device}, peak not known: no MFU (--sbp-peak-tflops gives one)"
        given = "given" if self.args.sbp_peak_tflops else "dense bf16, data sheet"
        return f"{self.device}, MFU against {self.peak:g} TFLOP/s ({given})"


def _parameters(model: list[torch.nn.Module]) -> int:
    """Parameters of the whole model; those replicated on several ranks count once."""
    from megatron.core.tensor_parallel import param_is_not_tensor_parallel_duplicate
    from megatron.core.transformer.module import param_is_not_shared

    mine = sum(
        parameter.numel()
        for chunk in model
        for parameter in chunk.parameters()
        if param_is_not_shared(parameter) and param_is_not_tensor_parallel_duplicate(parameter)
    )
    total = torch.tensor([mine], dtype=torch.int64, device="cuda")
    torch.distributed.all_reduce(total, group=state.model_group())
    return int(total.item())
