/* plugin.h -- between the program and libmigaki-cuda.so.
 *
 * The plugin links nothing of the program: what it needs is handed over when it is
 * opened, and what it offers is one struct behind one symbol, mg_plugin_entry.  The
 * two must be of one build; version and size of the kernel table say so. */
#ifndef MG_BACKEND_PLUGIN_H
#define MG_BACKEND_PLUGIN_H

#include "backend/backend.h"

typedef struct mg_plugin_host {
    const mg_format *const *formats; /* NULL ends */
    mg_status (*fail)(mg_error *err, mg_status status, const char *format, ...);
} mg_plugin_host;

typedef struct mg_plugin {
    const char *version; /* MG_VERSION it was built with */
    size_t      backend_bytes; /* sizeof(mg_backend) there */
    int (*devices)(void); /* 0: none that can be used */
    /* One line on device i: name, memory, driver. */
    void (*describe)(int i, char *out, size_t n);
    /* Make device i the one that computes.  Once a process. */
    mg_status (*open)(const mg_plugin_host *host, int i, mg_error *err);
    /* After open: NULL when the device cannot compute with these elements ("f32", "bf16", "f16"). */
    const mg_backend *(*backend)(const char *element);
} mg_plugin;

typedef const mg_plugin *(*mg_plugin_entry_fn)(void);

#endif
