/* host.c -- this process's memory as a device: malloc and memcpy under the names that other devices use. */
#include "backend/backend.h"

#include "base/machine.h"

#include <stdlib.h>
#include <string.h>

static void *host_alloc(size_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64); }
static void  host_copy(void *to, const void *from, size_t bytes) { memcpy(to, from, bytes); }
static void  host_move(void *to, const void *from, size_t bytes) { memmove(to, from, bytes); }
static void  host_zero(void *p, size_t bytes) { memset(p, 0, bytes); }
static mg_status host_status(mg_error *err) {
    (void)err; /* kernels of the CPU cannot fail */
    return MG_OK;
}

const mg_device mg_device_host = {
    .name = "cpu", .detail = "", .host = true, .alloc = host_alloc, .free = free, .put = host_copy, .get = host_copy,
    .move = host_move, .zero = host_zero, .available = mg_machine_available, .status = host_status,
};
