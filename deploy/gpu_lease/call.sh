#!/bin/bash
# One call on a machine with a GPU that is lent for minutes and has no network. Trains as far as the time goes, and leaves
# everything that the next call, perhaps on another machine, goes on from:
#
#   here, once    python -m deploy.gpu_lease.pack --config configs/mnist.py --out .carry/mnist
#   there         deploy/gpu_lease/call.sh configs/mnist.py .carry/mnist $OUT [--config.FIELD=VALUE ...]
#   here          copy what came back in state/ to .carry/mnist/state, and call again
#
# In the folder for results: state/ (the whole training state in files of at most 16 MiB, as many as it takes), and
# run.tar.gz (log, curve, scores, pictures, configuration).
# Settings from the environment:
#   SECONDS_TO_TRAIN  500      then the run gets SIGTERM, saves, and is exported
#   DTYPE             float32  of the exported state; bfloat16 is half as large and not exact
#   PYTHON            python3
#   WORK              a new folder in /tmp

set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CARRIED_FOLDER RESULTS_FOLDER [--config.FIELD=VALUE ...]" >&2
    exit 2
fi
config=$1 carried=$2 results=$3
shift 3
PYTHON=${PYTHON:-python3}
WORK=${WORK:-$(mktemp -d /tmp/mpcc.XXXXXX)}
workdir=$WORK/run

if ! "$PYTHON" -c "import ml_collections, clu, tensorboardX" 2>/dev/null; then
    "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$WORK/site" "$carried"/wheels/*.whl
    export PYTHONPATH=$WORK/site${PYTHONPATH:+:$PYTHONPATH}
fi
if [ -f "$carried/data.npz" ]; then
    data=npz:$carried/data.npz
else
    "$PYTHON" -m zipfile -e "$carried/data.zip" "$WORK/data"
    data=folder:$WORK/data
fi
export MPCC_JAX_CACHE=$WORK/cache

start=()
if [ -d "$carried/state" ]; then
    start=(--init_from="$carried/state")
fi
# After SIGTERM a run saves and exits 0; a run that failed must not look as if it had gone well.
timeout --preserve-status --signal=TERM "${SECONDS_TO_TRAIN:-500}" \
    "$PYTHON" launch.py --config "$config" --workdir "$workdir" --config.data.name="$data" \
    --config.evaluation.every=5000 --config.logging.tensorboard=False "${start[@]}" "$@"

mkdir -p "$results"
"$PYTHON" launch.py --mode=export_state --workdir "$workdir" --out "$results/state" --dtype="${DTYPE:-float32}"
tar --exclude=checkpoints -czf "$results/run.tar.gz" -C "$workdir" .
