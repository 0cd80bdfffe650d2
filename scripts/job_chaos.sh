#!/usr/bin/env bash
# Seeded sequences of faults against a training run as a job of a real Slurm, which it starts on this machine (root; Debian's
# slurm-wlm and munge): kills, signals, requeues, a node down, a silent controller, damaged checkpoints, a full disk
# (tests/support/job_chaos.py). Prints a line per sequence and the totals; failed sequences stay.
#
#   bash scripts/job_chaos.sh /scratch/job-chaos [--sequences 60] [--steps 4] [--seed 1]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:?folder for the runs}
shift
bash scripts/setup.sh
PYTHONPATH=tests exec .venv/bin/python -m support.job_chaos --folder "$folder" --sequences 60 "$@"
