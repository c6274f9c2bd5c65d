/* test_interrupts.c -- a Ctrl-C between a prompt and the read behind it is not lost, nor one during the read. */
#include "support.h"

#include "cli/inference.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static int feed; /* the writing end of our standard input */

static int set_up(void **state) {
    int ends[2];
    (void)state;
    if (pipe(ends) || dup2(ends[0], STDIN_FILENO) < 0) return -1;
    close(ends[0]);
    feed = ends[1];
    alarm(20); /* a lost interrupt would wait for good */
    return 0;
}

static void test_before_the_read(void **state) {
    (void)state;
    char byte = 0;
    mg_interrupts_begin();
    for (int i = 0; i < 3; i++) {
        raise(SIGINT);
        assert_int_equal(mg_read_byte(&byte), -1);
        assert_int_equal(mg_read_byte(&byte), -1); /* until it is cleared */
        mg_interrupts_clear();
        assert_false(mg_interrupted());
        assert_int_equal(write(feed, "x", 1), 1);
        assert_int_equal(mg_read_byte(&byte), 1);
        assert_int_equal(byte, 'x');
    }
    mg_interrupts_end();
}

static void *interrupt_soon(void *main_thread) {
    usleep(20000);
    pthread_kill(*(pthread_t *)main_thread, SIGINT);
    return NULL;
}

static void test_during_the_read(void **state) {
    (void)state;
    char      byte;
    pthread_t other, self = pthread_self();
    mg_interrupts_begin();
    assert_int_equal(pthread_create(&other, NULL, interrupt_soon, &self), 0);
    assert_int_equal(mg_read_byte(&byte), -1);
    assert_true(mg_interrupted());
    pthread_join(other, NULL);
    mg_interrupts_clear();
    close(feed);
    assert_int_equal(mg_read_byte(&byte), 0);
    mg_interrupts_end();
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_before_the_read), cmocka_unit_test(test_during_the_read) };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
