/* ref32.c -- the plain loops in float. */
typedef float real;
#define ELEMENT mg_format_f32
#define BACKEND mg_backend_ref32
#define NAME "ref32"
#define COMPUTE "float32"
#include "backend/ref.inc"
