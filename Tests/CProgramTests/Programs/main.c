/* Lists the acceptance cases, or runs one of them: acceptance --list | CASE. */
#include "acceptance.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct acceptance_case *const all_cases[] = {
    set_up_cases, termination_cases, transfer_cases, loss_cases, order_cases, debug_cases, timer_cases, buffer_cases,
    packet_cases, log_cases,
};

static atomic_int failures;

void case_failed(const char *file, int line, const char *condition, const char *format, ...)
{
    const char *name = strrchr(file, '/');
    va_list arguments;
    va_start(arguments, format);
    flockfile(stdout);
    printf("%s:%d: ", name == NULL ? file : name + 1, line);
    vprintf(format, arguments);
    printf(" (%s)\n", condition);
    fflush(stdout);
    funlockfile(stdout);
    va_end(arguments);
    atomic_fetch_add(&failures, 1);
}

void pause_milliseconds(int milliseconds)
{
    struct timespec time = { .tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000L };
    while (nanosleep(&time, &time) != 0) { }
}

void wait_until(const char *what, bool (*holds)(void *), void *argument)
{
    for (int i = 0; i < 30000; i++) {
        if (holds(argument)) return;
        pause_milliseconds(1);
    }
    CHECK(false, "never came about: %s", what);
}

int main(int argc, char **argv)
{
    bool is_list = argc == 2 && strcmp(argv[1], "--list") == 0;
    if (argc != 2) {
        fprintf(stderr, "usage: %s --list | CASE\n", argv[0]);
        return 64;
    }
    for (size_t group = 0; group < sizeof all_cases / sizeof *all_cases; group++)
        for (const struct acceptance_case *each = all_cases[group]; each->name != NULL; each++) {
            if (is_list) {
                printf("%s\t%s\n", each->name, each->daemon == NULL ? "none" : each->daemon);
            } else if (strcmp(argv[1], each->name) == 0) {
                each->run();
                return atomic_load(&failures) == 0 ? 0 : 1;
            }
        }
    if (is_list) return 0;
    fprintf(stderr, "%s: no case named %s\n", argv[0], argv[1]);
    return 64;
}
