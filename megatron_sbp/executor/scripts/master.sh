# Sourced by rank.sh and node.sh: where the ranks of a training run meet. training.sbatch sets both once for all of them;
# srun tells its tasks the address of the node where it was called.
if [ -z "${MASTER_ADDR:-}" ] && command -v scontrol >/dev/null; then
  first_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
  MASTER_ADDR=$(scontrol show node "$first_node" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p' | head -n 1)
  MASTER_ADDR=${MASTER_ADDR:-$first_node}
fi
export MASTER_ADDR=${MASTER_ADDR:-${SLURM_LAUNCH_NODE_IPADDR:?no scontrol here: set MASTER_ADDR to the first node}}
export MASTER_PORT=${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 12000))}
