/* far_device.h -- a device with memory of its own, played by this process.
 *
 * Memory of the device is poisoned when given out, so a value that was never copied is a NaN; what is copied is
 * counted.  Pages are copied late: page_in at once (its memory is the program's until then), page_out when the next
 * copy or wait comes, so that a page which is read or reused too early holds something else. */
#ifndef MG_TESTS_FAR_DEVICE_H
#define MG_TESTS_FAR_DEVICE_H

#include "backend/backend.h"

#include <stdlib.h>
#include <string.h>

static size_t far_held, far_puts, far_gets, far_pages;

static void *far_alloc(size_t bytes) {
    bytes = (bytes + 127) / 64 * 64;
    uint8_t *p = aligned_alloc(64, bytes);
    if (p) {
        memset(p, 0xff, bytes); /* NaN in every plain format */
        *(size_t *)(void *)p = bytes;
        far_held++;
    }
    return p ? p + 64 : NULL;
}
static void far_free(void *p) {
    free((uint8_t *)p - 64);
    far_held--;
}
static void   far_put(void *to, const void *from, size_t bytes) { memcpy(to, from, bytes), far_puts++; }
static void   far_get(void *to, const void *from, size_t bytes) { memcpy(to, from, bytes), far_gets++; }
static void   far_move(void *to, const void *from, size_t bytes) { memmove(to, from, bytes); }
static void   far_zero(void *p, size_t bytes) { memset(p, 0, bytes); }
static size_t far_available(void) { return (size_t)1 << 30; }

/* What page_out has been told and not done yet: the copy as it was, and where it goes. */
static struct { void *to, *copy; size_t bytes; } far_late[16];
static int far_late_n;
static void far_settle(void) {
    for (int i = 0; i < far_late_n; i++) {
        memcpy(far_late[i].to, far_late[i].copy, far_late[i].bytes);
        free(far_late[i].copy);
    }
    far_late_n = 0;
}
static void far_page_in(void *to, const void *page, size_t bytes) {
    far_settle(); /* one stream, in order */
    memcpy(to, page, bytes);
    far_pages++;
}
static void far_page_out(void *page, const void *from, size_t bytes) {
    if (far_late_n == 16) far_settle();
    void *copy = malloc(bytes);
    memcpy(copy, from, bytes);
    memset(page, 0xff, bytes); /* until the copy has come */
    far_late[far_late_n].to = page;
    far_late[far_late_n].copy = copy;
    far_late[far_late_n++].bytes = bytes;
}
static mg_status far_status(mg_error *e) {
    (void)e;
    far_settle();
    return MG_OK;
}
static void *far_page_alloc(size_t bytes) { return malloc(bytes); }
static void  far_page_free(void *p) {
    far_settle();
    free(p);
}
static const mg_device far_device = { .name = "far:0", .detail = "", .alloc = far_alloc, .free = far_free, .put = far_put, .get = far_get,
                                      .move = far_move, .zero = far_zero, .available = far_available, .status = far_status,
                                      .page_alloc = far_page_alloc, .page_free = far_page_free, .page_in = far_page_in, .page_out = far_page_out };

#endif
