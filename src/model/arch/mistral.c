/* mistral.c -- Mistral: Llama's block, where every layer sees a window of the tokens before (v0.1; later versions
 * have none).  llama.cpp writes these models as "llama", and without the window:
 * such a file is read as that, its row stands first in arch.def. */
#include "model/model.h"

const mg_arch mg_arch_mistral = {
    .name = "mistral", .hf_class = "MistralForCausalLM", .hf_types = { "mistral" }, .gguf_archs = { "llama" },
    .prefix = "model.", .ends = mg_llama_ends, .weights = mg_llama_weights,
    .activation = "silu", .block = mg_llama_block,
};
