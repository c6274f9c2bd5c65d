/* template_builtin.c -- chat templates for models whose files carry none, written from the formats' descriptions.
 *
 * Each row is a format: which marks stand around a turn, what the roles are called, where a system message goes.
 * They carry {% generation %} marks, so what an assistant says (with its end of turn) is known without searching.
 */
#include "text/template.h"

#include <string.h>

#define ALTERNATE                                            \
    "{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}" \
    "{{- raise_exception('user and assistant must take turns, beginning with the user') }}{%- endif %}"
/* The first message apart when it is a system message. */
#define SYSTEM_APART                                                    \
    "{%- set has_system = messages and messages[0].role == 'system' %}" \
    "{%- set turns = messages[1:] if has_system else messages %}"

static const struct {
    const char *name, *text;
} rows[] = {
    /* <start_of_turn>user\n...<end_of_turn>\n<start_of_turn>model\n...<end_of_turn>\n; system before the first
       turn */
    { "gemma", "{{- bos_token }}" SYSTEM_APART "{%- for m in turns %}" ALTERNATE
               "{{- '<start_of_turn>' ~ ('model' if m.role == 'assistant' else m.role) ~ '\\n' }}"
               "{%- if loop.first and has_system %}{{- messages[0].content ~ '\\n\\n' }}{%- endif %}"
               "{%- if m.role == 'assistant' %}"
               "{%- generation %}{{- m.content | trim ~ '<end_of_turn>' }}{%- endgeneration %}"
               "{%- else %}{{- m.content | trim ~ '<end_of_turn>' }}{%- endif %}{{- '\\n' }}"
               "{%- endfor %}"
               "{%- if add_generation_prompt %}{{- '<start_of_turn>model\\n' }}{%- endif %}" },
    /* <|im_start|>role\n...<|im_end|>\n */
    { "chatml", "{%- for m in messages %}{{- '<|im_start|>' ~ m.role ~ '\\n' }}"
                "{%- if m.role == 'assistant' %}"
                "{%- generation %}{{- m.content ~ '<|im_end|>' }}{%- endgeneration %}"
                "{%- else %}{{- m.content ~ '<|im_end|>' }}{%- endif %}{{- '\\n' }}"
                "{%- endfor %}"
                "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}" },
    /* <s>[INST] <<SYS>>\n...\n<</SYS>>\n\n... [/INST] ... </s> */
    { "llama2", SYSTEM_APART "{%- for m in turns %}" ALTERNATE "{%- if m.role == 'user' %}"
                             "{{- bos_token ~ '[INST] ' }}"
                             "{%- if loop.first and has_system %}{{- '<<SYS>>\\n' ~ messages[0].content ~ "
                             "'\\n<</SYS>>\\n\\n' }}{%- endif %}"
                             "{{- m.content | trim ~ ' [/INST]' }}"
                             "{%- else %}{%- generation %}{{- ' ' ~ (m.content | trim) ~ ' ' ~ eos_token }}{%- "
                             "endgeneration %}{%- endif %}"
                             "{%- endfor %}" },
    /* <|start_header_id|>role<|end_header_id|>\n\n...<|eot_id|> */
    { "llama3",
      "{{- bos_token }}{%- for m in messages %}"
      "{{- '<|start_header_id|>' ~ m.role ~ '<|end_header_id|>\\n\\n' }}"
      "{%- if m.role == 'assistant' %}"
      "{%- generation %}{{- m.content | trim ~ '<|eot_id|>' }}{%- endgeneration %}"
      "{%- else %}{{- m.content | trim ~ '<|eot_id|>' }}{%- endif %}"
      "{%- endfor %}"
      "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}" },
    /* <s>[INST] ... [/INST]...</s>; a system message stands before the first question */
    { "mistral",
      "{{- bos_token }}" SYSTEM_APART "{%- for m in turns %}" ALTERNATE "{%- if m.role == 'user' %}"
      "{{- '[INST] ' }}{%- if loop.first and has_system %}{{- messages[0].content ~ '\\n\\n' }}{%- endif %}"
      "{{- m.content ~ ' [/INST]' }}"
      "{%- else %}{%- generation %}{{- m.content ~ eos_token }}{%- endgeneration %}{%- endif %}"
      "{%- endfor %}" },
};

const char *mg_template_builtin(const char *name) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(name, rows[i].name)) return rows[i].text;
    return NULL;
}
