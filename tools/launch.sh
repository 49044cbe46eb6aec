# What the launch scripts beside it have in common. It is no command.
set -euo pipefail

tools=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python}
# What torchrun and MMEngine would set, too, and warn of.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} MKL_NUM_THREADS=${MKL_NUM_THREADS:-1}

fail() {
  echo "error: $1" >&2
  exit 2
}

# Shows the comment at the top of the script for --help, or if there are fewer arguments than COUNT.
# usage: require COUNT ARGUMENT...
require() {
  local usage count=$1
  usage=$(sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0")
  shift
  if [[ ${1:-} == --help || ${1:-} == -h ]]; then
    echo "$usage"
    exit
  elif (($# < count)); then
    echo "$usage" >&2
    exit 2
  fi
}

require_number() { # usage: require_number NAME VALUE
  [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1 is '$2', expected a number: see $0 --help"
}

# Runs a tool in GPUS processes of this machine; NNODES and the like add those of others.
# usage: launch GPUS TOOL ARGUMENT...
launch() {
  require_number GPUS "$1"
  local meeting=(--rdzv-backend c10d --rdzv-endpoint "localhost:${PORT:-0}" --local-addr localhost)
  if [[ ${NNODES:-1} != 1 ]]; then
    [[ -n ${NODE_RANK:-} && -n ${MASTER_ADDR:-} ]] ||
      fail "NNODES is $NNODES, so set NODE_RANK and MASTER_ADDR, too: see $0 --help"
    meeting=(--nnodes "$NNODES" --node-rank "$NODE_RANK"
      --master-addr "$MASTER_ADDR" --master-port "${PORT:-29500}")
  fi
  exec "$python" -m torch.distributed.run "${meeting[@]}" --nproc-per-node "$1" \
    "$tools/$2" "${@:3}" --launcher pytorch
}

# Runs a tool on GPUs that Slurm allots; the variables are those of slurm_train.sh.
# usage: launch_slurm PARTITION JOB_NAME TOOL ARGUMENT...
launch_slurm() {
  local gpus=${GPUS:-8} per_node
  require_number GPUS "$gpus"
  per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
  # shellcheck disable=SC2086  # SRUN_ARGS are several words
  exec srun --partition="$1" --job-name="$2" \
    --gres="gpu:$per_node" --ntasks="$gpus" --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "$python" -u "$tools/$3" "${@:4}" --launcher slurm
}
