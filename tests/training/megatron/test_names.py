"""Every name of Megatron that we replace, wrap or count on is still there: an upgrade fails here, and says where."""

from __future__ import annotations

import importlib
import inspect

import pytest

from megatron_sbp.training.megatron import cpu, optimizer_resume
from megatron_sbp.training.megatron import hooks as journal


@pytest.mark.parametrize("module, name", cpu.MEGATRON_NAMES)
def test_replaced_by_the_cpu_backend(module, name):
    assert hasattr(importlib.import_module(module), name), f"{module}.{name} is gone: see megatron/cpu.py"


@pytest.mark.parametrize("name", journal.WRAPPED)
def test_wrapped_by_the_journal(name):
    training = importlib.import_module("megatron.training.training")
    assert callable(getattr(training, name)), f"training.{name} is gone: see megatron_sbp/training/megatron/hooks.py"
    # Wrapping only works on what Megatron's loop looks up by this name.
    callers = {"train": training.pretrain, "evaluate": training.evaluate_and_print_results}
    assert f"{name}(" in inspect.getsource(callers.get(name, training.train)), f"training.{name} is not called any more"


def test_arguments_that_the_journal_reads():
    training = importlib.import_module("megatron.training.training")
    parameters = list(inspect.signature(training.training_log).parameters)
    assert parameters[:4] == ["loss_dict", "total_loss_dict", "learning_rate", "iteration"]
    assert parameters[4:8] == ["loss_scale", "report_memory_flag", "skipped_iter", "grad_norm"]
    names = list(inspect.signature(training.train).parameters)
    assert [names[place] for place in (0, 1, 5, 7)] == ["forward_step_func", "model", "valid_data_iterator", "config"]
    names = list(inspect.signature(training.evaluate_and_print_results).parameters)
    wanted = ["prefix", "forward_step_func", "data_iterator", "model", "iteration"]
    assert names[:7] == [*wanted, "process_non_loss_data_func", "config"]
    names = list(inspect.signature(training.checkpoint_and_decide_exit).parameters)
    assert names[3] == "iteration" and "args.save_interval" in inspect.getsource(training.checkpoint_and_decide_exit)
    assert list(inspect.signature(training.num_floating_point_operations).parameters)[:2] == ["args", "batch_size"]


@pytest.mark.parametrize("name", optimizer_resume.REPLACED)
def test_wrapped_for_an_exact_resume(name):
    module = importlib.import_module("megatron.core.optimizer.distrib_optimizer")
    place = "see megatron_sbp/training/megatron/optimizer_resume.py"
    assert hasattr(module, "HAVE_APEX_OR_TE"), place
    function = getattr(module.DistributedOptimizer, name, None)
    assert function, f"DistributedOptimizer.{name} is gone: {place}"
    arguments = {
        "sharded_state_dict": ["self", "model_sharded_state_dict", "is_loading"],
        "_set_main_param_and_optimizer_states": ["self", "model_param", "tensors"],
        "load_state_dict": ["self", "state_dict"],
    }
    assert list(inspect.signature(function).parameters)[: len(arguments[name])] == arguments[name], place


def test_the_default_that_makes_virtual_stages_wrong_on_gloo():
    """pretrain.py turns `deallocate_pipeline_outputs` off on CPU ranks; Megatron's arguments turn it on."""
    source = inspect.getsource(importlib.import_module("megatron.training.argument_utils"))
    assert "kw_args['deallocate_pipeline_outputs'] = True" in source


def test_the_checkpoint_writer_that_ends_with_its_rank():
    """checkpoint_processes.py replaces its loop; rank_flags.py adds flags without which --async-save does nothing."""
    utils = importlib.import_module("megatron.core.dist_checkpointing.strategies.async_utils")
    caller = utils.PersistentAsyncCaller
    assert isinstance(inspect.getattr_static(caller, "async_loop"), staticmethod)
    assert "target=PersistentAsyncCaller.async_loop" in inspect.getsource(caller._get_process)
    initialize = inspect.getsource(importlib.import_module("megatron.training.initialize"))
    assert "init_persistent_async_worker(args.rank, 'forkserver')" in initialize
    arguments = inspect.getsource(importlib.import_module("megatron.training.arguments"))
    assert "if not args.use_persistent_ckpt_worker:" in arguments


def test_what_the_hybrid_model_counts_on():
    """hybrid_stack.py and model_builder.py: Megatron's stack, the checkpoints of a GPTModel, and the loader's check."""
    stack = importlib.import_module("megatron.core.models.hybrid.hybrid_block").HybridStack
    parameters = list(inspect.signature(stack.__init__).parameters)
    assert parameters[1:3] == ["config", "submodules"] and "post_layer_norm" in parameters
    assert "self.final_norm(" in inspect.getsource(stack.forward)
    block = importlib.import_module("megatron.core.transformer.transformer_block")
    layers = inspect.getsource(block.TransformerBlock.sharded_state_dict)
    assert "(0, global_layer_offset, num_layers)" in layers and "LayerNormImpl" in vars(block)
    checkpointing = importlib.import_module("megatron.training.checkpointing")
    function = checkpointing._maybe_setup_gpt_to_hybrid_load
    assert list(inspect.signature(function).parameters) == ["args", "ckpt_args", "model"]
    assert "return None, False" in inspect.getsource(function)
    assert "_maybe_setup_gpt_to_hybrid_load(args, ckpt_args, model)" in inspect.getsource(checkpointing.load_checkpoint)
