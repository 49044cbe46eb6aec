#!/usr/bin/env bash
# Trains on several GPUs, of one machine or of several.
#
# usage: tools/dist_train.sh CONFIG GPUS [OPTION...]
#
#   CONFIG  config file
#   GPUS    number of GPUs of this machine; of processes where there is no GPU
#   OPTION  whatever tools/train.py takes, such as --resume
#
# For several machines call it on each of them, with these variables set:
#   NNODES       number of machines (default: 1)
#   NODE_RANK    number of this machine, from 0
#   MASTER_ADDR  address of machine 0
#   PORT         free port of machine 0 (default: 29500; on a single machine any)
# PYTHON is the interpreter (default: python).
#
# Examples:
#   tools/dist_train.sh configs/retinanet_trtvit_b.py 8 --auto-scale-lr
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=node0 tools/dist_train.sh configs/retinanet_trtvit_b.py 8
source "$(dirname -- "${BASH_SOURCE[0]}")/launch.sh"

require 2 "$@"
launch "$2" train.py "$1" "${@:3}"
