#!/usr/bin/env bash
# LoRA fine-tuning of a MiniCPM-V: adapters in the language model's attention, the vision tower trained along.
#
#   MODEL=openbmb/MiniCPM-V-4.6 DATA=train.json EVAL_DATA=eval.json NPROC=4 bash finetune/finetune_lora.sh --num_train_epochs 3
#
# Settings come from the environment; whatever follows the script's name goes to finetune.py (see its --help).
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
OUTPUT_DIR="${OUTPUT_DIR:-$HERE/output/lora}"
DS_CONFIG="${DS_CONFIG-$HERE/ds_config_zero2.json}"
# shellcheck disable=SC2034  # read by launch.sh
STRATEGY_OPTIONS=(--use_lora true --lora_r 64 --lora_alpha 64 --tune_vision true --learning_rate 5e-4)
# shellcheck source-path=SCRIPTDIR
source "$HERE/launch.sh"
