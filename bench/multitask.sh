#!/bin/sh
# multitask.sh -- one run that learns three things on one base: JNLI (a head for classes), JSQuAD (a head for places)
# and answering in Japanese (generation), with the scores of the untrained base beside those after it.
#
#     bench/multitask.sh MIGAKI MODEL DATA OUT [STEPS]
#
# DATA has jnli/valid.jsonl, jsquad/valid.json and instruction_ja/sft.derived.jsonl (JGLUE's public parts).  160 records
# of each are put aside by the program (val_size, one seed), so training and validation share none.
set -eu
migaki=$1 model=$2 data=$3 out=$4 steps=${5:-150}
mkdir -p "$out"
cat > "$out/mixture.yaml" <<YAML
model_name_or_path: $model
datasets:
  - path: $data/jnli/valid.jsonl
    name: jnli
    task: classification
    weight: 4
  - path: $data/jsquad/valid.json
    name: jsquad
    task: question_answering
    weight: 4
  - path: $data/instruction_ja/sft.derived.jsonl
    name: answers
    task: generation
    weight: 2
val_size: 160
max_length: 384
truncation: drop
per_device_train_batch_size: 8
gradient_accumulation_steps: 2
learning_rate: 5e-4
max_steps: $steps
eval_steps: $steps
save_steps: $steps
logging_steps: 10
seed: 1
YAML
"$migaki" sft -c "$out/mixture.yaml" -o "$out/run"
sed -n '1p' "$out/run/trainer_log.jsonl"
grep '"eval_loss"' "$out/run/trainer_log.jsonl" | tail -1
