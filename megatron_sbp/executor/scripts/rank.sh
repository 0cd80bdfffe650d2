#!/usr/bin/env bash
# One rank of a training under srun: tells torch.distributed who it is, and runs the command.
#
#   srun --nodes=2 --ntasks-per-node=8 bash megatron_sbp/executor/scripts/rank.sh python -m megatron_sbp.training.pretrain [Megatron flags]
set -euo pipefail

export RANK=$SLURM_PROCID
export WORLD_SIZE=${SLURM_STEP_NUM_TASKS:-$SLURM_NTASKS}
export LOCAL_RANK=$SLURM_LOCALID
export NODE_RANK=$SLURM_NODEID
tasks_per_node=${SLURM_STEP_TASKS_PER_NODE:-$SLURM_TASKS_PER_NODE} # "8(x16)", or "2,1"
export LOCAL_WORLD_SIZE=${tasks_per_node%%[(,]*}
# training.sbatch sets these two once for all ranks. srun tells its tasks the address of the node where it was called.
if [ -z "${MASTER_ADDR:-}" ] && command -v scontrol >/dev/null; then
  first_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
  MASTER_ADDR=$(scontrol show node "$first_node" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p' | head -n 1)
  MASTER_ADDR=${MASTER_ADDR:-$first_node}
fi
export MASTER_ADDR=${MASTER_ADDR:-${SLURM_LAUNCH_NODE_IPADDR:?no scontrol here: set MASTER_ADDR to the first node}}
export MASTER_PORT=${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 12000))}

# Signals for the task go to its whole process group; this shell only has to outlive them.
trap : TERM INT HUP USR1 USR2
"$@" &
rank=$!
while kill -0 "$rank" 2>/dev/null; do wait "$rank" || true; done # a signal makes `wait` come back early
wait "$rank" && status=0 || status=$?
# Read by the process that started srun: which rank failed first, and how.
if [ "$status" -ne 0 ] && [ "$status" -ne 3 ]; then
  echo "sbp: rank $RANK on ${SLURMD_NODENAME:-$HOSTNAME} ended with status $status at $EPOCHREALTIME" >&2
fi
# 3: a checkpoint is saved, start me again. `srun --kill-on-bad-exit` would kill the ranks that are still on their way out,
# and their 143 would hide the 3.
if [ "$status" -eq 3 ]; then sleep "${SBP_RANK_PATIENCE:-15}" || true; fi
exit "$status"
