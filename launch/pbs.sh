#!/usr/bin/env bash
# Trains a configuration under PBS Pro, OpenPBS or Torque:
#   qsub -l select=2:ncpus=4:mpiprocs=4 -v LOCKSTEP_ARGUMENTS="CONFIG --run RUN" launch/pbs.sh
#   qsub -l nodes=2:ppn=4 -v LOCKSTEP_ARGUMENTS="CONFIG --run RUN" launch/pbs.sh     # Torque
# Hosts and ranks are those of PBS_NODEFILE; other nodes are reached by ssh, without a password.
# LOCKSTEP_NOTICE seconds (300) before the walltime is up the run saves and ends with 75, and the
# same line goes on: queued behind by `qsub -W depend=afternotok:JOB ...`, it does so by itself.
# `qsig -s USR1 JOB` does the same at once; USR2, which saves and goes on, ends the job here. `qdel
# JOB` sends TERM, which saves too, if that takes less than the server's kill_delay. A job whose
# node died is queued again by PBS (-r y). Words of LOCKSTEP_ARGUMENTS cannot have blanks; where
# one has a comma, quote them for PBS: -v "LOCKSTEP_ARGUMENTS='CONFIG parallel.stage_blocks=1,2'".
# Checked by shellcheck and with a stand-in for PBS; untried on a real one.
#PBS -N lockstep
#PBS -l walltime=24:00:00
#PBS -r y
#PBS -j oe
set -euo pipefail
# The folder qsub was called in; PBS starts the script in the home folder.
cd "${PBS_O_WORKDIR:-.}"
lockstep=${LOCKSTEP_BINARY:-$PWD/.build/release/lockstep}

# Torque says how long the job may take, PBS Pro is asked; empty where neither is so.
walltime=${PBS_WALLTIME:-}
if [[ -z $walltime ]] && command -v qstat >/dev/null; then
  walltime=$(qstat -f "${PBS_JOBID:-}" 2>/dev/null |
    sed -nE 's/^[[:space:]]*Resource_List\.walltime = ([0-9]+):([0-9]+):([0-9]+)$/\1 \2 \3/p' |
    awk '{ print $1 * 3600 + $2 * 60 + $3 }') || walltime=
fi

read -ra arguments <<<"${LOCKSTEP_ARGUMENTS:-}"
command=("$lockstep" launch "${arguments[@]}" "$@")
# Of a short job at most a quarter, unless somebody says otherwise.
notice=$((${walltime:-0} / 4))
notice=${LOCKSTEP_NOTICE:-$((notice < 300 ? notice : 300))}
if ((${walltime:-0} > notice)); then
  exec timeout --foreground --preserve-status --signal=USR1 "$((walltime - notice))" \
    "${command[@]}"
fi
exec "${command[@]}"
