/* sft_options.c -- every option of supervised fine-tuning, one row each.
 *
 * Canonical names are TRL's and transformers'; the aliases are what LLaMA-Factory,
 * Axolotl, Unsloth, torchtune and mlx-lm call the same thing, so their files are
 * read as they are.  Keys that only those programs need stand at the end with
 * the reason why nothing is lost without them. */
#include "cli/sft_options.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* "|adamw,adamw_torch,...|..." from the tables */
static const char schedules[] =
#define SCHEDULE(x, also) "|" #x also
#include "optim/schedule.def"
#undef SCHEDULE
    ;
static const char optimizers[] =
#define OPTIMIZER(x, also) "|" #x also
#include "optim/optim.def"
#undef OPTIMIZER
    ;

#define AT(field) offsetof(mg_sft_options, field)

#define MODEL    MG_N("Model")
#define DATA     MG_N("Data")
#define ADAPTER  MG_N("Adapter")
#define OPTIMISE MG_N("Optimisation")
#define RECORDS  MG_N("Records and stopping")
#define MACHINE  MG_N("Machine")

#define METHOD(x) "|" #x
static const char methods[] = ""
#include "peft/peft.def"
    ;
#undef METHOD
#define METHODS (methods + 1)

const mg_option mg_sft_option_rows[] = {
    /* ---- model ---- */
    { .name = "model_name_or_path", .aliases = "model,base_model,model_id,pretrained_model_name_or_path",
      .type = &mg_option_string, .offset = AT(model_name_or_path), .flag = 'm', .metavar = "MODEL", .group = MODEL,
      .help = MG_N("the model: a Hugging Face folder or a .gguf file") },
    { .name = "adapter", .aliases = "adapter{lora>|qlora>|none>|*},adapter_name_or_path,lora_model_dir,resume_adapter_file",
      .type = &mg_option_string, .offset = AT(adapter), .flag = 'a', .metavar = "DIR", .group = MODEL,
      .help = MG_N("go on from this adapter instead of a new one") },
    { .name = "chat_template", .aliases = "chat_template_path,template", .type = &mg_option_string,
      .offset = AT(chat_template), .metavar = "FILE", .group = MODEL,
      .help = MG_N("chat template: a Jinja file or a built-in name; otherwise the model's own") },
    { .name = "device", .type = &mg_option_string, .offset = AT(device), .def = "auto", .metavar = "DEVICE", .group = MODEL,
      .help = MG_N("where to compute: auto (a GPU if there is one), cpu, cuda or cuda:0") },
    { .name = "dtype",
      .aliases = "torch_dtype,model_dtype,bf16{true>bfloat16|false>float32|auto>auto},fp16{false>|auto>},"
                 "model_init_kwargs.dtype,model_init_kwargs.torch_dtype",
      .type = &mg_option_enum, .offset = AT(dtype), .def = "auto",
      .choices = "auto,none|float32,fp32,f32|bfloat16,bf16", .group = MODEL,
      .help = MG_N("number format of the frozen weights and products; bf16=true means bfloat16") },
    { .name = "load_in_4bit",
      .aliases = "quantization_bit{4>true|8>false|none>false|0>false},quantization_config.load_in_4bit",
      .type = &mg_option_bool, .offset = AT(load_in_4bit), .def = "false", .group = MODEL,
      .help = MG_N("keep the frozen weights in 4 bits (QLoRA)") },
    { .name = "load_in_8bit", .aliases = "quantization_bit{8>true|4>false|none>false|0>false},quantization_config.load_in_8bit",
      .type = &mg_option_bool, .offset = AT(load_in_8bit), .def = "false", .group = MODEL,
      .help = MG_N("keep the frozen weights in 8 bits (LLM.int8)") },
    { .name = "llm_int8_threshold", .aliases = "quantization_config.llm_int8_threshold", .type = &mg_option_float,
      .offset = AT(llm_int8_threshold), .def = "6", .min = 0, .max = 1e9, .group = MODEL,
      .help = MG_N("load_in_8bit: inputs from this size on are not rounded, nor are their columns; 0: all are") },
    { .name = "llm_int8_skip_modules", .aliases = "quantization_config.llm_int8_skip_modules", .type = &mg_option_list,
      .offset = AT(llm_int8_skip_modules), .metavar = "NAME", .group = MODEL,
      .help = MG_N("load_in_8bit and load_in_4bit: modules that stay as they are, beside embeddings and heads, which always do") },
    { .name = "bnb_4bit_quant_type", .aliases = "quantization_type,quantization_config.bnb_4bit_quant_type",
      .type = &mg_option_enum, .offset = AT(bnb_4bit_quant_type), .def = "nf4", .choices = "nf4|fp4", .group = MODEL,
      .help = MG_N("4-bit format") },
    { .name = "bnb_4bit_blocksize", .type = &mg_option_int, .offset = AT(bnb_4bit_blocksize), .def = "64", .min = 64,
      .max = 128, .group = MODEL, .help = MG_N("weights that share a 4-bit scale: 64 or 128") },
    { .name = "use_bnb_nested_quant",
      .aliases = "bnb_4bit_use_double_quant,double_quantization,quantization_config.bnb_4bit_use_double_quant",
      .type = &mg_option_bool, .offset = AT(use_bnb_nested_quant), .def = "false", .group = MODEL,
      .help = MG_N("keep the 4-bit scales in 8 bits as well") },

    /* ---- data ---- */
    { .name = "dataset", .aliases = "dataset_name,datasets[].path,datasets,train_file,data_path,train_data,data",
      .type = &mg_option_list, .offset = AT(dataset), .flag = 'd', .metavar = "FILE", .group = DATA,
      .help = MG_N("training data: JSONL, JSON, CSV or TSV, or a folder with train and valid files") },
    { .name = "eval_dataset", .aliases = "test_datasets[].path,validation_file,eval_file,valid_file,eval_data_path",
      .type = &mg_option_list, .offset = AT(eval_dataset), .metavar = "FILE", .group = DATA,
      .help = MG_N("validation data") },
    { .name = "dataset_task", .aliases = "datasets[].task,task,tasks", .type = &mg_option_list, .offset = AT(dataset_task), .metavar = "TASK",
      .group = DATA,
      .help = MG_N("what each data set teaches: auto, generation, classification, regression, token_classification or question_answering") },
    { .name = "dataset_weight", .aliases = "datasets[].weight,interleave_probs,mixing_weights", .type = &mg_option_list,
      .offset = AT(dataset_weight), .metavar = "NUMBER", .group = DATA,
      .help = MG_N("how much of an epoch each data set makes up, in proportion; otherwise its size decides") },
    { .name = "dataset_label", .aliases = "datasets[].name,dataset_labels", .type = &mg_option_list, .offset = AT(dataset_label),
      .metavar = "NAME", .group = DATA, .help = MG_N("what each data set is called in records; otherwise as its file or folder") },
    { .name = "sampling_temperature", .aliases = "mixing_temperature", .type = &mg_option_float, .offset = AT(sampling_temperature),
      .def = "1", .min = 0.01, .max = 1e6, .group = DATA,
      .help = MG_N("draw from each data set in proportion to size^(1/T): 1 as it is, larger evens sizes out") },
    { .name = "doc_stride", .aliases = "stride", .type = &mg_option_int, .offset = AT(doc_stride), .def = "128", .min = 0, .max = 1 << 20,
      .group = DATA, .help = MG_N("question answering: tokens that two windows of a long context share") },
    { .name = "val_size", .aliases = "val_set_size,validation_split,eval_split_ratio", .type = &mg_option_float,
      .offset = AT(val_size), .def = "0", .min = 0, .max = 1e9, .group = DATA,
      .help = MG_N("take this much of the training data for validation: a fraction below 1, or a number of samples") },
    { .name = "max_length", .aliases = "max_seq_length,cutoff_len,sequence_len,max_seq_len,model_max_length",
      .type = &mg_option_int, .offset = AT(max_length), .def = "1024", .min = 2, .max = 1 << 20, .group = DATA,
      .help = MG_N("longest sample in tokens") },
    { .name = "max_samples", .aliases = "max_train_samples", .type = &mg_option_int, .offset = AT(max_samples),
      .def = "0", .min = 0, .max = INFINITY, .group = DATA, .help = MG_N("read at most this many samples; 0: all") },
    { .name = "train_fraction", .aliases = "subset_fraction", .type = &mg_option_float, .offset = AT(train_fraction), .def = "1", .min = 0,
      .max = 1, .group = DATA, .help = MG_N("train on this part of the data; a smaller part lies in every larger one") },
    { .name = "stages", .type = &mg_option_list, .offset = AT(stages), .metavar = "PART,...", .group = DATA,
      .help = MG_N("staged training: first on a small part of the data, then on more, such as 0.1,0.3,1; each for num_train_epochs") },
    { .name = "stage_threshold", .type = &mg_option_float, .offset = AT(stage_threshold), .def = "0", .min = 0, .max = INFINITY,
      .group = DATA, .help = MG_N("stop after a stage that did not better the validation by more than this") },
    { .name = "assistant_only_loss",
      .aliases = "train_on_inputs{true>false|false>true},train_on_prompt{true>false|false>true},mask_prompt,"
                 "train_on_responses_only",
      .type = &mg_option_bool, .offset = AT(assistant_only_loss), .def = "true", .group = DATA,
      .help = MG_N("conversations: learn only what the assistant says") },
    { .name = "completion_only_loss",
      .aliases = "train_on_inputs{true>false|false>true},train_on_prompt{true>false|false>true},mask_prompt,"
                 "train_on_responses_only",
      .type = &mg_option_bool, .offset = AT(completion_only_loss), .def = "true", .group = DATA,
      .help = MG_N("prompt and completion: learn only the completion") },
    { .name = "append_eos", .aliases = "add_eos_token,train_on_eos{all>true|last>true|turn>true|none>false}",
      .type = &mg_option_bool, .offset = AT(append_eos), .def = "true", .group = DATA,
      .help = MG_N("end texts and completions with the end token, and learn it") },
    { .name = "truncation", .aliases = "excess_length_strategy{drop>drop|truncate>cut|raise>refuse}",
      .type = &mg_option_enum, .offset = AT(truncation), .def = "refuse", .choices = "refuse|drop|cut", .group = DATA,
      .help = MG_N("a sample longer than max_length: stop before training, leave it out, or cut it") },
    { .name = "empty_mask", .type = &mg_option_enum, .offset = AT(empty_mask), .def = "refuse",
      .choices = "refuse|drop", .group = DATA,
      .help = MG_N("a sample without a learned token: stop before training, or leave it out") },
    { .name = "bad_lines", .type = &mg_option_enum, .offset = AT(bad_lines), .def = "refuse",
      .choices = "refuse|drop", .group = DATA,
      .help = MG_N("a broken line in the data: stop before training, or leave it out and count it") },
    { .name = "packing", .aliases = "sample_packing,neat_packing", .type = &mg_option_bool, .offset = AT(packing),
      .def = "false", .group = DATA, .help = MG_N("put several short samples into one sequence; they never see each other") },
    { .name = "shuffle", .aliases = "shuffle_dataset,shuffle_merged_datasets,disable_shuffling{true>false|false>true}",
      .type = &mg_option_bool, .offset = AT(shuffle), .def = "true", .group = DATA,
      .help = MG_N("new order of the samples in each epoch") },

    /* ---- adapter ---- */
    { .name = "method", .aliases = "finetuning_type,fine_tune_type,pissa_init{true>pissa|false>},init_lora_weights{true>|pissa>pissa|olora>olora|loftq>loftq},use_dora{true>dora|false>},peft_use_dora{true>dora|false>}", .type = &mg_option_enum, .offset = AT(method), .def = "lora",
      .choices = METHODS, .group = ADAPTER, .help = MG_N("how to fine-tune") },
    { .name = "lora_r", .aliases = "lora_rank,r,rank,peft_lora_r,lora_parameters.rank", .type = &mg_option_int,
      .offset = AT(lora_r), .def = "16", .min = 1, .max = 4096, .group = ADAPTER, .help = MG_N("rank of LoRA") },
    { .name = "lora_alpha", .aliases = "alpha,peft_lora_alpha,lora_parameters.alpha", .type = &mg_option_float,
      .offset = AT(lora_alpha), .def = "32", .min = 0, .max = 65536, .group = ADAPTER,
      .help = MG_N("LoRA's update is scaled by alpha / rank") },
    { .name = "lora_dropout", .aliases = "dropout,lora_parameters.dropout", .type = &mg_option_float,
      .offset = AT(lora_dropout), .def = "0", .min = 0, .max = 0.95, .group = ADAPTER,
      .help = MG_N("dropout before LoRA") },
    { .name = "use_rslora", .aliases = "peft_use_rslora,rslora", .type = &mg_option_bool, .offset = AT(use_rslora),
      .def = "false", .group = ADAPTER, .help = MG_N("scale by alpha / sqrt(rank)") },
    { .name = "lora_target_modules",
      .aliases = "lora_target,target_modules,lora_target_linear{true>all-linear|false>},lora_parameters.keys",
      .type = &mg_option_list, .offset = AT(lora_target_modules), .def = "all-linear", .metavar = "MODULES",
      .group = ADAPTER, .help = MG_N("layers that get an adapter: all-linear, roles (q, k, v, o, gate, up, down) or names of modules") },
    { .name = "layers_to_transform", .aliases = "trainable_layers,lora_layers_to_transform,peft_layers_to_transform", .type = &mg_option_list, .offset = AT(layers_to_transform), .metavar = "0,5-8", .group = ADAPTER,
      .help = MG_N("only these blocks train") },
    { .name = "rank_pattern", .type = &mg_option_list, .offset = AT(rank_pattern), .metavar = "MODULE=R", .group = ADAPTER,
      .help = MG_N("other ranks for some layers") },
    { .name = "alpha_pattern", .type = &mg_option_list, .offset = AT(alpha_pattern), .metavar = "MODULE=A", .group = ADAPTER,
      .help = MG_N("other alphas for some layers") },
    { .name = "modules_to_save", .aliases = "lora_modules_to_save,additional_target", .type = &mg_option_list, .offset = AT(modules_to_save),
      .metavar = "MODULES", .group = ADAPTER, .help = MG_N("modules trained as a whole beside the adapter, such as lm_head and embed_tokens") },
    { .name = "", .tables = mg_method_tables, .offset = AT(method_own) },

    /* ---- optimisation ---- */
    { .name = "num_train_epochs", .aliases = "num_epochs,epochs", .type = &mg_option_float,
      .offset = AT(num_train_epochs), .def = "3", .min = 0, .max = 1e6, .group = OPTIMISE,
      .help = MG_N("passes over the data") },
    { .name = "max_steps", .aliases = "iters,max_iters", .type = &mg_option_int, .offset = AT(max_steps), .def = "-1",
      .min = -1, .max = INFINITY, .group = OPTIMISE,
      .help = MG_N("stop after this many optimizer steps; -1: num_train_epochs decides") },
    { .name = "per_device_train_batch_size", .aliases = "micro_batch_size,batch_size,per_device_batch_size",
      .type = &mg_option_int, .offset = AT(per_device_train_batch_size), .def = "4", .min = 1, .max = 65536,
      .group = OPTIMISE, .help = MG_N("samples in memory at once") },
    { .name = "gradient_accumulation_steps", .aliases = "grad_accum,grad_accumulation_steps,accumulate_grad_batches",
      .type = &mg_option_int, .offset = AT(gradient_accumulation_steps), .def = "1", .min = 1, .max = 65536,
      .group = OPTIMISE, .help = MG_N("batches summed into one optimizer step") },
    { .name = "learning_rate", .aliases = "lr", .type = &mg_option_float, .offset = AT(learning_rate), .def = "2e-4",
      .min = 0, .max = 10, .group = OPTIMISE, .help = MG_N("highest learning rate") },
    { .name = "lr_scheduler_type", .aliases = "lr_scheduler,lr_schedule", .type = &mg_option_enum,
      .offset = AT(lr_scheduler_type), .def = "cosine", .choices = &schedules[1],
      .group = OPTIMISE, .help = MG_N("how the learning rate goes down") },
    { .name = "warmup_steps", .aliases = "warmup_ratio,num_warmup_steps,warmup", .type = &mg_option_float,
      .offset = AT(warmup_steps), .def = "0.03", .min = 0, .max = 1e9, .group = OPTIMISE,
      .help = MG_N("steps until the highest learning rate; a fraction of all steps when below 1") },
    { .name = "weight_decay", .type = &mg_option_float, .offset = AT(weight_decay), .def = "0", .min = 0, .max = 1,
      .group = OPTIMISE, .help = MG_N("AdamW's decoupled weight decay") },
    { .name = "max_grad_norm", .aliases = "gradient_clipping,grad_clip", .type = &mg_option_float,
      .offset = AT(max_grad_norm), .def = "1", .min = 0, .max = 1e9, .group = OPTIMISE,
      .help = MG_N("scale the gradient down to this norm; 0: never") },
    { .name = "adam_beta1", .aliases = "beta1", .type = &mg_option_float, .offset = AT(adam_beta1), .def = "0.9",
      .min = 0, .max = 0.99999999, .group = OPTIMISE, .help = MG_N("AdamW's decay of the mean gradient") },
    { .name = "adam_beta2", .aliases = "beta2", .type = &mg_option_float, .offset = AT(adam_beta2), .def = "0.999",
      .min = 0, .max = 0.99999999, .group = OPTIMISE, .help = MG_N("AdamW's decay of the mean squared gradient") },
    { .name = "adam_epsilon", .aliases = "adam_eps,eps", .type = &mg_option_float, .offset = AT(adam_epsilon),
      .def = "1e-8", .min = 0, .max = 1, .group = OPTIMISE, .help = MG_N("AdamW's epsilon") },
    { .name = "optim", .aliases = "optimizer", .type = &mg_option_enum, .offset = AT(optim), .def = "adamw",
      .choices = &optimizers[1], .group = OPTIMISE, .help = MG_N("optimizer") },
    { .name = "neftune_noise_alpha", .aliases = "neftune_alpha,noisy_embedding_alpha", .type = &mg_option_float, .offset = AT(neftune_noise_alpha), .def = "0", .min = 0,
      .max = 1000, .group = OPTIMISE, .help = MG_N("NEFTune: noise on the embeddings in training; 5 is usual, 0: none") },
    { .name = "", .tables = mg_optim_tables, .offset = AT(optimisation) },
    { .name = "seed", .aliases = "data_seed,random_state", .type = &mg_option_int, .offset = AT(seed), .def = "42",
      .min = 0, .max = INFINITY, .group = OPTIMISE, .help = MG_N("seed of all random numbers") },

    /* ---- records and stopping ---- */
    { .name = "output_dir", .aliases = "adapter_path,output", .type = &mg_option_string, .offset = AT(output_dir),
      .flag = 'o', .metavar = "DIR", .group = RECORDS, .help = MG_N("folder of this run; otherwise runs/NAME") },
    { .name = "run_name", .aliases = "wandb_name", .type = &mg_option_string, .offset = AT(run_name), .metavar = "NAME",
      .group = RECORDS, .help = MG_N("name of the run; otherwise made from model and date") },
    { .name = "logging_steps", .aliases = "steps_per_report,log_every_n_steps", .type = &mg_option_int,
      .offset = AT(logging_steps), .def = "10", .min = 1, .max = INFINITY, .group = RECORDS,
      .help = MG_N("steps between two log lines") },
    { .name = "save_steps", .aliases = "save_every", .type = &mg_option_int, .offset = AT(save_steps), .def = "0",
      .min = 0, .max = INFINITY, .group = RECORDS,
      .help = MG_N("steps between two checkpoints; 0: at the end of every epoch") },
    { .name = "save_total_limit", .type = &mg_option_int, .offset = AT(save_total_limit), .def = "3", .min = 0,
      .max = INFINITY, .group = RECORDS,
      .help = MG_N("keep this many checkpoints, and always the best; 0: keep all") },
    { .name = "eval_steps", .aliases = "steps_per_eval,eval_every", .type = &mg_option_int, .offset = AT(eval_steps),
      .def = "0", .min = 0, .max = INFINITY, .group = RECORDS,
      .help = MG_N("steps between two evaluations; 0: with every checkpoint") },
    { .name = "early_stopping_patience", .type = &mg_option_int, .offset = AT(early_stopping_patience), .def = "0",
      .min = 0, .max = INFINITY, .group = RECORDS,
      .help = MG_N("stop after this many evaluations without improvement; 0: never") },
    { .name = "early_stopping_threshold", .type = &mg_option_float, .offset = AT(early_stopping_threshold),
      .def = "0", .min = 0, .max = INFINITY, .group = RECORDS,
      .help = MG_N("an improvement must be larger than this") },
    { .name = "load_best_model_at_end", .type = &mg_option_bool, .offset = AT(load_best_model_at_end), .def = "false",
      .group = RECORDS, .help = MG_N("the run's adapter is that of the best checkpoint, not the last") },
    { .name = "metric_for_best_model", .type = &mg_option_string, .offset = AT(metric_for_best_model),
      .def = "eval_loss", .metavar = "NAME", .group = RECORDS,
      .help = MG_N("what decides about best and early stopping: eval_loss, eval_accuracy, eval_perplexity, eval_gap, or a score of generated "
                   "answers: eval_bleu, eval_rougeL, eval_exact_match, ...") },
    { .name = "greater_is_better", .type = &mg_option_enum, .offset = AT(greater_is_better), .def = "auto", .choices = "auto,none|true|false",
      .group = RECORDS, .help = MG_N("is a greater metric_for_best_model better? auto: by the metric") },
    { .name = "predict_with_generate", .type = &mg_option_bool, .offset = AT(predict_with_generate), .def = "false", .group = RECORDS,
      .help = MG_N("answer questions of the validation data at each evaluation, and score the answers") },
    { .name = "generation_metrics", .type = &mg_option_list, .offset = AT(generation_metrics), .def = "exact_match,char_f1,bleu,chrf,rougeL",
      .metavar = "NAME,...", .group = RECORDS, .help = MG_N("scores of these answers") },
    { .name = "generation_max_new_tokens", .aliases = "generation_max_length,max_new_tokens", .type = &mg_option_int,
      .offset = AT(generation_max_new_tokens), .def = "128", .min = 1, .max = 1 << 20, .group = RECORDS,
      .help = MG_N("longest of these answers in tokens") },
    { .name = "max_predict_samples", .type = &mg_option_int, .offset = AT(max_predict_samples), .def = "32", .min = 0, .max = INFINITY,
      .group = RECORDS, .help = MG_N("answer so many questions of the validation data; 0: all") },
    { .name = "sample_prompts", .type = &mg_option_texts, .offset = AT(sample_prompts), .metavar = "TEXT|FILE",
      .group = RECORDS, .help = MG_N("answer these before, during and after training; repeat the option, or name a file") },
    { .name = "resume_from_checkpoint", .type = &mg_option_string, .offset = AT(resume_from_checkpoint),
      .metavar = "DIR", .group = RECORDS, .help = MG_N("go on from a checkpoint; `last` takes the newest valid one") },

    /* ---- machine ---- */
    { .name = "gradient_checkpointing", .aliases = "grad_checkpoint,use_gradient_checkpointing{unsloth>true|*}",
      .type = &mg_option_enum, .offset = AT(gradient_checkpointing), .def = "auto", .choices = "auto|true|false",
      .group = MACHINE, .help = MG_N("compute activations again instead of keeping them: less memory, more time") },
    { .name = "threads", .aliases = "num_threads", .type = &mg_option_int, .offset = AT(threads), .def = "0", .min = 0,
      .max = 256, .group = MACHINE, .help = MG_N("CPU threads; 0: every usable core") },
    { .name = "memory_limit", .aliases = "max_memory", .type = &mg_option_size, .offset = AT(memory_limit), .def = "0",
      .group = MACHINE, .help = MG_N("use at most this much memory; 0: what is free") },
    { 0 },
};

