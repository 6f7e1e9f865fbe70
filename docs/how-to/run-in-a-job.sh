#!/bin/bash
#SBATCH --job-name=brain
#SBATCH --time=2-00:00:00
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@300

# Five minutes before the walltime ends: stop in good order, and into the queue again.
again() {
    kill -TERM "$coordinator"
    wait "$coordinator"
    scontrol requeue "$SLURM_JOB_ID"
}

# scancel: SLURM gives half a minute, which is enough to stop in good order.
stop() {
    kill -TERM "$coordinator"
    wait "$coordinator"
    exit 143
}

trap again USR1
trap stop TERM

latticework run brain.lw --pools site.yaml &
coordinator=$!
wait "$coordinator"
