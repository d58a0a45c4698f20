#!/bin/bash
#SBATCH --job-name=grid-search
#SBATCH --array=0-7
#SBATCH --cpus-per-task=8
#SBATCH --requeue
# One shard of `cargo xtask grid-search` for each task of the array; arguments go to it. Submit from the root of the
# repository, with binaries built before (cargo build --release -p effyolo -p xtask):
#
#   sbatch --array=0-7 xtask/slurm-grid-search.sh --data /data/flowers --proxy epochs=10,imgsz=128 --seeds 3
#
# When all are done:  cargo xtask grid-search --merge runs/grid-search/shard-* --out runs/grid-search/all
set -eu
shard="$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
# --resume starts a new shard too, and goes on with one that was ended and put back into the queue.
exec target/release/xtask grid-search --shard "$shard" --threads "$SLURM_CPUS_PER_TASK" --jobs 1 \
    --out "runs/grid-search/shard-$SLURM_ARRAY_TASK_ID" --resume "$@"
