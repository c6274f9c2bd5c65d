/* plugin.cu -- libmigaki-cuda.so: devices, their memory, and the kernel tables.
 *
 * Three backends of one device: bf16 (from sm_80 on), fp16 (older cards), and fp32 for checking.  They share
 * every kernel; what differs is the element type that the tape asks for.  Everything runs on one stream, in the
 * order of the calls, so copies need no events, and a step can be captured as it stands.
 *
 * Errors of kernels and copies are sticky, as CUDA's own are: the first one is kept with the name of what
 * failed and told when the program asks (mg_device.status), which it does once a step. */
#include "backend/cuda/gemm.h"
#include "backend/cuda/logprob.h"
#include "backend/plugin.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 256, PROGRAM_BYTES = 192 << 20 };

cudaStream_t     mg_cuda_stream;
const mg_format *mg_cuda_f32, *mg_cuda_bf16, *mg_cuda_f16;
int              mg_cuda_cc, mg_cuda_sms;

static const mg_plugin_host *host;
static cudaError_t           first_error;
static char                  first_what[200];

void mg_cuda_check(cudaError_t e, const char *what) {
    if (e == cudaSuccess || first_error != cudaSuccess) return;
    first_error = e;
    snprintf(first_what, sizeof first_what, "%s", what);
}

/* The program's own is not linked here. */
void mg_bug(const char *file, int line, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s:%d: bug in migaki: ", file, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

/* ---- memory ---- */

bool        mg_cuda_recording;
static bool unrepeatable;

void mg_cuda_cannot_repeat(void) { unrepeatable = true; }

static void *device_alloc(size_t bytes) {
    void *p = NULL;
    if (cudaMalloc(&p, bytes ? bytes : ALIGN) == cudaSuccess) return p;
    cudaGetLastError(); /* no memory is an answer, not an error of the device */
    return NULL;
}

static void device_free(void *p) { mg_cuda_check(cudaFree(p), "free"); }

/* The program's memory is not what it will be at a replay. */
static bool not_now(void) {
    if (mg_cuda_recording) mg_cuda_cannot_repeat();
    return mg_cuda_recording;
}

static void device_put(void *to, const void *from, size_t bytes) {
    if (not_now()) return;
    mg_cuda_check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, mg_cuda_stream), "copy to the device");
}

static void device_get(void *to, const void *from, size_t bytes) {
    if (not_now()) return;
    mg_cuda_check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, mg_cuda_stream), "copy from the device");
    mg_cuda_check(cudaStreamSynchronize(mg_cuda_stream), "waiting for the device");
}

/* Overlapping: in pieces as long as the distance, beginning where nothing is overwritten that is still to be read. */
static void device_move(void *to, const void *from, size_t bytes) {
    uint8_t       *t = (uint8_t *)to;
    const uint8_t *f = (const uint8_t *)from;
    size_t         distance = t > f ? (size_t)(t - f) : (size_t)(f - t), piece = distance < bytes ? distance : bytes;
    for (size_t done = 0; done < bytes && distance; done += piece) {
        size_t n = bytes - done < piece ? bytes - done : piece, at = t > f ? bytes - done - n : done;
        mg_cuda_check(cudaMemcpyAsync(t + at, f + at, n, cudaMemcpyDeviceToDevice, mg_cuda_stream), "copy");
    }
}

static void device_zero(void *p, size_t bytes) { mg_cuda_check(cudaMemsetAsync(p, 0, bytes, mg_cuda_stream), "clear"); }

static size_t device_available(void) {
    size_t free_bytes = 0, total = 0;
    mg_cuda_check(cudaMemGetInfo(&free_bytes, &total), "memory");
    return free_bytes;
}

/* ---- pages: a stream of their own, in order; events tie it to the kernels ---- */

static cudaStream_t page_stream;
static cudaEvent_t  page_event;