#define ONE_DEVICE MG_N("this program plans memory and devices itself")
#define OWN_KERNEL MG_N("attention and kernels are built in")
#define OWN_LOG    MG_N("logs stay in the run's folder; nothing is sent anywhere")
#define RECOGNISED MG_N("the form of the data is recognised from the file")
#define BY_STEPS   MG_N("save_steps, eval_steps and logging_steps say when")
#define NEVER_CODE MG_N("no code from model folders is run")
#define NO_METHOD  MG_N("this program does not have the method")

const mg_option_foreign mg_foreign_options[] = {
    { "deepspeed*", NULL, ONE_DEVICE },
    { "fsdp*", NULL, ONE_DEVICE },
    { "ddp_*", NULL, ONE_DEVICE },
    { "device_map*", NULL, ONE_DEVICE },
    { "local_rank", NULL, ONE_DEVICE },
    { "per_device_eval_batch_size", NULL, ONE_DEVICE },
    { "eval_batch_size", NULL, ONE_DEVICE },
    { "dataloader_*", NULL, ONE_DEVICE },
    { "dataset_num_proc", NULL, ONE_DEVICE },
    { "preprocessing_num_workers", NULL, ONE_DEVICE },
    { "group_by_length", NULL, MG_N("sequences are never padded, so nothing is gained by grouping") },
    { "pad_to_sequence_len", NULL, MG_N("sequences are never padded") },
    { "pad_token", NULL, MG_N("sequences are never padded") },
    { "padding_free", NULL, MG_N("sequences are never padded") },
    { "gradient_checkpointing_kwargs*", NULL, ONE_DEVICE },
    { "flash_attn*", NULL, OWN_KERNEL },
    { "flash_attention", NULL, OWN_KERNEL },
    { "xformers_attention", NULL, OWN_KERNEL },
    { "sdp_attention", NULL, OWN_KERNEL },
    { "attn_implementation", NULL, OWN_KERNEL },
    { "use_unsloth*", NULL, OWN_KERNEL },
    { "unsloth_*", NULL, OWN_KERNEL },
    { "use_liger_kernel", NULL, OWN_KERNEL },
    { "liger_*", NULL, OWN_KERNEL },
    { "enable_liger_kernel", NULL, OWN_KERNEL },
    { "torch_compile*", NULL, OWN_KERNEL },
    { "tf32", NULL, OWN_KERNEL },
    { "bnb_4bit_compute_dtype", NULL, MG_N("dtype says how products are computed") },
    { "quantization_method", "bitsandbytes|bnb", MG_N("load_in_4bit and load_in_8bit are what there is") },
    { "report_to", NULL, OWN_LOG },
    { "wandb_*", NULL, OWN_LOG },
    { "mlflow_*", NULL, OWN_LOG },
    { "use_tensorboard", NULL, OWN_LOG },
    { "logging_dir", NULL, OWN_LOG },
    { "logging_first_step", NULL, OWN_LOG },
    { "plot_loss", NULL, MG_N("the run's folder always has the curves") },
    { "push_to_hub*", "false|none", MG_N("nothing is uploaded; `export` writes what a hub wants") },
    { "hub_*", NULL, MG_N("nothing is uploaded") },
    { "overwrite_output_dir", NULL, MG_N("a run never overwrites another") },
    { "overwrite_cache", NULL, MG_N("there is no cache of prepared data") },
    { "dataset_prepared_path", NULL, MG_N("there is no cache of prepared data") },
    { "dataset_dir", NULL, MG_N("`dataset` names the files themselves") },
    { "dataset_config*", NULL, RECOGNISED },
    { "dataset_text_field", NULL, RECOGNISED },
    { "datasets[].type*", NULL, RECOGNISED },
    { "datasets[].ds_type", NULL, RECOGNISED },
    { "datasets[].chat_template", NULL, RECOGNISED },
    { "datasets[].field*", NULL, RECOGNISED },
    { "datasets[].message*", NULL, RECOGNISED },
    { "datasets[].roles*", NULL, RECOGNISED },
    { "datasets[].split", "train", MG_N("name the file of the split itself") },
    { "test_datasets[].type*", NULL, RECOGNISED },
    { "test_datasets[].ds_type", NULL, RECOGNISED },
    { "test_datasets[].split", NULL, MG_N("name the file of the split itself") },
    { "save_strategy", NULL, BY_STEPS },
    { "eval_strategy", NULL, BY_STEPS },
    { "evaluation_strategy", NULL, BY_STEPS },
    { "logging_strategy", NULL, BY_STEPS },
    { "do_train", NULL, BY_STEPS },
    { "do_eval", NULL, BY_STEPS },
    { "save_only_model", NULL, MG_N("a checkpoint always holds all that resuming needs") },
    { "save_safetensors", "true", MG_N("pickles are neither read nor written") },
    { "trust_remote_code", NULL, NEVER_CODE },
    { "model_type", NULL, MG_N("the model's own files say what it is") },
    { "tokenizer_type", NULL, MG_N("the model's own files say what it is") },
    { "use_fast_tokenizer", NULL, MG_N("the model's own files say what it is") },
    { "is_llama_derived_model", NULL, MG_N("the model's own files say what it is") },
    { "lora_bias", "none", NO_METHOD },
    { "use_galore", "false", NO_METHOD },
    { "label_smoothing_factor", "0|0.0", NO_METHOD },
    { "stage", "sft", MG_N("the verb names the method: migaki sft") },
    { "rl", "none", MG_N("the verb names the method: migaki sft") },
    { "task_type", "causal_lm", MG_N("dataset_task says what is learned") },
    { "use_peft", "true", NO_METHOD },
    { "strict", NULL, MG_N("unknown keys are always errors") },
    { "special_tokens*", NULL, MG_N("special tokens come from the model's tokenizer") },
    { "lora_parameters.scale", "none", MG_N("lora_alpha / lora_r is the scale; set lora_alpha") },
    { 0 },
};

