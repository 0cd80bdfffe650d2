"""Starts training runs in processes that have imported torch and Megatron already: a start costs a second, not ten.

    python rank_server.py      # reads a job per line from standard input, answers with a line: its exit status

A job is JSON: {"arguments": [...], "ranks": N, "output": file, "timeout": seconds, "began": seconds ago}. Every rank
is a fork that runs the real `megatron_sbp.training.pretrain.main`, with the environment that torchrun would give it. A
rank that fails takes the others with it. "began" sets back the clock of --exit-duration-in-mins. With "program", the
text of one, every rank runs that instead.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import signal
import sys
import time
import traceback

from megatron_sbp.base.processes import held_port


def rank(number: int, job: dict, port: int) -> None:
    """Becomes one rank; does not return."""
    status = 1
    try:
        os.setpgid(0, 0)
        descriptor = os.open(job["output"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.environ.update(
            RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE=str(job["ranks"]), LOCAL_WORLD_SIZE=str(job["ranks"]),
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
        )  # fmt: skip
        sys.argv = ["pretrain.py", *job["arguments"]]
        if "program" in job:
            exec(compile(job["program"], "<program>", "exec"), {"__name__": "__main__"})
            sys.exit(0)
        training = importlib.import_module("megatron.training.training")
        training._TRAIN_START_TIME = time.time() - job.get("began", 0)
        status = importlib.import_module("megatron_sbp.training.pretrain").main()
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run(job: dict) -> int:
    """Runs all ranks; the exit status of the first that failed, or 0."""
    with held_port() as port:  # of the suite's other processes none may take it before rank 0 listens
        return run_at(port, job)


def run_at(port: int, job: dict) -> int:
    running = {}
    for number in range(job["ranks"]):
        process = os.fork()
        if process == 0:
            rank(number, job, port)
        running[process] = number
    result, deadline = 0, time.monotonic() + job["timeout"]
    patience = None
    while running:
        process, status = os.waitpid(-1, os.WNOHANG)
        if process in running:
            del running[process]
            code = os.waitstatus_to_exitcode(status)
            if code and not result:
                result, patience = code, time.monotonic() + 10  # ranks that also know of it leave by themselves
            continue
        if time.monotonic() > min(deadline, patience or deadline):
            result = result or 124
            for process in running:
                os.killpg(process, signal.SIGKILL)
            deadline, patience = time.monotonic() + 60, None
        time.sleep(0.01)
    return result


def main() -> None:
    cpu = importlib.import_module("megatron_sbp.training.megatron.cpu")
    cpu.install(device="cpu")  # before anything of megatron.training
    importlib.import_module("megatron_sbp.training.megatron.hooks")
    importlib.import_module("megatron_sbp.training.data.datasets")
    importlib.import_module("megatron_sbp.training.megatron.layer_spec")
    importlib.import_module("megatron.training.training")
    # What a rank would import at its first step: seconds of it.
    for name in ("torch._dynamo", "megatron.core.tokenizers.text", "megatron.core.dist_checkpointing", "numba"):
        importlib.import_module(name)
    importlib.import_module("transformers").PreTrainedTokenizerFast  # noqa: B018  loaded when it is named
    torch = importlib.import_module("torch")
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))]).step()
    importlib.import_module("megatron_sbp.training.data.blended_dataset").interleave(
        [2, 1]
    )  # numba reads what it compiled
    importlib.import_module("megatron.training.arguments").add_megatron_arguments(argparse.ArgumentParser())
    gc.collect()
    gc.freeze()  # or every fork would copy the memory of what the collector looks at
    print("ready", flush=True)
    for line in sys.stdin:
        print(run(json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
