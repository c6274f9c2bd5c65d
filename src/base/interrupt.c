/* interrupt.c -- one alternate stack, installed with the first handler. */
#include "base/interrupt.h"

#include "base/error.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>

enum { STACK_BYTES = 1 << 16 }; /* registers of today's processors, six times over */

void mg_interrupt_catch(int number, void (*handler)(int), int flags, struct sigaction *before) {
    static alignas(64) unsigned char memory[STACK_BYTES];
    struct sigaction a = { .sa_handler = handler, .sa_flags = flags | SA_ONSTACK };
    stack_t          stack = { .ss_sp = memory, .ss_size = sizeof memory }, now;
    bool             ours = !sigaltstack(NULL, &now) && now.ss_sp == memory && !(now.ss_flags & SS_DISABLE);
    sigemptyset(&a.sa_mask);
    MG_ASSERT(ours || !sigaltstack(&stack, NULL));
    MG_ASSERT(!sigaction(number, &a, before));
}
