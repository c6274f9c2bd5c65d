/* sft_options.h -- what supervised fine-tuning can be told.
 *
 * Filled by the option table in cli/sft_options.c; the trainer only reads it.
 * Names are those of TRL 1.x and transformers 5.  Strings and lists belong to
 * the mg_options that filled the struct. */
#ifndef MG_TRAIN_SFT_OPTIONS_H
#define MG_TRAIN_SFT_OPTIONS_H

#include "base/option.h"
#include "optim/options.h"
#include "peft/adapter.h"

/* Values of the enum options, in the order of their `choices`. */
typedef enum mg_quant_type { MG_QUANT_NF4, MG_QUANT_FP4 } mg_quant_type;
typedef enum mg_dtype_choice { MG_DTYPE_AUTO, MG_DTYPE_FLOAT32, MG_DTYPE_BFLOAT16 } mg_dtype_choice;
typedef enum mg_auto { MG_AUTO, MG_YES, MG_NO } mg_auto;
typedef enum mg_truncation { MG_TRUNCATION_REFUSE, MG_TRUNCATION_DROP, MG_TRUNCATION_CUT } mg_truncation;
typedef enum mg_strictness { MG_STRICT_REFUSE, MG_STRICT_DROP } mg_strictness;

typedef struct mg_sft_options {
    /* model */
    char   *model_name_or_path; /* folder or .gguf; NULL: not given */
    char   *adapter;            /* folder of an adapter to go on from; NULL: a new one */
    char   *chat_template;      /* file, or name of a built-in one; NULL: the model's */
    char   *device;             /* auto, cpu, cuda, cuda:0 */
    int     dtype;              /* mg_dtype_choice */
    bool    load_in_4bit;
    int     bnb_4bit_quant_type; /* mg_quant_type */
    int64_t bnb_4bit_blocksize;  /* 64 or 128 */
    bool    use_bnb_nested_quant;
    bool    load_in_8bit;
    double  llm_int8_threshold;
    mg_list llm_int8_skip_modules;

    /* data */
    mg_list dataset, eval_dataset; /* files or folders */
    mg_list dataset_task, dataset_weight, dataset_label; /* of data set i; fewer or "": not said */
    double  sampling_temperature;
    int64_t doc_stride; /* tokens */
    double  val_size;              /* < 1: fraction of the training data, else samples; 0: none */
    int64_t max_length;            /* tokens */
    int64_t max_samples;           /* 0: all */
    double  train_fraction;        /* of the training data, 0 < it <= 1 */
    mg_list stages;                /* rising parts of the data, "0.1", "1"; none: everything at once */
    double  stage_threshold;       /* what a stage must gain for the next to begin */
    bool    assistant_only_loss, completion_only_loss, append_eos;
    int     truncation;             /* mg_truncation */
    int     empty_mask, bad_lines;  /* mg_strictness */
    bool    packing, shuffle;

    /* adapter */
    int     method; /* number in peft.def */
    _Alignas(max_align_t) char method_own[MG_METHODS_MOST][MG_METHOD_OWN]; /* what the methods' own tables fill */
    int64_t lora_r;
    double  lora_alpha, lora_dropout;
    bool    use_rslora;
    mg_list lora_target_modules; /* roles (q k v o gate up down), names of modules, or the one item all-linear */
    mg_list layers_to_transform; /* "0", "5-8"; none: all */
    mg_list rank_pattern, alpha_pattern; /* "q_proj=8" */
    mg_list modules_to_save;     /* "lm_head", "embed_tokens" */

    /* optimisation */
    double  num_train_epochs;
    int64_t max_steps; /* -1: num_train_epochs decides */
    int64_t per_device_train_batch_size, gradient_accumulation_steps;
    double  learning_rate;
    int     lr_scheduler_type; /* number in optim/schedule.def */
    double  warmup_steps;      /* < 1: fraction of all steps */
    double  weight_decay, max_grad_norm; /* max_grad_norm 0: no clipping */
    double  adam_beta1, adam_beta2, adam_epsilon;
    int     optim; /* number in optim/optim.def */
    double  neftune_noise_alpha; /* 0: none */
    mg_optim_options optimisation; /* of single optimizers and schedules */
    int64_t seed;

    /* records and stopping */
    char   *output_dir;    /* NULL: runs */
    char   *run_name;      /* NULL: made from model and date */
    int64_t logging_steps;
    int64_t save_steps;       /* 0: at the end of every epoch */
    int64_t save_total_limit; /* 0: keep all */
    int64_t eval_steps;       /* 0: whenever a checkpoint is saved */
    int64_t early_stopping_patience; /* evaluations without improvement; 0: never stop */
    double  early_stopping_threshold;
    bool    load_best_model_at_end;
    char   *metric_for_best_model;
    int     greater_is_better;     /* mg_auto */
    bool    predict_with_generate; /* answer validation questions at each evaluation, and score the answers */
    mg_list generation_metrics;
    int64_t generation_max_new_tokens, max_predict_samples; /* samples 0: all */
    mg_list sample_prompts; /* prompts, or one file with a prompt a line */
    char   *resume_from_checkpoint; /* checkpoint folder, "last" / "true"; NULL: a new run */

    /* machine */
    int      gradient_checkpointing; /* mg_auto */
    int64_t  threads;                /* 0: every usable core */
    uint64_t memory_limit;           /* bytes; 0: what is free */
} mg_sft_options;

#endif