static bool seen_twice(const mg_list *list) {
    for (size_t i = 0; i < list->n; i++)
        for (size_t k = 0; k < i; k++)
            if (!strcmp(list->item[i], list->item[k])) return true;
    return false;
}

mg_status mg_sft_options_check(const mg_sft_options *o, mg_error *err) {
    bool resumes = o->resume_from_checkpoint != NULL;
    if (!o->model_name_or_path)
        return mg_fail(err, MG_USAGE, "no model is named; give -m with a Hugging Face folder or a .gguf file");
    if (!o->dataset.n)
        return mg_fail(err, MG_USAGE, "no training data is named; give -d with a JSONL, JSON, CSV or TSV file");
    if (resumes && !o->output_dir)
        return mg_fail(err, MG_USAGE, "resume_from_checkpoint needs the run's folder; give -o, or use `migaki resume RUN`");
    if (o->bnb_4bit_blocksize != 64 && o->bnb_4bit_blocksize != 128)
        return mg_fail(err, MG_CONFIG, "bnb_4bit_blocksize is %lld; wanted 64 or 128", (long long)o->bnb_4bit_blocksize);
    if (o->val_size > 0 && o->eval_dataset.n)
        return mg_fail(err, MG_CONFIG, "val_size and eval_dataset are both set; keep one of the two");
    if (seen_twice(&o->dataset)) return mg_fail(err, MG_CONFIG, "dataset: the same file is named twice");
    if (o->max_steps == 0 || (o->max_steps < 0 && o->num_train_epochs == 0))
        return mg_fail(err, MG_CONFIG, "there is nothing to train: max_steps is %lld and num_train_epochs %g",
                       (long long)o->max_steps, o->num_train_epochs);
    if (o->train_fraction <= 0) return mg_fail(err, MG_CONFIG, "train_fraction is 0; it is above 0, and 1 for all of the data");
    if (o->stages.n && o->train_fraction < 1)
        return mg_fail(err, MG_CONFIG, "stages and train_fraction both choose parts of the data; keep one of the two");
    if (o->stages.n > 1 && !o->eval_dataset.n && o->val_size == 0 && !resumes)
        return mg_fail(err, MG_CONFIG, "stages needs validation data to see whether more data helps; set val_size or eval_dataset");
    if (o->early_stopping_patience && !o->eval_dataset.n && o->val_size == 0 && !resumes)
        return mg_fail(err, MG_CONFIG, "early_stopping_patience needs validation data; set val_size or eval_dataset");
    if (o->load_best_model_at_end && !o->eval_dataset.n && o->val_size == 0 && !resumes)
        return mg_fail(err, MG_CONFIG, "load_best_model_at_end needs validation data; set val_size or eval_dataset");
    return MG_OK;
}
