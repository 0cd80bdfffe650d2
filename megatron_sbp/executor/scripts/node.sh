#!/usr/bin/env bash
# One node of a training run under srun, for sites that want one task per node: torchrun starts its ranks, or with --ft
# ft_launcher of nvidia-resiliency-ext, which also watches whether they make progress.
#
#   srun --nodes=2 --ntasks-per-node=1 bash megatron_sbp/executor/scripts/node.sh [--ft OPTIONS --] 8 python -m megatron_sbp.training.pretrain [Megatron flags]
set -euo pipefail

module=torch.distributed.run options=() flags=()
if [ "$1" = --ft ]; then
  module=nvidia_resiliency_ext.fault_tolerance.launcher flags=(--enable-ft-package)
  shift
  while [ "$1" != -- ]; do
    options+=("$1")
    shift
  done
  shift
fi
ranks=$1 python=$2
shift 2
here=${BASH_SOURCE[0]%/*}
source "$here/master.sh"
if [ ${#flags[@]} -gt 0 ] && ! "$python" -P -c "import $module" 2>/dev/null; then
  echo "node.sh: slurm.launcher is ft_launcher, but nvidia-resiliency-ext cannot be imported on ${SLURMD_NODENAME:-$HOSTNAME}" >&2
  exit 2
fi

# A torchrun that gets SIGTERM kills its ranks after 30 seconds, and a checkpoint may take longer: it must not handle the signal,
# which the ranks get from here. Not every version has an option for that.
launch="
import runpy, signal, sys
register, kept = signal.signal, (signal.SIGTERM, signal.SIGHUP)
signal.signal = lambda number, handler: None if number in kept else register(number, handler)
runpy.run_module('$module', run_name='__main__', alter_sys=True)
"
SBP_RANK_PIDS=$(mktemp -d) # each rank leaves its process id in it
export SBP_RANK_PIDS
trap 'rm -rf "$SBP_RANK_PIDS"' EXIT
trap '' TERM HUP USR1 USR2
"$python" -P -c "$launch" "${options[@]}" --nnodes="${SLURM_STEP_NUM_NODES:-$SLURM_NNODES}" --node-rank="$SLURM_NODEID" --nproc-per-node="$ranks" \
  --master-addr="$MASTER_ADDR" --master-port="$MASTER_PORT" --max-restarts=0 --no-python bash "$here/rank.sh" "$python" "$@" "${flags[@]}" &
child=$!
trap 'kill -TERM $(cat "$SBP_RANK_PIDS"/* 2>/dev/null) 2>/dev/null || true' TERM
while kill -0 "$child" 2>/dev/null; do wait "$child" || true; done # a signal makes `wait` come back early
wait "$child" && status=0 || status=$?
exit "$status"
