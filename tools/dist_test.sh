#!/usr/bin/env bash
# Evaluates a checkpoint on several GPUs, of one machine or of several.
#
# usage: tools/dist_test.sh CONFIG CHECKPOINT GPUS [OPTION...]
#
#   CONFIG      config file
#   CHECKPOINT  weights of this model, or the work directory of a run
#   GPUS        number of GPUs of this machine; of processes where there is no GPU
#   OPTION      whatever tools/test.py takes, such as --out FILE.pkl
#
# Reads the variables of tools/dist_train.sh.
#
# Example:
#   tools/dist_test.sh configs/retinanet_trtvit_b.py work_dirs/retinanet_trtvit_b 8
source "$(dirname -- "${BASH_SOURCE[0]}")/launch.sh"

require 3 "$@"
launch "$3" test.py "$1" "$2" "${@:4}"
