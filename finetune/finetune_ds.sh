#!/usr/bin/env bash
# Fine-tuning of all parameters of a MiniCPM-V under DeepSpeed.
#
#   MODEL=openbmb/MiniCPM-V-4.6 DATA=train.json EVAL_DATA=eval.json NPROC=8 DS_CONFIG=finetune/ds_config_zero3.json \
#     bash finetune/finetune_ds.sh --num_train_epochs 3 --gradient_checkpointing true
#
# Settings come from the environment; whatever follows the script's name goes to finetune.py (see its --help).
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
OUTPUT_DIR="${OUTPUT_DIR:-$HERE/output/full}"
DS_CONFIG="${DS_CONFIG-$HERE/ds_config_zero2.json}"
# shellcheck disable=SC2034  # read by launch.sh
STRATEGY_OPTIONS=(--use_lora false --tune_vision true --tune_llm true --learning_rate 1e-4)
# shellcheck source-path=SCRIPTDIR
source "$HERE/launch.sh"
