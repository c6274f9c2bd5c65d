/* null.c -- kernels that do nothing: the tape runs over them to plan memory.
 *
 * What an op asks of the arena depends on the element type and on the work memory
 * of the backend that will do the arithmetic, so a null backend is made after it
 * and takes both from it.  Then a dry run's peak is the real run's, to the byte. */
#include "backend/backend.h"

#define KERNEL(x) \
    static void x(mg_##x##_args a) { (void)a; }
#include "backend/kernels.def"
#undef KERNEL

mg_backend mg_backend_null_for(const mg_backend *real) {
    mg_backend b = *real;
    b.name = "null";
#define KERNEL(x) b.x = x;
#include "backend/kernels.def"
#undef KERNEL
    return b;
}
