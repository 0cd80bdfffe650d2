# Sourced by every *.sbatch here: what they share. Bash.
#
# Set by `sbp submit`, or by you before `sbatch`:
#   SBP_HOME              folder that contains the package megatron_sbp: a clone, or site-packages (default: where sbatch
#                         was called)
#   SBP_SETUP             shell lines that run first: modules, virtual environment, NCCL variables
#   SBP_COMMAND           what runs a stage, in words quoted for a shell (default: .venv of the clone, else
#                         `python -P -m megatron_sbp`)
#   SBP_OUTSIDE_COMMAND   the same outside of the container, where training runs are launched (default: SBP_COMMAND)
#   SBP_MAX_REQUEUES      how often a job puts itself back into the queue (default 100)
#   SBP_MAX_RETRIES, SBP_FAULTS    how often a job that failed with a fault is retried (default: never), and the
#                         folder where its faults are recorded
#   SBP_EXCLUDE_AFTER     different faults on a node after which a job that is retried avoids it (default 0: never)
#   SBP_CONTAINER_IMAGE, SBP_CONTAINER_MOUNTS   of every step (default: no container)
#   SBP_CONTAINER_RUNTIME pyxis (default), apptainer, or edf: the image is then the name or file of an environment

unset MASTER_ADDR MASTER_PORT # of the shell that submitted the job; `slurm.setup` may set them
set +u # activation scripts and profiles name variables that are not set, and that would end the job
eval "${SBP_SETUP:-}"
set -u
export SBP_HOME=${SBP_HOME:-${SLURM_SUBMIT_DIR:-$PWD}} PYTHONUNBUFFERED=1
# Python finds an installed package itself; ahead of everything else, site-packages could hide modules of the container.
if [ -e "$SBP_HOME/setup.py" ]; then export PYTHONPATH=$SBP_HOME${PYTHONPATH:+:$PYTHONPATH}; fi
# Since Slurm 22.05 srun no longer takes --cpus-per-task from the job.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
# A task has its cores to itself, so the tokenizer may use all of them. Threads that share a core with others wait for one another
# in loops: with fewer cores than Slurm counts, there are fewer threads.
cores=${SLURM_CPUS_PER_TASK:-1} available=$(env -u OMP_NUM_THREADS nproc 2>/dev/null || true)
if [ -n "$available" ] && [ "$available" -lt "$cores" ]; then cores=$available; fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$cores}
export TOKENIZERS_PARALLELISM=${TOKENIZERS_PARALLELISM:-true} RAYON_NUM_THREADS=${RAYON_NUM_THREADS:-$cores}
# This job, or this task of an array: one task has the number of the whole array.
this_job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID:-}}
this_job=${this_job:-${SLURM_JOB_ID:-}}
sbp=(python -P -m megatron_sbp) # -P: not the modules of the current folder
if [ -n "${SBP_COMMAND:-}" ]; then
  eval "sbp=($SBP_COMMAND)" # its quotes keep a path with a space in one word
elif [ -x "$SBP_HOME/.venv/bin/python" ]; then
  sbp[0]=$SBP_HOME/.venv/bin/python
fi

outside=("${sbp[@]}")
if [ -n "${SBP_OUTSIDE_COMMAND:-}" ]; then eval "outside=($SBP_OUTSIDE_COMMAND)"; fi

# Becomes the command, inside the container if there is one.
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
  echo '{"near_limit": true}' 2>/dev/null >>"$SBP_FAULTS/$this_job.limits" || true
}

# Kills a process that has not ended 15 seconds before the job's time limit: Slurm does not put a job that it has to end itself back
# into the queue.
#   end_in_time PID
end_in_time() {
  local end left
  end=$(SLURM_TIME_FORMAT=standard timeout 60 squeue --noheader --jobs="$this_job" --format=%e 2>/dev/null) &&
    end=$(date -d "$end" +%s 2>/dev/null) || end=${SLURM_JOB_END_TIME:-0} # of Slurm 23.02 and later; as it was at the start
  left=$((end - EPOCHSECONDS - 15))
  if [ "$left" -le 0 ]; then return; fi # Slurm does not tell, or the limit was raised
  if timeout "$left" tail --pid="$1" -f /dev/null; then return; fi
  echo "job $SLURM_JOB_ID: has not ended as it was asked to; killed before its time limit" >&2
  kill -KILL "$1" || true
}

