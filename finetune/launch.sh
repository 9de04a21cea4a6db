# Common end of finetune_lora.sh and finetune_ds.sh (sourced, not run): start finetune.py once per device with torchrun.
#
#   MODEL        folder or hub name          (the course's tiny student)
#   DATA         train.json                  (finetune/data/train.json)
#   EVAL_DATA    eval.json; empty for none   (finetune/data/eval.json, if it is there)
#   OUTPUT_DIR   where the run goes          (finetune/output/<strategy>)
#   NPROC        processes on this machine   (its GPUs; without any, 2)
#   NNODES, NODE_RANK, MASTER_ADDR, MASTER_PORT    for several machines (1, 0, 127.0.0.1, any free port)
#   DS_CONFIG    DeepSpeed configuration; empty: without DeepSpeed
#   PYTHON       the Python to run           (of the active environment; with none active, the kit's .venv)
if [[ -z "${PYTHON:-}" ]]; then
  if [[ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" && -x "$HERE/../.venv/bin/python" ]]; then PYTHON="$HERE/../.venv/bin/python"; else PYTHON=python; fi
fi
if ! "$PYTHON" -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("torch"))'; then
  echo "error: $PYTHON has no torch: make .venv first, or activate the environment that has it" >&2
  exit 1
fi
MODEL="${MODEL:-$HERE/../data/models/minicpmv-tiny}"
DATA="${DATA:-$HERE/data/train.json}"
if [[ -z "${EVAL_DATA+set}" && -f "$HERE/data/eval.json" ]]; then EVAL_DATA="$HERE/data/eval.json"; fi
NNODES="${NNODES:-1}"

CARDS="$( (nvidia-smi --list-gpus 2>/dev/null || true) | wc -l)"
if [[ -z "${NPROC:-}" ]]; then NPROC=$(( CARDS > 0 ? CARDS : 2 )); fi
CORES="$(getconf _NPROCESSORS_ONLN)"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$(( CORES / NPROC > 0 ? CORES / NPROC : 1 ))}"
export TOKENIZERS_PARALLELISM=false HF_HUB_DISABLE_TELEMETRY=1

MEETING=(--standalone)
if [[ "$NNODES" != 1 || -n "${MASTER_PORT:-}" ]]; then
  MEETING=(--nnodes "$NNODES" --node-rank "${NODE_RANK:-0}" --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${MASTER_PORT:-29500}")
fi
OPTIONS=(--model_name_or_path "$MODEL" --data_path "$DATA" --output_dir "$OUTPUT_DIR" "${STRATEGY_OPTIONS[@]}")
if [[ -n "${EVAL_DATA:-}" ]]; then OPTIONS+=(--eval_data_path "$EVAL_DATA"); fi
if [[ -n "$DS_CONFIG" ]]; then OPTIONS+=(--deepspeed "$DS_CONFIG"); fi

# exec: a signal to this script reaches torchrun (start.py is torchrun, and says why a run stopped), which ends the others.
exec "$PYTHON" "$HERE/start.py" "${MEETING[@]}" --nproc-per-node "$NPROC" "$HERE/finetune.py" "${OPTIONS[@]}" "$@"
