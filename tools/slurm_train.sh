#!/usr/bin/env bash
# Trains on GPUs that Slurm allots.
#
# usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [OPTION...]
#
#   OPTION  whatever tools/train.py takes, such as --resume
#
# These variables may be set:
#   GPUS           number of GPUs (default: 8)
#   GPUS_PER_NODE  GPUs of one machine (default: 8, or GPUS if they are fewer)
#   CPUS_PER_TASK  CPU cores for each GPU (default: 5)
#   SRUN_ARGS      further options of srun, such as "--time=24:00:00 --quotatype=spot"
#   MASTER_PORT    free port of the first machine (default: 29500)
# PYTHON is the interpreter (default: python).
#
# Example:
#   GPUS=16 tools/slurm_train.sh gpu retinanet configs/retinanet_trtvit_b.py work_dirs/first
source "$(dirname -- "${BASH_SOURCE[0]}")/launch.sh"

require 4 "$@"
launch_slurm "$1" "$2" train.py "$3" --work-dir "$4" "${@:5}"
