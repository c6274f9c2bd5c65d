/* choose.c -- from the user's words, a device and a number type, to a backend.
 *
 * The CUDA backend is a plugin, so that one program serves machines with and without
 * a GPU: nothing of CUDA is loaded unless a device is asked for or may be there.
 * It is looked for at $MIGAKI_CUDA, beside the program, where it is installed
 * (../lib/migaki) and on the loader's own path, and every miss is remembered for
 * `migaki doctor`. */
#include "backend/plugin.h"

#include "base/mem.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char LIBRARY[] = "libmigaki-cuda.so";

static struct {
    bool             tried;
    const mg_plugin *plugin;
    int              device; /* opened; -1: none yet */
    char             why[900], path[700]; /* why there is none; where it was found */
} cuda = { .device = -1 };

static void note(const char *path, const char *why) {
    size_t n = strlen(cuda.why);
    snprintf(cuda.why + n, sizeof cuda.why - n, "%s%s: %s", n ? "; " : "", path, why);
}

static bool load(const char *path, bool must_exist) {
    if (must_exist && access(path, R_OK)) {
        note(path, "not there");
        return false;
    }
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        note(path, dlerror());
        return false;
    }
    mg_plugin_entry_fn entry;
    void              *symbol = dlsym(lib, "mg_plugin_entry");
    memcpy(&entry, &symbol, sizeof entry);
    const mg_plugin *p = entry ? entry() : NULL;
    if (!p || strcmp(p->version, MG_VERSION) != 0 || p->backend_bytes != sizeof(mg_backend)) {
        note(path, "belongs to another version of migaki");
        dlclose(lib);
        return false;
    }
    cuda.plugin = p;
    snprintf(cuda.path, sizeof cuda.path, "%s", path);
    return true;
}

static const mg_plugin *plugin(void) {
    static const char *const places[] = { "", "../lib/migaki/", "../lib/" };
    if (cuda.tried) return cuda.plugin;
    cuda.tried = true;
    /* The driver's own library first: it is small, and without it loading the plugin with cuBLASLt would cost every
     * command 0.07 s and 150 MB for nothing. */
    if (!dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL)) {
        note("libcuda.so.1", "there is no NVIDIA driver here");
        return NULL;
    }
    const char *given = getenv("MIGAKI_CUDA");
    if (given && *given) {
        load(given, true);
        return cuda.plugin;
    }
    char    exe[500], path[600];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = 0;
    char *slash = strrchr(exe, '/');
    if (slash) *slash = 0;
    for (size_t i = 0; slash && i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%s/%s%s", exe, places[i], LIBRARY);
        if (load(path, true)) return cuda.plugin;
    }
    load(LIBRARY, false);
    return cuda.plugin;
}

void mg_cuda_report(mg_buf *out) {
    const mg_plugin *p = plugin();
    int              n = p ? p->devices() : 0;
    char             line[300];
    for (int i = 0; i < n; i++) {
        p->describe(i, line, sizeof line);
        mg_buf_printf(out, "%scuda:%d %s", i ? "; " : "", i, line);
    }
    if (n) mg_buf_printf(out, " (%s)", cuda.path);
}

const char *mg_cuda_missing(void) {
    const mg_plugin *p = plugin();
    if (!p) return cuda.why;
    return p->devices() ? NULL : "no NVIDIA device, or its driver is too old for this build";
}

static const struct { const char *dtype, *element; } elements[] = {
    { "auto", "bf16" }, { "auto", "f16" }, { "bfloat16", "bf16" }, { "float16", "f16" }, { "float32", "f32" },
};

static mg_status open_cuda(const mg_backend **out, const char *device, const char *dtype, mg_error *err) {
    static const mg_plugin_host host = { .fail = mg_fail };
    int                         index = 0;
    char                        end;
    if (device[4] && (sscanf(device, "cuda:%d%c", &index, &end) != 1 || index < 0))
        return mg_fail(err, MG_USAGE, "device: '%s' is none; allowed are auto, cpu, cuda and cuda:0, cuda:1, ...", device);
    const char *missing = mg_cuda_missing();
    if (missing) return mg_fail(err, MG_DEVICE, "%s cannot be used: %s; --device cpu trains without it", device, missing);
    if (index >= cuda.plugin->devices())
        return mg_fail(err, MG_DEVICE, "%s is not there: this machine has %d device(s), counted from 0", device, cuda.plugin->devices());
    mg_plugin_host now = host;
    now.formats = mg_formats();
    mg_status st = cuda.device == index ? MG_OK : cuda.plugin->open(&now, index, err);
    if (st) return st;
    cuda.device = index;
    for (size_t i = 0; i < sizeof elements / sizeof *elements; i++)
        if (!strcmp(elements[i].dtype, dtype) && (*out = cuda.plugin->backend(elements[i].element))) return MG_OK;
    return mg_fail(err, MG_DEVICE, "%s cannot compute in %s; leave out --dtype", device, dtype);
}

static mg_status open_cpu(const mg_backend **out, const char *dtype, mg_error *err) {
    bool automatic = !strcmp(dtype, "auto"), bf16 = !strcmp(dtype, "bfloat16");
    if (bf16 && !mg_cpu_has_bf16())
        return mg_fail(err, MG_DEVICE, "this CPU has no bfloat16 arithmetic (AVX512-BF16 or AMX); use --dtype float32 or leave it out");
    if (!strcmp(dtype, "float16"))
        return mg_fail(err, MG_DEVICE, "float16 is for GPUs; on the CPU use --dtype float32 or bfloat16, or leave it out");
    *out = bf16 || (automatic && mg_cpu_has_bf16()) ? &mg_backend_cpu_bf16 : &mg_backend_cpu;
    return MG_OK;
}

mg_status mg_backend_open(const mg_backend **out, const char *device, const char *dtype, mg_error *err) {
    if (!strcmp(device, "cpu")) return open_cpu(out, dtype, err);
    if (!strncmp(device, "cuda", 4)) return open_cuda(out, device, dtype, err);
    if (strcmp(device, "auto") != 0)
        return mg_fail(err, MG_USAGE, "device: '%s' is none; allowed are auto, cpu, cuda and cuda:0, cuda:1, ...", device);
    return mg_cuda_missing() ? open_cpu(out, dtype, err) : open_cuda(out, "cuda", dtype, err);
}