static void *page_alloc(size_t bytes) {
    void *p = nullptr;
    if (!page_stream) {
        mg_cuda_check(cudaStreamCreateWithFlags(&page_stream, cudaStreamNonBlocking), "a stream for pages");
        mg_cuda_check(cudaEventCreateWithFlags(&page_event, cudaEventDisableTiming), "an event for pages");
    }
    if (cudaMallocHost(&p, bytes) == cudaSuccess) return p;
    cudaGetLastError(); /* no memory is no broken device */
    return nullptr;
}

static void page_free(void *p) {
    mg_cuda_check(cudaStreamSynchronize(page_stream), "waiting for pages");
    mg_cuda_check(cudaFreeHost(p), "free");
}

static void page_in(void *to, const void *page, size_t bytes) {
    mg_cuda_check(cudaMemcpyAsync(to, page, bytes, cudaMemcpyHostToDevice, page_stream), "page in");
    mg_cuda_check(cudaEventRecord(page_event, page_stream), "page in");
    mg_cuda_check(cudaStreamWaitEvent(mg_cuda_stream, page_event, 0), "page in");
}

static void page_out(void *page, const void *from, size_t bytes) {
    mg_cuda_check(cudaEventRecord(page_event, mg_cuda_stream), "page out");
    mg_cuda_check(cudaStreamWaitEvent(page_stream, page_event, 0), "page out");
    mg_cuda_check(cudaMemcpyAsync(page, from, bytes, cudaMemcpyDeviceToHost, page_stream), "page out");
}

static mg_status device_status(mg_error *err) {
    mg_cuda_check(cudaStreamSynchronize(mg_cuda_stream), "waiting for the device");
    if (page_stream) mg_cuda_check(cudaStreamSynchronize(page_stream), "waiting for pages");
    if (first_error == cudaSuccess) return MG_OK;
    return host->fail(err, MG_DEVICE, "the CUDA device failed: %s (%s); start again, and if it stays look at nvidia-smi and dmesg",
                      cudaGetErrorString(first_error), first_what);
}

/* ---- steps as graphs ---- */

static void device_record(void) {
    /* relaxed: the library may set up kernels meanwhile */
    mg_cuda_check(cudaStreamBeginCapture(mg_cuda_stream, cudaStreamCaptureModeRelaxed), "recording a step");
    mg_cuda_recording = true;
    unrepeatable = false;
}

static void *device_recorded(void) {
    cudaGraph_t     graph = NULL;
    cudaGraphExec_t exec = NULL;
    mg_cuda_recording = false;
    cudaError_t e = cudaStreamEndCapture(mg_cuda_stream, &graph);
    if (e == cudaSuccess && !unrepeatable) e = cudaGraphInstantiate(&exec, graph, 0);
    if (graph) cudaGraphDestroy(graph);
    if (e == cudaSuccess) return exec;
    cudaGetLastError(); /* the caller goes on without a graph */
    return NULL;
}

static void device_replay(void *graph) { mg_cuda_check(cudaGraphLaunch((cudaGraphExec_t)graph, mg_cuda_stream), "replaying a step"); }

static void device_forget(void *graph) { mg_cuda_check(cudaGraphExecDestroy((cudaGraphExec_t)graph), "a recorded step"); }

static char      device_name[16], device_detail[160];
static mg_device device = {
    device_name, device_detail, false,       device_alloc,     device_free,   device_put,
    device_get,  device_move,   device_zero, device_available, device_status, PROGRAM_BYTES,
    page_alloc,  page_free,   page_in,     page_out,
    device_record, device_recorded, device_replay, device_forget,
};

/* ---- kernel tables ---- */

#define BACKEND(e)                                                                                                     \
    static size_t     e##_linear_work(int64_t n, mg_mat w) { return mg_cuda_linear_work(n, w, mg_cuda_##e); }         \
    static size_t     e##_logprob_work(int64_t n, mg_mat w, bool dh) {                                                 \
        (void)dh;                                                                                                      \
        return mg_cuda_logprob_work(n, w, mg_cuda_##e);                                                                \
    }                                                                                                                  \
    static mg_backend backend_##e;                                                                                     \
    static void       fill_##e(const char *name, const char *compute) {                                                \
        backend_##e.name = name;                                                                                       \
        backend_##e.element = mg_cuda_##e;                                                                             \
        backend_##e.compute = compute;                                                                                 \
        backend_##e.linear_work = e##_linear_work;                                                                     \
        backend_##e.logprob_work = e##_logprob_work;                                                                   \
        fill_shared(&backend_##e);                                                                                     \
    }

