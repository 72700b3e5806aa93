#!/usr/bin/env bash
# Own files, from the first look to a model that answers briefly: ./own_data.sh [FOLDER]
set -euo pipefail
data=$(cd "$(dirname "$0")/own-data" && pwd)
out=${1:-runs/example-own-data}
mkdir -p "$out"

# Every problem of a file, as file:line:column, with the reason and the way out.
tutelage data check "$data/demonstrations.jsonl"

# A model to start from. With one of your own, leave these two commands out and name it below.
tutelage data convert "$data/demonstrations.jsonl" --kind text --out "$out/texts.jsonl"
tutelage pretrain --data "$out/texts.jsonl" --out "$out/base" --epochs 20 --batch-size 8 --no-join \
  --vocab-size 400 --hidden-size 64 --layers 2 --heads 2 --key-value-heads 1 --context 64 --max-length 64 \
  --learning-rate 3e-3 --log-every 40

# Which tokens are learned (in ⟦ ⟧), after the model's own template.
tutelage data inspect "$data/demonstrations.jsonl" --model "$out/base/model" --limit 2

tutelage sft --model "$out/base/model" --data "$data/demonstrations.jsonl" --out "$out/sft" \
  --epochs 10 --batch-size 8 --max-length 64 --learning-rate 1e-3 --log-every 20
tutelage dpo --model "$out/sft/model" --data "$data/pairs.jsonl" --out "$out/dpo" \
  --epochs 10 --batch-size 8 --max-length 64 --learning-rate 3e-4 --log-every 10

# Rows of any kind can be read as prompts: the same questions before and after.
tutelage sample --model "$out/sft/model" --data "$data/pairs.jsonl" --out "$out/before.jsonl" --max-new-tokens 24
tutelage sample --model "$out/dpo/model" --data "$data/pairs.jsonl" --out "$out/after.jsonl" --max-new-tokens 24
