/* ref64.c -- the plain loops in double, so that central differences can check gradients. */
typedef double real;
#define ELEMENT mg_format_f64
#define BACKEND mg_backend_ref64
#define NAME "ref64"
#define COMPUTE "float64"
#include "backend/ref.inc"
