/* test_interrupt.c -- handlers run beside the ordinary stack, and a heap that serves as one stays whole. */
#include "support.h"

#include "base/interrupt.h"

static volatile sig_atomic_t calls, beside;

static void on_signal(int number) {
    stack_t now;
    (void)number;
    calls++;
    beside = !sigaltstack(NULL, &now) && now.ss_flags & SS_ONSTACK;
}

static void test_own_stack(void **state) {
    (void)state;
    struct sigaction before, after;
    mg_interrupt_catch(SIGUSR1, on_signal, SA_RESTART, &before);
    mg_interrupt_catch(SIGUSR2, on_signal, SA_RESETHAND, NULL); /* a second handler shares the stack */
    assert_true(before.sa_handler == SIG_DFL);
    for (int i = 1; i <= 3; i++) {
        beside = 0;
        raise(SIGUSR1);
        assert_int_equal(calls, i);
        assert_true(beside);
    }
    raise(SIGUSR2);
    assert_int_equal(calls, 4);
    assert_int_equal(sigaction(SIGUSR2, NULL, &after), 0);
    assert_true(after.sa_handler == SIG_DFL);
}

#if defined(__x86_64__)
/* What oneDNN's products do: the stack pointer stands in a buffer of ours while a signal comes. */
static void test_borrowed_stack_pointer(void **state) {
    (void)state;
    static unsigned char heap[1 << 16];
    memset(heap, 0xa5, sizeof heap);
    mg_interrupt_catch(SIGALRM, on_signal, SA_RESTART, NULL);
    calls = 0;
    for (int i = 0; i < 20; i++) {
        int had = calls;
        ualarm(500, 0);
        __asm__ volatile("movq %%rsp, %%r12\n\t"
                         "movq %0, %%rsp\n\t"
                         "1: movl (%1), %%eax\n\t"
                         "cmpl %2, %%eax\n\t"
                         "je 1b\n\t"
                         "movq %%r12, %%rsp"
                         :
                         : "r"(heap + sizeof heap), "r"(&calls), "r"(had)
                         : "rax", "r12", "memory", "cc");
    }
    assert_int_equal(calls, 20);
    for (size_t i = 0; i < sizeof heap; i++)
        if (heap[i] != 0xa5) fail_msg("byte %zu was overwritten", i);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_stack),
#if defined(__x86_64__)
        cmocka_unit_test(test_borrowed_stack_pointer),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
