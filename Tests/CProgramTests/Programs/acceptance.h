/* The acceptance cases: what a program may count on that uses this library's C headers. */
#ifndef ACCEPTANCE_H
#define ACCEPTANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

/* A named case. `daemon` has the options of the daemon it needs ("" for a plain one), NULL if it needs none. */
struct acceptance_case {
    const char *name;
    const char *daemon;
    void (*run)(void);
};

/* The cases of one file, ended by one without a name. */
extern const struct acceptance_case set_up_cases[], termination_cases[], transfer_cases[], loss_cases[], order_cases[],
    debug_cases[], timer_cases[], buffer_cases[], packet_cases[], log_cases[];

/* Says what is wrong and makes the case fail, unless `condition` holds. From any thread. */
#define CHECK(condition, ...) \
    do { if (!(condition)) case_failed(__FILE__, __LINE__, #condition, __VA_ARGS__); } while (0)

/* Likewise, and ends the program: what follows would make no sense. */
#define REQUIRE(condition, ...) \
    do { if (!(condition)) { case_failed(__FILE__, __LINE__, #condition, __VA_ARGS__); exit(1); } } while (0)

void case_failed(const char *file, int line, const char *condition, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Sleeps. */
void pause_milliseconds(int milliseconds);

/* Asks again every millisecond until `holds(argument)`; fails the case after 30 s. */
void wait_until(const char *what, bool (*holds)(void *), void *argument);

#endif
