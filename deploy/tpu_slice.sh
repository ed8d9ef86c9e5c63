#!/bin/bash
# Trains on a Cloud TPU slice: makes the slice unless it is there, sets up its hosts, starts the run on all of them.
#
#   REPOSITORY=https://... SHARE=gs://BUCKET deploy/tpu_slice.sh [--config.FIELD=VALUE ...]
#
# The run is a service on each host, so it does not need this terminal. The same command again, after a pre-emption too,
# stops what runs (it saves), installs what changed, and goes on from the last checkpoint.
set -euo pipefail

# Settings, from the environment:
NAME=${NAME:-mpcc}                          # of the slice
ZONE=${ZONE:-us-west4-a}
ACCELERATOR=${ACCELERATOR:-v5litepod-16}    # v5e, 16 chips: 4 hosts with 4 chips each
VERSION=${VERSION:-v2-alpha-tpuv5-lite}     # the image that belongs to the accelerator
SPOT=${SPOT:-}                              # 1: cheaper, may be taken away with 30 seconds' notice
REPOSITORY=${REPOSITORY:?a git address of this repository that the hosts can clone}
REVISION=${REVISION:-main}                  # branch or tag
SHARE=${SHARE:?gs://BUCKET (with hierarchical namespace) or NFS_SERVER:/EXPORT, for example Filestore}
CONFIG=${CONFIG:-configs/mnist.py}
RUN=${RUN:-$(basename "$CONFIG" .py)}       # the working directory is runs/$RUN on the share

tpu() { gcloud compute tpus tpu-vm "$1" "$NAME" --zone="$ZONE" --quiet "${@:2}"; }

create() {
  tpu create --accelerator-type="$ACCELERATOR" --version="$VERSION" ${SPOT:+--spot} \
    --scopes=https://www.googleapis.com/auth/cloud-platform
}

# Runs the script on standard input on every host, with our settings as its environment and our arguments as its own.
on_all_hosts() {
  local command word
  command='env'
  for word in "REPOSITORY=$REPOSITORY" "REVISION=$REVISION" "SHARE=$SHARE" "CONFIG=$CONFIG" "RUN=$RUN" \
    bash -c "$(cat)" mpcc "$@"; do
    command+=" $(printf %q "$word")"
  done
  tpu ssh --worker=all --command="$command"
}

case $(tpu describe --format='value(state)' 2>/dev/null || true) in
  READY) ;;
  "") create ;;
  PREEMPTED | TERMINATED) # such a slice never comes back under its name
    tpu delete
    create
    ;;
  *)
    echo "error: the slice $NAME in $ZONE is neither ready nor gone; wait for it, or delete it." >&2
    exit 1
    ;;
esac

on_all_hosts <<'REMOTE'
set -euo pipefail
sudo systemctl stop mpcc 2>/dev/null || true
apt() { sudo apt-get -q -o DPkg::Lock::Timeout=300 "$@"; } # the image updates itself at first, and holds the lock
install() { apt update && apt install -y "$@"; }

# The working directory is one directory for all hosts.
sudo mkdir -p /mnt/share
if ! mountpoint -q /mnt/share; then
  if [[ $SHARE == gs://* ]]; then
    if ! command -v gcsfuse >/dev/null; then
      key=/usr/share/keyrings/cloud.google.asc
      curl -fsS https://packages.cloud.google.com/apt/doc/apt-key.gpg | sudo tee $key >/dev/null
      echo "deb [signed-by=$key] https://packages.cloud.google.com/apt gcsfuse-$(lsb_release -cs) main" |
        sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
      install gcsfuse
    fi
    sudo chown "$(id -u)" /mnt/share
    # Nothing cached about files: each host must see at once what another one wrote.
    gcsfuse --metadata-cache-ttl-secs=0 --metadata-cache-negative-ttl-secs=0 "${SHARE#gs://}" /mnt/share
  else
    install nfs-common
    sudo mount -t nfs "$SHARE" /mnt/share
  fi
fi

[[ -d ~/mpcc_jax ]] || git clone -q "$REPOSITORY" ~/mpcc_jax
cd ~/mpcc_jax
git fetch -q "$REPOSITORY" "$REVISION"
git checkout -q --detach FETCH_HEAD
# The images have an older Python than the 3.11 that we need; uv brings one.
if [[ ! -d .venv ]]; then
  python3 -m pip install -q --user uv
  python3 -m uv venv -q --seed --python 3.11 .venv
fi
.venv/bin/python -m pip install -q --disable-pip-version-check -r requirements-tpu.txt
REMOTE

on_all_hosts "$@" <<'REMOTE'
set -euo pipefail
cd ~/mpcc_jax
# A service, so that the run outlives this connection, and a shutdown sends it SIGTERM: it saves.
sudo systemd-run --unit=mpcc --collect --uid="$(id -un)" --working-directory="$PWD" \
  --property=RequiresMountsFor=/mnt/share --property=TimeoutStopSec=120 \
  "$PWD/.venv/bin/python" launch.py --config "$CONFIG" --workdir "/mnt/share/runs/$RUN" \
  --config.data.dir=/mnt/share/tensorflow_datasets --config.training.batch_size=48 "$@"
REMOTE

cat <<END
Started. The last lines of the first host, stopping (all hosts save), and giving the slice back:
  gcloud compute tpus tpu-vm ssh $NAME --zone=$ZONE --command='sudo journalctl -fu mpcc'
  gcloud compute tpus tpu-vm ssh $NAME --zone=$ZONE --command='sudo systemctl stop mpcc'
  gcloud compute tpus tpu-vm delete $NAME --zone=$ZONE
END
