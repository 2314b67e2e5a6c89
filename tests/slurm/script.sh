#!/bin/sh
#SBATCH --job-name=multirun-1a2b3c
#SBATCH --output=/dev/null
#SBATCH --chdir=/
#SBATCH --no-requeue
#SBATCH --array=0-2%2
#SBATCH --signal=B:USR1@60
#SBATCH --partition=short
#SBATCH "--constraint=a&b"
#SBATCH --time=2
#SBATCH --cpus-per-task=4
#SBATCH --mem=2048M
#SBATCH "--comment=two words"
mr_here='/scratch/it'"'"'s mine'
mr_task=${SLURM_ARRAY_TASK_ID:-0}
mr_restart=${SLURM_RESTART_COUNT:-0}
mr_waited=0
until { true >>"$mr_here/out"; } 2>/dev/null; do
    [ "$mr_waited" -lt 60 ] || exit 74
    sleep 1
    mr_waited=$((mr_waited + 1))
done
exec >>"$mr_here/out" 2>&1 </dev/null
MULTIRUN_NODE=${SLURMD_NODENAME:-}
export MULTIRUN_NODE
exec sh "$mr_here/job.sh" "$mr_here" "$mr_task" "$mr_restart"
