/* machine.h -- how much memory there is, and how much this process has. */
#ifndef MG_BASE_MACHINE_H
#define MG_BASE_MACHINE_H

#include <stddef.h>

/* Bytes that can be used without swapping: MemAvailable, or what a control group leaves, whichever is less. */
size_t mg_machine_available(void);

typedef struct mg_process_memory {
    size_t anonymous; /* resident bytes of our own */
    size_t mapped;    /* resident bytes of files: weights, libraries */
    size_t peak;      /* highest resident size so far */
} mg_process_memory;
mg_process_memory mg_process_memory_now(void);

/* Resident bytes of the mapped file at `path`, or of all files in that folder; part of `mapped` above. */
size_t mg_process_mapped_from(const char *path);

#endif