# Puts the job, or this task of an array, back into the queue. Where a compute node has no scontrol, the node that submitted the
# job has one.
#   requeue [NODES]    NODES must not get it again
requeue() {
  local ask=()
  if ! command -v scontrol >/dev/null; then ask=(ssh -o BatchMode=yes "${SLURM_SUBMIT_HOST:-}"); fi
  trap '' TERM # Slurm ends what belongs to the job; only a job that waits can be given other nodes
  if ! timeout 120 "${ask[@]}" scontrol requeue "$this_job" && [ ${#ask[@]} -gt 0 ]; then
    echo "job $SLURM_JOB_ID: no scontrol here, and none by ssh to ${SLURM_SUBMIT_HOST:-the submit host}; run sbp submit again" >&2
  fi
  if [ -n "${1:-}" ]; then "${ask[@]}" scontrol update "JobId=$this_job" "ExcNodeList=$1" || true; fi
}

# Nodes with too many faults of this run: executor/avoided_nodes.py.
avoided_nodes() {
  if [ -z "${SBP_FAULTS:-}" ] || [ "${SBP_EXCLUDE_AFTER:-0}" -eq 0 ]; then return; fi
  "${outside[0]}" -P -m megatron_sbp.executor.avoided_nodes "$SBP_FAULTS" "$SBP_EXCLUDE_AFTER" 2>/dev/null || true
}

# A process that was killed cannot record its fault as executor/retry.py does. Sets `status` of the caller to 6 as long as
# the job is to be retried.
note_kill() {
  local signal=$((status - 128)) why='' file tries
  if [ "$signal" -eq 9 ]; then why=", probably out of memory"; fi
  echo "job $SLURM_JOB_ID: the process was killed (signal $signal)$why" >&2
  if [ -z "${SBP_FAULTS:-}" ] || [ "${SBP_MAX_RETRIES:-0}" -eq 0 ]; then return; fi
  file=$SBP_FAULTS/$this_job.jsonl
  tries=$(grep -c . "$file" 2>/dev/null || true)
  mkdir -p "$SBP_FAULTS" 2>/dev/null || true
  printf '{"time": "%(%Y-%m-%dT%H:%M:%S%z)T", "node": "%s", "progress": "", "cause": "killed (signal %d)%s"%s}\n' \
    -1 "${SLURMD_NODENAME:-}" "$signal" "$why" "${SLURM_CLUSTER_NAME:+, \"cluster\": \"$SLURM_CLUSTER_NAME\"}" \
    2>/dev/null >>"$file" || true
  if [ "${tries:-0}" -ge "$SBP_MAX_RETRIES" ]; then
    echo "job $SLURM_JOB_ID: failed $((tries + 1)) times; not retried (slurm.max_retries)" >&2
  else
    echo "job $SLURM_JOB_ID: will be retried (retry $((${tries:-0} + 1)) of at most $SBP_MAX_RETRIES)" >&2
    status=6
  fi
}

# Runs a command that can be interrupted and repeated; requeues the job when it has not finished.
#   requeue_until_done STOP COMMAND...    STOP PID is called when the time limit is near and must make COMMAND end
# COMMAND's status: 0 done; 3 it saved its work and should be started again; 6 it failed, and another try is worthwhile;
# anything else is a failure, and the jobs that depend on this one are canceled.
requeue_until_done() {
  local stop=$1 status near_limit='' avoid='' child
  shift
  "$@" &
  child=$!
  # The shell handles a trap only between commands: that is why the command runs beside it.
  trap 'near_limit=1; echo "job $SLURM_JOB_ID: the time limit is near" >&2; note_limit; end_in_time "$child" & $stop "$child"' USR1
  while kill -0 "$child" 2>/dev/null; do wait "$child" || true; done # a signal makes `wait` come back early
  wait "$child" && status=0 || status=$?
  trap - USR1
  case "$status" in
    134 | 135 | 137 | 139) if [ -z "$near_limit" ]; then note_kill; fi ;; # SIGABRT, SIGBUS, SIGKILL, SIGSEGV
  esac
  if [ "$status" -eq 3 ] || [ "$status" -eq 6 ] || { [ "$status" -ne 0 ] && [ -n "$near_limit" ]; }; then
    if [ "${SLURM_RESTART_COUNT:-0}" -lt "${SBP_MAX_REQUEUES:-100}" ]; then
      if [ "$status" -eq 6 ]; then avoid=$(avoided_nodes); fi
      echo "job $SLURM_JOB_ID: back into the queue (requeue $((${SLURM_RESTART_COUNT:-0} + 1)))${avoid:+, without $avoid}" >&2
      requeue "$avoid"
    else
      echo "job $SLURM_JOB_ID: was in the queue ${SBP_MAX_REQUEUES:-100} times already; giving up" >&2
    fi
  fi
  return "$status"
}
