# shellcheck shell=bash
# Common end of finetune_lora.sh and finetune_ds.sh (sourced, not run): check the settings, then start finetune.py once per device.
#
#   MODEL        folder, hub name, or tiny   (the course's tiny student)
#   DATA         train.json                  (finetune/data/train.json)
#   EVAL_DATA    eval.json; empty for none   (finetune/data/eval.json, if it is there)
#   OUTPUT_DIR   where the run goes          (finetune/output/<strategy>)
#   NPROC        processes on this machine   (its GPUs, or those that CUDA_VISIBLE_DEVICES names; without any, 2)
#   NNODES, NODE_RANK, MASTER_ADDR, MASTER_PORT    for several machines (1, 0, 127.0.0.1, any free port)
#   HOSTFILE     the other way for several machines: DeepSpeed's launcher reaches those of this file from here, through pdsh and ssh
#   DS_CONFIG    DeepSpeed configuration; empty: without DeepSpeed
#   PYTHON       the Python to run           (of the active environment; with none active, the kit's .venv)

# One sentence to the user, before anything is started.
refuse() { echo "error: $1" >&2; exit 1; }
need_number() {
  [[ "${!1}" =~ ^[0-9]+$ ]] || refuse "$1 is '${!1}', which is no number; $2"
  (( 10#${!1} >= $3 )) || refuse "$1 is ${!1}; $2"
}

if [[ -z "${PYTHON:-}" ]]; then
  if [[ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" && -x "$HERE/../.venv/bin/python" ]]; then PYTHON="$HERE/../.venv/bin/python"; else PYTHON=python; fi
fi
if ! command -v "$PYTHON" >/dev/null; then refuse "there is no $PYTHON; make .venv first, or set PYTHON to the Python that has torch"; fi
if ! "$PYTHON" -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("torch"))'; then
  refuse "$PYTHON has no torch: make .venv first, or activate the environment that has it"
fi
MODEL="${MODEL:-tiny}"
if [[ "$MODEL" == tiny ]]; then MODEL="$HERE/../data/models/minicpmv-tiny"; fi
DATA="${DATA:-$HERE/data/train.json}"
if [[ -z "${EVAL_DATA+set}" && -f "$HERE/data/eval.json" ]]; then EVAL_DATA="$HERE/data/eval.json"; fi
NNODES="${NNODES:-1}"
if [[ -n "${CUDA_VISIBLE_DEVICES+set}" ]]; then
  CARDS="$(tr ',' '\n' <<< "$CUDA_VISIBLE_DEVICES" | grep -c . || true)"
else
  CARDS="$( (nvidia-smi --list-gpus 2>/dev/null || true) | wc -l)"
fi
if [[ -z "${NPROC:-}" ]]; then NPROC=$(( CARDS > 0 ? CARDS : 2 )); fi

need_number NPROC "set it to the number of processes on this machine, one for each GPU, or leave it out" 1
need_number NNODES "set it to the number of machines" 1
if [[ -n "${MASTER_PORT:-}" ]]; then need_number MASTER_PORT "set it to a port that is free on the first machine, such as 29500" 1; fi
if (( NNODES > 1 )); then
  if [[ -n "${HOSTFILE:-}" ]]; then refuse "NNODES and HOSTFILE are two ways of naming machines; set one of them"; fi
  if [[ -z "${NODE_RANK:-}" ]]; then refuse "NNODES is $NNODES and NODE_RANK is not set; number the machines from 0 to $(( NNODES - 1 )), the first of them at MASTER_ADDR"; fi
  need_number NODE_RANK "number the machines from 0 to $(( NNODES - 1 ))" 0
  if (( NODE_RANK >= NNODES )); then refuse "NODE_RANK is $NODE_RANK and NNODES is $NNODES; number the machines from 0 to $(( NNODES - 1 ))"; fi
  if [[ -z "${MASTER_ADDR:-}" ]]; then refuse "NNODES is $NNODES and MASTER_ADDR is not set; on all machines, set it to the name or address of the first"; fi
fi
if [[ ! -f "$DATA" ]]; then refuse "there is no file $DATA; set DATA to a conversation file, such as captionlab build writes"; fi
if [[ -n "${EVAL_DATA:-}" && ! -f "$EVAL_DATA" ]]; then refuse "there is no file $EVAL_DATA; set EVAL_DATA to a conversation file, or to nothing for none"; fi
# A name of the hub is OWNER/NAME; whatever else has a slash can only be a folder.
if [[ ! -d "$MODEL" && ( "$MODEL" == /* || "$MODEL" == .* || "$MODEL" == */*/* || "$MODEL" == */ ) ]]; then
  refuse "there is no model folder $MODEL; set MODEL to a folder that exists, or to a name on the hub such as openbmb/MiniCPM-V-4.6"
fi
if [[ -n "$DS_CONFIG" && ! -f "$DS_CONFIG" ]]; then
  refuse "there is no DeepSpeed configuration $DS_CONFIG; set DS_CONFIG to one of $HERE/ds_config_*.json, or to nothing to train without DeepSpeed"
fi
if [[ -n "${HOSTFILE:-}" && ! -f "$HOSTFILE" ]]; then refuse "there is no file $HOSTFILE; set HOSTFILE to a list of machines, one 'NAME slots=GPUS' a line"; fi
CORES="$(getconf _NPROCESSORS_ONLN)"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$(( CORES / NPROC > 0 ? CORES / NPROC : 1 ))}"
export TOKENIZERS_PARALLELISM=false HF_HUB_DISABLE_TELEMETRY=1

OPTIONS=(--model_name_or_path "$MODEL" --data_path "$DATA" --output_dir "$OUTPUT_DIR" "${STRATEGY_OPTIONS[@]}")
if [[ -n "${EVAL_DATA:-}" ]]; then OPTIONS+=(--eval_data_path "$EVAL_DATA"); fi
if [[ -n "$DS_CONFIG" ]]; then OPTIONS+=(--deepspeed "$DS_CONFIG"); fi

if [[ -n "${HOSTFILE:-}" ]]; then
  if (( CARDS == 0 )); then export DS_ACCELERATOR=cpu; fi
  # --no_local_rank: each process knows its own from the environment, and finetune.py has no such option.
  MEETING=(--hostfile "$HOSTFILE" --master_port "${MASTER_PORT:-29500}" --no_local_rank)
  if [[ -n "${MASTER_ADDR:-}" ]]; then MEETING+=(--master_addr "$MASTER_ADDR"); fi
  exec "$PYTHON" -m deepspeed.launcher.runner "${MEETING[@]}" "$HERE/finetune.py" "${OPTIONS[@]}" "$@"
fi
MEETING=(--standalone)
if [[ "$NNODES" -gt 1 || -n "${MASTER_PORT:-}" ]]; then
  MEETING=(--nnodes "$NNODES" --node-rank "${NODE_RANK:-0}" --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${MASTER_PORT:-29500}")
fi
# exec: a signal to this script reaches torchrun (start.py is torchrun, and says why a run stopped), which ends the others.
exec "$PYTHON" "$HERE/start.py" "${MEETING[@]}" --nproc-per-node "$NPROC" "$HERE/finetune.py" "${OPTIONS[@]}" "$@"
