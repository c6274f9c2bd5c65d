/* test_architectures.c -- every architecture from the command line: a tiny reference of each generates, trains, is exported to
 * GGUF and back, merged and quantised; what cannot be done with it is said.  And merging into packed weights: how far the
 * sum is from what was trained is measured, shown, and refused beyond a bound. */
#include "../deliver/rig.h"

#include <sys/wait.h>

static const char *binary; /* the program */
static mg_buf      said;   /* stdout and stderr of the last command */

/* The exit code of the program, run in a shell in `folder`. */
static int run(const char *folder, const char *command) {
    mg_buf line = { 0 };
    char   part[4096];
    mg_buf_printf(&line, "cd '%s' && '%s' %s 2>&1 < /dev/null", folder, binary, command);
    assert_false(line.failed);
    FILE *p = popen(line.data, "r"); /* NOLINT: our own command */
    assert_non_null(p);
    said.len = 0;
    for (size_t n; (n = fread(part, 1, sizeof part, p)) > 0;) mg_buf_add(&said, part, n);
    mg_buf_char(&said, 0);
    int status = pclose(p);
    mg_buf_free(&line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void wants(const char *folder, int code, const char *pattern, const char *command) {
    int got = run(folder, command);
    if (got != code || !strstr(said.data, pattern))
        fail_msg("migaki %s: exit code %d, wanted %d and '%s'; it said:\n%s", command, got, code, pattern, said.data);
}

/* The number behind "key": in the last command's JSON. */
static double number(const char *key) {
    char  quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(said.data, quoted);
    if (!at) fail_msg("no '%s' in %s", key, said.data);
    return strtod(at + strlen(quoted), NULL);
}

static bool is_there(const char *folder, const char *name) { return mg_is_file(under(folder, name)) || mg_is_folder(under(folder, name)); }

static void write_data(const char *folder) {
    static const char rows[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"the sea\"}, {\"role\": \"assistant\", \"content\": \"the other sea\"}]}\n"
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"that\"}]}\n";
    OK(mg_replace_file(under(folder, "rows.jsonl"), rows, sizeof rows - 1, &err));
    OK(mg_replace_file(under(folder, "chat.jinja"), "{% for m in messages %}{{ m.content }}</s>{% endfor %}", 54, &err));
}

#define TRAIN "sft -d rows.jsonl --chat_template chat.jinja --max_length 64 --max_steps 2 --learning_rate 0.02 --dtype float32 -q "

static const struct {
    const char *name;
    bool        window; /* GGUF files of it have none: only short prompts agree */
    const char *no_gguf; /* why a GGUF file cannot hold the reference */
} rows[] = {
    { "llama2", false, NULL }, { "llama3", false, NULL }, { "mistral", true, NULL },
    { "qwen2", false, NULL },  { "qwen3", false, NULL },  { "gemma2", false, "query_pre_attn_scalar" },
    { "gemma3", false, NULL }, { "phi3", false, NULL },   { "gpt2", false, NULL },
    { "gpt_neox", false, NULL },
};

/* Files that hold the same model continue a prompt in the same way. */
static void same_answer(const char *folder, const char *a, const char *b) {
    char command[512];
    snprintf(command, sizeof command, "generate %s --chat_template chat.jinja --temperature 0 --max_new_tokens 4 --json -p the", a);
    wants(folder, 0, "\"ids\"", command);
    char *first = mg_strdup(strstr(said.data, "\"ids\""));
    snprintf(command, sizeof command, "generate %s --chat_template chat.jinja --temperature 0 --max_new_tokens 4 --json -p the", b);
    wants(folder, 0, "\"ids\"", command);
    char *second = strstr(said.data, "\"ids\"");
    size_t n = strcspn(first, "]");
    if (strncmp(first, second, n + 1) != 0) fail_msg("%s answers %.*s, %s %.*s", a, (int)n, first, b, (int)n, second);
    free(first);
}

static void every_architecture(void **state) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *folder = under(*state, rows[i].name);
        char  command[256];
        OK(mg_make_folder(folder, &err));
        write_data(folder);
        make_model(folder, rows[i].name);
        snprintf(command, sizeof command, TRAIN "-m %s -o run", rows[i].name);
        wants(folder, 0, "", command);
        assert_true(is_there(folder, "run/adapter_model.safetensors"));
        wants(folder, 0, "token ids equal", "merge run -o merged");
        snprintf(command, sizeof command, "-m %s -a run", rows[i].name);
        same_answer(folder, command, "-m merged");
        if (rows[i].no_gguf) {
            wants(folder, 2, rows[i].no_gguf, "export run --to gguf:f32 -o file.gguf");
            assert_false(is_there(folder, "file.gguf"));
            continue;
        }
        wants(folder, 0, "written", rows[i].window ? "export run --to gguf:f32 -o file.gguf --max_kl 9" : "export run --to gguf:f32 -o file.gguf");
        wants(folder, 0, "written", "export -m file.gguf --to hf -o back");
        same_answer(folder, "-m merged", "-m file.gguf");
        same_answer(folder, "-m merged", "-m back");
        wants(folder, 0, "written", "export run --to gguf-lora -o lora.gguf");
        wants(folder, 0, "written", rows[i].window ? "quantize merged packed.gguf q8_0 --max_kl 9" : "quantize merged packed.gguf q8_0");
    }
}

/* What writes no text is refused by name. */
static void encoders_and_classifiers(void **state) {
    char *folder = under(*state, "others");
    OK(mg_make_folder(folder, &err));
    write_data(folder);
    make_model(folder, "bert");
    make_model(folder, "llama_seqcls");
    wants(folder, 2, "bert", "generate -m bert -p the");
    wants(folder, 2, "classifier", "generate -m llama_seqcls -p the");
    wants(folder, 2, "bert", "export -m bert --to gguf -o bert.gguf");
    wants(folder, 2, "classifier", "export -m llama_seqcls --to hf -o out");
    assert_false(is_there(folder, "bert.gguf") || is_there(folder, "out"));
}

/* A run on nf4: merged into the weights that it was trained on it loses nothing but the number format; into the original
 * ones it is another model, which a tight bound refuses.  Into a GGUF file's own packed formats the sum is rounded again. */
static void merging_into_packed_weights(void **state) {
    char *folder = under(*state, "packed");
    OK(mg_make_folder(folder, &err));
    write_data(folder);
    make_model(folder, "llama2");
    wants(folder, 0, "", TRAIN "-m llama2 -o run --load_in_4bit true");
    wants(folder, 0, "\"kl\"", "merge run -o trained --dtype float32 --json");
    double trained = number("kl");
    assert_true(trained < 1e-6 && number("top1") > 0.999 && number("tokens") > 100);
    wants(folder, 0, "\"kl\"", "merge run -o halves --dtype bfloat16 --json");
    double halves = number("kl");
    assert_true(halves > trained && halves < 0.02);
    wants(folder, 7, "KL divergence", "merge run -o refused --dtype bfloat16 --max_kl 1e-12");
    assert_non_null(strstr(said.data, "the most likely token agrees at"));
    assert_false(is_there(folder, "refused"));

    wants(folder, 0, "written", "quantize llama2 base.gguf q4_0");
    wants(folder, 0, "", TRAIN "-m base.gguf -o packed");
    wants(folder, 0, "most likely token equal at", "merge packed -o packed.gguf");
    wants(folder, 0, "\"kl\"", "merge packed -o packed.gguf --overwrite --json");
    double lost = number("kl");
    assert_true(lost > 1e-6 && lost <= number("max_kl") && number("top1") > 0.5 && number("top1") < 1);
    char command[128];
    snprintf(command, sizeof command, "merge packed -o tight.gguf --max_kl %.9g", lost / 2);
    wants(folder, 7, "Nothing was kept", command);
    assert_false(is_there(folder, "tight.gguf"));
    snprintf(command, sizeof command, "merge packed -o loose.gguf --max_kl %.9g", lost * 1.01);
    wants(folder, 0, "written", command);
    assert_true(is_there(folder, "loose.gguf"));
}

static int set_up(void **state) {
    binary = getenv("MIGAKI_BIN");
    *state = make_temp_folder();
    return binary ? 0 : -1;
}

static int tear_down(void **state) {
    free_paths();
    mg_buf_free(&said);
    remove_temp_folder(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_architecture), cmocka_unit_test(encoders_and_classifiers),
                                        cmocka_unit_test(merging_into_packed_weights) };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
