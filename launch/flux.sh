#!/usr/bin/env bash
# Trains CONFIG in RUN under Flux, one rank a core of the job:
#   flux batch --nodes=2 --nslots=8 --time-limit=24h launch/flux.sh CONFIG --run RUN
# Flux itself starts the ranks and sees them die (it needs its plugin flux-pmix); `lockstep launch`,
# which reaches other nodes by ssh, is not used. A run whose ranks died is started again, at most
# five times; two minutes before the job's time is up it saves and ends with 75, and the same line
# goes on. So it does after `flux job kill --signal=USR1` to the job of the ranks.
# LOCKSTEP_RANKS is another number of ranks. Checked by shellcheck and with a stand-in for Flux;
# untried on a real one.
#flux: --job-name=lockstep
set -euo pipefail
# Flux runs a copy of this file, in the folder flux batch was called in.
lockstep=${LOCKSTEP_BINARY:-$PWD/.build/release/lockstep}

for restarts in 0 1 2 3 4 5; do
  # Fewer where a node is gone; the run goes on with any number.
  ranks=${LOCKSTEP_RANKS:-$(flux resource list --states=up --no-header --format='{ncores}')}
  code=0
  flux run --ntasks="$ranks" --cores-per-task=1 -o pmi=pmix --signal=USR1@120s \
    "$lockstep" train "$@" || code=$?
  case $code in
    # Done, stopped on request, or what a restart would repeat.
    0 | 64 | 65 | 66 | 73 | 75 | 76 | 78 | 80) exit "$code" ;;
  esac
  printf 'flux.sh: the ranks ended with %d after %d restarts\n' "$code" "$restarts" >&2
  # A rank that is cut off holds the run until it has ended itself.
  sleep $((5 * (restarts + 1)))
done
exit "$code"
