"""Stop signals pass by the processes that write checkpoints."""

from __future__ import annotations

from support.rank_with_children import ended, start


def test_stop_signals_do_not_reach_the_process_through_which_results_of_a_checkpoint_come_back():
    """Megatron spawns it, at the first checkpoint; on GPUs, but nothing of it needs one."""
    body = """
checkpoint_processes.prepare_saving()
from megatron.core.dist_checkpointing.strategies import filesystem_async
queue = filesystem_async.get_write_results_queue()
[server] = multiprocessing.active_children()
print(server.pid, flush=True)
for number in (15, 2, 1, 10, 12):
    os.kill(server.pid, number)
time.sleep(0.5)
queue.put("written")
assert queue.get() == "written"
assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
return 3
"""
    status, error = ended(start(body))
    assert status == 3, error
