#!/usr/bin/env bash
# The outer loop on a small made-up world: ./loop.sh [FOLDER]
set -euo pipefail
recipe=$(cd "$(dirname "$0")/../src/tutelage/recipes" && pwd)/loop.yaml
out=${1:-runs/example-loop}
mkdir -p "$out"
cd "$out" # the paths in the recipe are relative

# A world with facts to get right, a small model, and a first, imperfect answerer (far shorter than the demo's).
tutelage data make news --out demo/data --documents 400 --demonstrations 200 --prompts 64
tutelage pretrain --data demo/data/corpus.jsonl --out demo/pretrain --steps 20 --layers 2 --hidden-size 64 \
  --vocab-size 800 --max-length 192 --log-every 10
tutelage sft --model demo/pretrain/model --data demo/data/sft.jsonl --out demo/sft --steps 20 --max-length 256 \
  --learning-rate 1e-3 --log-every 10

# The recipe, cut down to seconds: a flag or --set wins over the file, a mapping is replaced whole.
head -n 12 demo/data/prompts.test.jsonl > demo/data/few.jsonl
tutelage loop "$recipe" --rounds 2 --prompts-per-round 12 --test-prompts demo/data/few.jsonl \
  --set "sample={n: 4, max_new_tokens: 16}" --set "reward={steps: 4, max_length: 256}" \
  --set "improve={steps: 2, batch_size: 16, max_length: 256, max_new_tokens: 16, learning_rate: 1e-4}" \
  --set "evaluate={max_new_tokens: 16, raters: fresh:3}"
tutelage report loop --out report.html
