#!/usr/bin/env bash
# Evaluates a checkpoint on GPUs that Slurm allots.
#
# usage: tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [OPTION...]
#
#   OPTION  whatever tools/test.py takes, such as --out FILE.pkl
#
# Reads the variables of tools/slurm_train.sh.
source "$(dirname -- "${BASH_SOURCE[0]}")/launch.sh"

require 4 "$@"
launch_slurm "$1" "$2" test.py "$3" "$4" "${@:5}"