static const char *machine(void) { return device_detail; }

static void fill_shared(mg_backend *b) {
    b->scalar = mg_cuda_f32;
    b->device = &device;
    b->machine = machine;
    b->steady_rows = 0; /* the library picks a product by its rows */
    b->joins_adapters = true;
    b->attention_work = mg_cuda_attention_work;
#define KERNEL(x) b->x = mg_cuda_##x;
#include "backend/kernels.def"
#undef KERNEL
}

BACKEND(f32)
BACKEND(bf16)
BACKEND(f16)

static const mg_backend *backend_of(const char *element) {
    if (!strcmp(element, "bf16") && mg_cuda_cc < 80) return NULL;
    const mg_backend *all[] = { &backend_f32, &backend_bf16, &backend_f16 };
    for (const mg_backend *b : all)
        if (!strcmp(b->element->name, element)) return b;
    return NULL;
}

/* ---- the plugin ---- */

static int devices(void) {
    int n = 0;
    if (cudaGetDeviceCount(&n) != cudaSuccess) {
        cudaGetLastError();
        return 0;
    }
    return n;
}

static void describe(int i, char *out, size_t n) {
    cudaDeviceProp p;
    int            driver = 0;
    cudaDriverGetVersion(&driver);
    if (cudaGetDeviceProperties(&p, i) != cudaSuccess)
        snprintf(out, n, "?");
    else
        snprintf(out, n, "%s, %.1f GB, sm_%d%d, driver for CUDA %d.%d", p.name, (double)p.totalGlobalMem / 1e9, p.major, p.minor,
                 driver / 1000, driver % 1000 / 10);
}

static const mg_format *format_named(const char *name) {
    for (const mg_format *const *f = host->formats; *f; f++)
        if (!strcmp((*f)->name, name)) return *f;
    return NULL;
}

static mg_status open_device(const mg_plugin_host *h, int i, mg_error *err) {
    static mg_plugin_host kept;
    cudaDeviceProp        p;
    kept = *h;
    host = &kept;
    mg_cuda_f32 = format_named("f32");
    mg_cuda_bf16 = format_named("bf16");
    mg_cuda_f16 = format_named("f16");
    cudaError_t e = cudaSetDevice(i);
    if (e == cudaSuccess) e = cudaGetDeviceProperties(&p, i);
    if (e == cudaSuccess) e = cudaStreamCreateWithFlags(&mg_cuda_stream, cudaStreamNonBlocking);
    if (e != cudaSuccess) return host->fail(err, MG_DEVICE, "cuda:%d cannot be opened: %s", i, cudaGetErrorString(e));
    mg_cuda_cc = p.major * 10 + p.minor;
    mg_cuda_sms = p.multiProcessorCount;
    if (mg_cuda_cc < 75) return host->fail(err, MG_DEVICE, "cuda:%d is a %s (sm_%d); the oldest that works is sm_75", i, p.name, mg_cuda_cc);
    if (!mg_cuda_gemm_open()) return host->fail(err, MG_LIBRARY, "cuda:%d: cuBLASLt cannot be started", i);
    snprintf(device_name, sizeof device_name, "cuda:%d", i);
    describe(i, device_detail, sizeof device_detail);
    fill_f32("cuda", "float32");
    fill_bf16("cuda_bf16", "bfloat16");
    fill_f16("cuda_f16", "float16");
    return MG_OK;
}

extern "C" __attribute__((visibility("default"))) const mg_plugin *mg_plugin_entry(void) {
    static const mg_plugin plugin = { MG_VERSION, sizeof(mg_backend), devices, describe, open_device, backend_of };
    return &plugin;
}
