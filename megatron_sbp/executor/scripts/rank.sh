#!/usr/bin/env bash
# One rank of a training run under srun: sets torch.distributed's variables and runs the command. Under node.sh the launcher
# there has set them already.
#
#   srun --nodes=2 --ntasks-per-node=8 bash megatron_sbp/executor/scripts/rank.sh python -m megatron_sbp.training.pretrain [Megatron flags]
set -euo pipefail

if [ -z "${SBP_RANK_PIDS:-}" ]; then
  export RANK=$SLURM_PROCID
  export WORLD_SIZE=${SLURM_STEP_NUM_TASKS:-$SLURM_NTASKS}
  export LOCAL_RANK=$SLURM_LOCALID
  export NODE_RANK=$SLURM_NODEID
  tasks_per_node=${SLURM_STEP_TASKS_PER_NODE:-$SLURM_TASKS_PER_NODE} # "8(x16)", or "2,1"
  export LOCAL_WORLD_SIZE=${tasks_per_node%%[(,]*}
  source "${BASH_SOURCE[0]%/*}/master.sh"
fi

# Signals for the task go to its whole process group; this shell only has to outlive them.
trap : TERM INT HUP USR1 USR2
"$@" &
rank=$!
if [ -n "${SBP_RANK_PIDS:-}" ]; then echo "$rank" >"$SBP_RANK_PIDS/$LOCAL_RANK"; fi
while kill -0 "$rank" 2>/dev/null; do wait "$rank" || true; done # a signal makes `wait` come back early
wait "$rank" && status=0 || status=$?
# Read by the process that started srun: which rank failed first, and how.
if [ "$status" -ne 0 ] && [ "$status" -ne 3 ]; then
  echo "sbp: rank $RANK on ${SLURMD_NODENAME:-$HOSTNAME} ended with status $status at $EPOCHREALTIME" >&2
fi
# 3: a checkpoint is saved, start again. `srun --kill-on-bad-exit` would kill the ranks that are still exiting, and their 143
# would hide the 3.
if [ "$status" -eq 3 ]; then sleep "${SBP_RANK_PATIENCE:-15}" || true; fi
exit "$status"
