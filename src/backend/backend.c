/* backend.c -- the backends by name, each with the test whether this machine can run it. */
#include "backend/backend.h"

#include <string.h>

static bool always(void) { return true; }

static const struct {
    const mg_backend *backend;
    bool (*usable)(void);
} table[] = {
    { &mg_backend_cpu, always },
    { &mg_backend_cpu_bf16, mg_cpu_has_bf16 }, /* without the instructions it would be slower than fp32 */
    { &mg_backend_ref32, always },
    { &mg_backend_ref64, always },
};

const mg_backend *mg_backend_find(const char *name) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(table[i].backend->name, name)) return table[i].usable() ? table[i].backend : NULL;
    return NULL;
}
