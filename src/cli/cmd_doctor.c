/* cmd_doctor.c -- `doctor`: what this machine offers, before a run depends on it.
 *
 * Each check is one row: a name and a function that prints its finding.  Nothing
 * here fails the command; what is missing is said together with what it means. */
#include "base/http.h"
#include "base/json.h"
#include "base/svg_png.h"
#include "base/width.h"
#include "backend/backend.h"
#include "cli/command.h"
#include "cli/locale.h"

#include <gnu/libc-version.h>
#include <libintl.h>
#include <locale.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <utf8proc.h>
#include <yaml.h>

/* The value of "name : value" in a /proc file; `out` is empty when there is none. */
static void proc_value(const char *path, const char *name, char *out, size_t size) {
    char   line[8192];
    FILE  *f = fopen(path, "re");
    size_t n = strlen(name);
    *out = 0;
    while (f && !*out && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, name, n) || !colon || strspn(line + n, " \t") != (size_t)(colon - line) - n) continue;
        snprintf(out, size, "%s", colon + 1 + strspn(colon + 1, " \t"));
        out[strcspn(out, "\n")] = 0;
    }
    if (f) fclose(f);
}

static void cpu(mg_buf *b) {
    char name[256];
    proc_value("/proc/cpuinfo", "model name", name, sizeof name);
    mg_buf_str(b, *name ? name : gettext("unknown"));
}

static void cores(mg_buf *b) {
    cpu_set_t set;
    long      online = sysconf(_SC_NPROCESSORS_ONLN);
    long      usable = sched_getaffinity(0, sizeof set, &set) ? online : CPU_COUNT(&set);
    mg_buf_printf(b, gettext("%ld usable of %ld"), usable, online);
}

static void instructions(mg_buf *b) {
    static const char *const wanted[] = { "avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "bf16" };
    char                     flags[8000], padded[8002], word[32];
    bool                     any = false;
    proc_value("/proc/cpuinfo", "flags", flags, sizeof flags);
    if (!*flags) proc_value("/proc/cpuinfo", "Features", flags, sizeof flags); /* ARM */
    snprintf(padded, sizeof padded, " %s ", flags);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        snprintf(word, sizeof word, " %s ", wanted[i]);
        if (!strstr(padded, word)) continue;
        mg_buf_printf(b, "%s%s", any ? " " : "", wanted[i]);
        any = true;
    }
    if (!any) mg_buf_str(b, gettext("none of AVX2, AVX-512, AMX; everything works, slowly"));
}

static void memory(mg_buf *b) {
    char total[64], available[64];
    proc_value("/proc/meminfo", "MemTotal", total, sizeof total);
    proc_value("/proc/meminfo", "MemAvailable", available, sizeof available);
    mg_buf_printf(b, gettext("%.1f GB available of %.1f GB"), strtod(available, NULL) * 1.024e-6,
                  strtod(total, NULL) * 1.024e-6);
}

static void disk(mg_buf *b) {
    struct statvfs v;
    if (statvfs(".", &v))
        mg_buf_str(b, gettext("unknown"));
    else
        mg_buf_printf(b, gettext("%.1f GB free in this folder"), (double)v.f_bavail * (double)v.f_frsize * 1e-9);
}

static void gpu(mg_buf *b) {
    const char *missing = mg_cuda_missing();
    if (!missing)
        mg_cuda_report(b);
    else {
        bool device = !access("/dev/nvidiactl", F_OK);
        mg_buf_str(b, device ? gettext("an NVIDIA device is there, but cannot be used; training runs on the CPU")
                             : gettext("none; training runs on the CPU"));
        mg_buf_printf(b, " (%s)", missing);
    }
}

static void libraries(mg_buf *b) {
    mg_buf_printf(b, "glibc %s, libyaml %s, utf8proc %s, SQLite %s, yyjson %s", gnu_get_libc_version(),
                  yaml_get_version_string(), utf8proc_version(), sqlite3_libversion(), YYJSON_VERSION_STRING);
}

static void pictures(mg_buf *b) {
    const char *missing = mg_svg_png_missing();
    mg_buf_str(b, missing ? gettext("SVG and HTML; no PNG") : gettext("SVG, HTML and PNG with Japanese text"));
    if (missing) mg_buf_printf(b, " (%s)", missing);
}

/* Looked for here and by `compare --judge`; no connection is made. */
static void network(mg_buf *b) {
    if (mg_http_missing()) mg_buf_printf(b, gettext("none: %s; only `compare --judge` needs it"), mg_http_missing());
    else mg_buf_str(b, mg_http_version());
}

static void locale(mg_buf *b) {
    mg_buf_printf(b, gettext("%s (messages %s, characters %s)"), mg_locale_lang(), setlocale(LC_MESSAGES, NULL),
                  setlocale(LC_CTYPE, NULL));
}

static const struct {
    const char *key, *title;
    void (*find)(mg_buf *b);
} checks[] = {
    { "cpu", MG_N("CPU"), cpu },          { "cores", MG_N("Cores"), cores },
    { "instructions", MG_N("Instructions"), instructions },
    { "memory", MG_N("Memory"), memory }, { "disk", MG_N("Disk"), disk },
    { "gpu", MG_N("GPU"), gpu },          { "libraries", MG_N("Libraries"), libraries },
    { "pictures", MG_N("Pictures"), pictures },
    { "network", MG_N("Network"), network },
    { "locale", MG_N("Language"), locale },
};

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    mg_buf b = { 0 };
    (void)values;
    if (cli->global.json)
        mg_buf_str(&b, "{\"version\": \"" MG_VERSION "\"");
    else
        mg_buf_str(&b, "migaki " MG_VERSION "\n");
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        mg_buf found = { 0 };
        mg_buf_str(&found, "");
        checks[i].find(&found);
        if (found.failed)
            b.failed = true;
        else if (cli->global.json) {
            mg_buf_printf(&b, ", \"%s\": ", checks[i].key);
            mg_json_quote(&b, found.data, found.len);
        } else {
            mg_buf_str(&b, "  ");
            mg_pad(&b, gettext(checks[i].title), 14);
            mg_wrap(&b, found.data, 16, cli->columns);
            mg_buf_char(&b, '\n');
        }
        mg_buf_free(&found);
    }
    if (cli->global.json) mg_buf_str(&b, "}\n");
    mg_status st = mg_print(&b, err);
    mg_buf_free(&b);
    return st;
}

const mg_command mg_command_doctor = {
    .name = "doctor", .group = "prepare", .summary = MG_N("show what this machine offers: CPU, memory, devices, libraries"),
    .run = run,
};
