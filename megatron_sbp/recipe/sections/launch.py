"""Settings of the processes: their number and placement, and the Slurm jobs."""

from __future__ import annotations

from typing import Literal

from megatron_sbp.recipe.sections.section import Section
from megatron_sbp.recipe.values import Count, MemoryLimit, Prose, Switch, Text, TimeLimit, Whole


class Launch(Section):
    """Number and placement of processes. Nothing here changes a byte of documents, pairs, or synthetic text."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA where torch finds it."""
    nodes: Count = 1
    """Machines per training run."""
    ranks_per_node: Count = 1
    """Megatron processes per machine: GPUs, or CPU ranks."""
    tensor_parallel: Count = 1
    """Megatron's --tensor-model-parallel-size."""
    pipeline_parallel: Count = 1
    """Megatron's --pipeline-model-parallel-size."""
    context_parallel: Count = 1
    """Megatron's --context-parallel-size (Transformer Engine only)."""
    threads_per_rank: Count = 1
    """OMP_NUM_THREADS of every CPU rank."""
    distributed_optimizer: Switch = False
    """Megatron's --use-distributed-optimizer."""
    workers: Count = 1
    """Processes on this machine that share the shards of a stage."""


class SlurmJobs(Section):
    """Overrides for the jobs of some stages. null keeps the default request."""

    partition: Text | None = None
    """--partition."""
    account: Text | None = None
    """--account."""
    qos: Text | None = None
    """--qos."""
    constraint: Text | None = None
    """--constraint."""
    time: TimeLimit | None = None
    """--time."""
    memory: MemoryLimit | None = None
    """--mem."""
    cpus_per_task: Count | None = None
    """--cpus-per-task."""
    gpus_per_node: Count | None = None
    """--gpus-per-node of stages that use a GPU."""
    nodes: Count | None = None
    """--nodes of training runs, in place of `launch.nodes`: `{tune: {nodes: 2}}`."""
    sbatch: list[Text] = []
    """Additional sbatch options, after those of `slurm.sbatch`."""


class Slurm(Section):
    """Settings of the sbatch scripts of `sbp submit`."""

    partition: Text | None = None
    """--partition of GPU jobs."""
    cpu_partition: Text | None = None
    """--partition of CPU jobs; null is the same as `partition`."""
    account: Text | None = None
    """--account."""
    qos: Text | None = None
    """--qos."""
    time: TimeLimit = "04:00:00"
    """--time of training runs, which requeue themselves until they are done, and the most that any other job requests
    (HH:MM:SS, D-HH, minutes): other jobs request what their stage needs (slurm/README.md)."""
    gpus_per_node: Count | None = None
    """--gpus-per-node of GPU jobs; null requests none (CPU ranks)."""
    cpus_per_task: Count = 8
    """--cpus-per-task; stages that use few cores request fewer."""
    memory: MemoryLimit | None = None
    """--mem of every job: `64G`, `64000` (megabytes), `0` for all of a node, or `site` for the site's default; null
    requests what each stage needs (slurm/README.md)."""
    constraint: Text | None = None
    """--constraint."""
    stages: dict[Text, SlurmJobs] = {}
    """Overrides for some jobs, by kind (`cpu`, `gpu`, `training`), verb (`tune`: those of every synthesizer and
    replicate), or stage (`tune.random`); the most specific wins: `{cpu: {memory: 16G}, filter: {memory: 200G}}`. Those
    of `synthesize` and `judge` also apply to `pilot` and `judge-pilot`, unless these have their own."""
    array_size: Count = 64
    """Maximum number of array tasks of a sharded stage, further limited by the site's MaxArraySize and the number of
    units."""
    max_requeues: Whole = 100
    """Times a job requeues itself before it gives up."""
    max_retries: Whole = 2
    """Times a job that ends with a fault (a rank crashed or was killed) is retried; not if it fails the same way again
    without having saved anything since."""
    exclude_after: Whole = 2
    """Different faults on a node in this run (RUN/logs/slurm/faults) after which `sbp submit` excludes it, and a job
    that is retried avoids it; 0 excludes none."""
    launcher: Literal["srun", "torchrun", "ft_launcher"] = "srun"
    """Launcher of a training run's ranks. srun: a task per rank. torchrun: a task per node, in which torchrun starts
    the ranks, for sites that require it. ft_launcher: the same with the launcher of nvidia-resiliency-ext, which kills
    ranks that make no progress (`ft_options`); the job is then retried as after any other fault."""
    ft_options: list[Text] = [
        "--ft-rank-section-timeouts=setup:1800,step:600,checkpointing:1800",
        "--ft-rank-out-of-section-timeout=1800",
    ]
    """Options of ft_launcher: by default the seconds that a rank may take to start, for a step, for a checkpoint, and
    for anything else."""
    setup: Prose = ""
    """Shell lines run at the start of every job: modules, virtual environment, NCCL variables."""
    sbatch: list[Text] = []
    """Additional sbatch options, verbatim: `--exclusive`."""
    container_runtime: Literal["pyxis", "apptainer", "edf"] = "pyxis"
    """Container runtime. pyxis: srun --container-image. apptainer: apptainer exec. edf: srun --environment (the
    Container Engine of CSCS), whose file names image and mounts. See docs/containers.md."""
    container_image: Text | None = None
    """Image of every step (edf: name or file of the environment); null runs without a container."""
    container_mounts: Text | None = None
    """Pyxis --container-mounts, or Apptainer --bind: SOURCE:TARGET, separated by commas."""
