/* codes.c -- one row a status of base/error.h.
 *
 * A message says what happened this time; these texts say what kind of thing it
 * is, what usually causes it, and what to do when the message is not enough. */
#include "cli/codes.h"

#include "base/option.h"

#include <stddef.h>

const mg_code mg_codes[] = {
    { MG_INTERNAL, "internal", MG_N("internal error"),
      MG_N("A promise inside the program was broken. This is a mistake of the program, not yours. Please report it with "
           "the whole message, the command line and environment.json of the run. Checkpoints written before stay valid.") },
    { MG_IO, "io", MG_N("reading or writing failed"),
      MG_N("The operating system refused to read, write, rename or sync a file: the disk is full, the folder is not "
           "writable, or the device is failing. A checkpoint that was not finished is never used. Make room (migaki runs "
           "rm removes runs), check permissions, and go on with migaki resume.") },
    { MG_USAGE, "usage", MG_N("wrong command line"),
      MG_N("A command, flag or argument is not known or lacks a value. migaki COMMAND -h lists all options; they are "
           "written --key value, --key=value or key=value.") },
    { MG_CONFIG, "config", MG_N("wrong configuration"),
      MG_N("A key or value in a configuration file or in a MIGAKI_* variable is wrong, or two options exclude each other. "
           "The message names file and line. migaki config explain KEY describes one key, --print-config shows every value "
           "with its origin.") },
    { MG_NOTFOUND, "notfound", MG_N("not found"),
      MG_N("A file, folder or run that was named does not exist. Names are relative to the current folder; migaki runs ls "
           "lists the runs, and `last` is the newest one.") },
    { MG_MISMATCH, "mismatch", MG_N("two things do not belong together"),
      MG_N("An adapter and its model, or a checkpoint and the run that wants to go on from it, differ in something that "
           "must agree: base model, rank, target modules, tokenizer or data. The message names each difference. Use the "
           "same settings, or start a new run.") },
    { MG_UNSUPPORTED, "unsupported", MG_N("valid, but not supported"),
      MG_N("The file or option is correct, but this program does not do it: for example another architecture, number "
           "format or training method. The message says what is supported instead.") },
    { MG_NOFIT, "nofit", MG_N("does not fit into memory"),
      MG_N("The plan is computed before the first step, and it needs more memory than there is; so nothing was lost. In "
           "the order of what it costs you: --gradient_checkpointing true (slower), --load_in_4bit true (slower, slightly "
           "less exact), a smaller --per_device_train_batch_size with more --gradient_accumulation_steps (same result), a "
           "smaller --max_length. migaki plan shows the sum before a run.") },
    { MG_NOMEM, "nomem", MG_N("the system gave no memory"),
      MG_N("An allocation failed while something was set up. Other programs hold the memory, or a limit (ulimit -v, a "
           "container) is lower than what is free. Close programs, raise the limit, or set --memory_limit so that the plan "
           "knows it.") },
    { MG_DATA, "data", MG_N("invalid data"),
      MG_N("A record of the training or input data is broken or has another form than the records before it. The message "
           "names file and line. Repair it, or leave such lines out with --bad_lines drop: they are then counted and "
           "named.") },
    { MG_FORMAT, "format", MG_N("malformed file"),
      MG_N("A model, tokenizer, adapter or configuration file contradicts its format: it was cut off, damaged or made by a "
           "faulty program. Compare its size and SHA-256 with the source and download it again.") },
    { MG_TEMPLATE, "template", MG_N("chat template"),
      MG_N("The chat template is invalid, uses something that templates may not do here, or refuses the conversation (many "
           "refuse two turns of the same role in a row, or a system message). Correct the data, or name another template "
           "with --chat_template.") },
    { MG_MASK, "mask", MG_N("a sample without a learned token"),
      MG_N("In this sample every token is masked, so it would train nothing: there is no assistant turn or the completion "
           "is empty. Correct the data, leave such samples out with --empty_mask drop, or learn the whole text with "
           "--assistant_only_loss false.") },
    { MG_TRUNCATED, "truncated", MG_N("a sample is too long"),
      MG_N("A sample has more tokens than max_length. Cutting would remove the end of the answer, and the model would learn "
           "never to stop. Raise --max_length, leave long samples out with --truncation drop, or cut them knowingly with "
           "--truncation cut.") },
    { MG_DEVICE, "device", MG_N("device not there"),
      MG_N("The device that was asked for does not exist or cannot be used. migaki doctor lists what there is; without a "
           "GPU everything runs on the CPU.") },
    { MG_LIBRARY, "library", MG_N("library missing"),
      MG_N("A shared library is missing, too old, or failed. migaki doctor lists versions.") },
    { MG_NETWORK, "network", MG_N("network"),
      MG_N("A download failed. It goes on where it stopped when the command is repeated. A local folder works without any "
           "network.") },
    { MG_SELFCHECK, "selfcheck", MG_N("self-check failed"),
      MG_N("What was written was read back and does not compute what was trained. Do not use the output; the run itself is "
           "unharmed. Please report it.") },
    { MG_STOPPED, "stopped", MG_N("stopped by you"),
      MG_N("The run was stopped by Ctrl-C or SIGTERM and its state is saved. migaki resume goes on exactly where it "
           "stopped.") },
    { 0 },
};

const mg_code *mg_code_find(int status) {
    for (const mg_code *c = mg_codes; c->name; c++)
        if ((int)c->status == status) return c;
    return NULL;
}
