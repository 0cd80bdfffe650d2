# Sourced by every *.sbatch here: what they share. Bash.
#
# Set by `sbp submit`, or by you before `sbatch`:
#   SBP_HOME              folder that contains the package megatron_sbp: a clone, or site-packages (default: where sbatch
#                         was called)
#   SBP_SETUP             shell lines that run first: modules, virtual environment, NCCL variables
#   SBP_COMMAND           what runs a stage, in words quoted for a shell (default: .venv of the clone, else
#                         `python -m megatron_sbp`)
#   SBP_OUTSIDE_COMMAND   the same outside of the container, where a training is launched (default: SBP_COMMAND)
#   SBP_MAX_REQUEUES      how often a job puts itself back into the queue (default 100)
#   SBP_MAX_RETRIES, SBP_FAULTS    how often a job that failed with a fault is retried (default: never), and the
#                         folder where its faults are recorded
#   SBP_CONTAINER_IMAGE, SBP_CONTAINER_MOUNTS   of every step (default: no container)
#   SBP_CONTAINER_RUNTIME pyxis (default), apptainer, or edf: the image is then the name or file of an environment

set +u # activation scripts and profiles name variables that are not set, and that would end the job
eval "${SBP_SETUP:-}"
set -u
export SBP_HOME=${SBP_HOME:-${SLURM_SUBMIT_DIR:-$PWD}} PYTHONUNBUFFERED=1
# Python finds an installed package itself; ahead of everything else, site-packages could hide modules of the container.
if [ -e "$SBP_HOME/setup.py" ]; then export PYTHONPATH=$SBP_HOME${PYTHONPATH:+:$PYTHONPATH}; fi
# Since Slurm 22.05 srun no longer takes --cpus-per-task from the job.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}
# A task has its cores to itself, so the tokenizer may use all of them.
export TOKENIZERS_PARALLELISM=${TOKENIZERS_PARALLELISM:-true} RAYON_NUM_THREADS=${RAYON_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}
sbp=(python -m megatron_sbp)
if [ -n "${SBP_COMMAND:-}" ]; then
  eval "sbp=($SBP_COMMAND)" # its quotes keep a path with a space in one word
elif [ -x "$SBP_HOME/.venv/bin/python" ]; then
  sbp[0]=$SBP_HOME/.venv/bin/python
fi

outside=("${sbp[@]}")
if [ -n "${SBP_OUTSIDE_COMMAND:-}" ]; then eval "outside=($SBP_OUTSIDE_COMMAND)"; fi

# Becomes the command, inside the container where there is one.
exec_in_container() {
  local image=${SBP_CONTAINER_IMAGE:-} mounts=${SBP_CONTAINER_MOUNTS:-}
  if [ -z "$image" ]; then exec "$@"; fi
  case "${SBP_CONTAINER_RUNTIME:-pyxis}" in
    pyxis) exec srun --ntasks=1 --container-image="$image" ${mounts:+--container-mounts="$mounts"} "$@" ;;
    edf) exec srun --ntasks=1 --environment="$image" "$@" ;;
    apptainer) exec apptainer exec ${SLURM_JOB_GPUS:+--nv} ${mounts:+--bind "$mounts"} "$image" "$@" ;;
    *)
      echo "SBP_CONTAINER_RUNTIME: '$SBP_CONTAINER_RUNTIME' is not pyxis, apptainer, or edf" >&2
      exit 2
      ;;
  esac
}

# For executor/time_limit.py: another time limit was used.
note_limit() {
  if [ -z "${SBP_FAULTS:-}" ]; then return; fi
  local job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID:-}}
  echo '{"near_limit": true}' 2>/dev/null >>"$SBP_FAULTS/${job:-$SLURM_JOB_ID}.limits" || true
}

# Runs a command that can be interrupted and repeated; requeues the job when it has not finished.
#   requeue_until_done STOP COMMAND...    STOP PID is called when the time limit is near and must make COMMAND end
# COMMAND's status: 0 done; 3 it saved its work and should be started again; 6 it failed, and another try is worthwhile;
# anything else is a failure, and the jobs that depend on this one are canceled.
requeue_until_done() {
  local stop=$1 status near_limit= child
  shift
  "$@" &
  child=$!
  # The shell handles a trap only between commands: that is why the command runs beside it.
  trap 'near_limit=1; echo "job $SLURM_JOB_ID: the time limit is near" >&2; note_limit; $stop "$child"' USR1
  while kill -0 "$child" 2>/dev/null; do wait "$child" || true; done # a signal makes `wait` come back early
  wait "$child" && status=0 || status=$?
  trap - USR1
  if [ "$status" -eq 3 ] || [ "$status" -eq 6 ] || { [ "$status" -ne 0 ] && [ -n "$near_limit" ]; }; then
    if [ "${SLURM_RESTART_COUNT:-0}" -lt "${SBP_MAX_REQUEUES:-100}" ]; then
      echo "job $SLURM_JOB_ID: back into the queue (requeue $((${SLURM_RESTART_COUNT:-0} + 1)))" >&2
      timeout 120 scontrol requeue "$SLURM_JOB_ID"
    else
      echo "job $SLURM_JOB_ID: was in the queue ${SBP_MAX_REQUEUES:-100} times already; giving up" >&2
    fi
  fi
  return "$status"
}
