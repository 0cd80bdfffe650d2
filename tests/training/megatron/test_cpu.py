"""The CPU backend: nothing is touched where a GPU is, and what needs one is refused with the reason."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from support.forked import forked
from support.megatron_ranks import environment

from megatron_sbp.training.megatron import cpu

UNTOUCHED = """
import importlib
import torch
from megatron_sbp.training.megatron import cpu
torch.cuda.is_available = lambda: True  # as on a machine with a GPU
places = (torch.cuda, torch.distributed, torch.nn.Module, torch.Tensor)
before = {(place, name): getattr(place, name) for place in places for name in dir(place)}
compiled = torch.compile
importlib.reload(cpu)
assert not cpu.install(device="auto")
changed = [name for (place, name), value in before.items() if getattr(place, name) is not value
           and not name.startswith("__")]
assert not changed and torch.compile is compiled, changed
assert not torch.overrides._get_current_function_mode_stack()
print("untouched")
"""


DEVICES = """
from megatron_sbp.training.megatron import cpu
assert cpu.install(device="cpu")
import torch
assert not torch.overrides._get_current_function_mode_stack()
x = torch.ones(2, device="cuda")
made = [
    x, torch.zeros(2, device=torch.device("cuda", 0)), torch.tensor([1], device=0), torch.empty_like(x, device="cuda"),
    torch.arange(3, device="cuda:0"), torch.randn(2, device="cuda", pin_memory=False), x.new_zeros(2, device="cuda"),
    torch.full((2,), 1.0, device=torch.cuda.current_device()), x.to("cuda"), x.to(device="cuda"), x.to(0), x.cuda(),
    x.cuda(non_blocking=True), torch.empty(2, pin_memory=True), x.pin_memory(), torch.as_tensor([1], device="cuda"),
    x.to(torch.device("cuda"), torch.float64), torch.nn.Linear(2, 2, device="cuda").weight,
    torch.nn.Linear(2, 2).cuda().weight, torch.randint(0, 3, (2,), device="cuda"), torch.eye(2, device="cuda"),
]
assert {tensor.device.type for tensor in made} == {"cpu"}
assert x.type() == "torch.cuda.FloatTensor" and x.type(torch.float64).dtype == torch.float64
assert x.to(torch.bfloat16).dtype == torch.bfloat16 and x.to(torch.ones(1, dtype=torch.int8)).dtype == torch.int8
with torch.device("meta"):
    assert torch.zeros(2).device.type == torch.nn.Linear(2, 2).weight.device.type == "meta"
print("all on the CPU")
"""


def test_nothing_is_touched_where_a_gpu_is():
    assert forked(lambda: exec(UNTOUCHED, {})) == (0, "untouched\n")


def test_every_way_to_name_a_device_leads_to_the_cpu(run_beside_megatron):
    """And no operation goes through Python that does not name one."""
    assert run_beside_megatron(DEVICES).splitlines()[-1] == "all on the CPU"


def test_it_refuses_to_come_late():
    """Megatron binds names at import, and a model would begin with other weights."""

    def late() -> None:
        importlib.import_module("megatron.training.training")
        cpu.install(device="cpu")

    status, printed = forked(late)
    assert status == 1 and "install the CPU backend before megatron.training" in printed


@pytest.mark.parametrize("name", cpu.REFUSED_ON_CPU)
def test_what_needs_a_gpu_is_refused_with_the_reason(name):
    allowed, reason = cpu.REFUSED_ON_CPU[name]
    cpu.refuse_gpu_flags(SimpleNamespace(**{name: allowed}))
    with pytest.raises(ValueError, match="--" + name.replace("_", "-")) as error:
        cpu.refuse_gpu_flags(SimpleNamespace(**{name: 2 if name == "context_parallel_size" else "yes"}))
    assert reason in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_rank_that_was_promised_a_gpu_does_not_train_on_the_cpu():
    done = subprocess.run(
        [sys.executable, "-m", "megatron_sbp.training.pretrain", "--sbp-data", "x/data.json", "--sbp-device", "cuda"],
        env={**environment(), "RANK": "3"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    reason = "RuntimeError: launch.device is cuda, but torch finds no CUDA device here"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, f"sbp: fault: rank 3: {reason}")
