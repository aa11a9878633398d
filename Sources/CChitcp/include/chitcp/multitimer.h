/* Many timers, one thread: a multitimer's thread sleeps until the earliest of its timers expires and calls its callback. */
#ifndef CHITCP_MULTITIMER_H
#define CHITCP_MULTITIMER_H

#include "chitcp/log.h"
#include "chitcp/types.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MAX_TIMER_NAME_LEN 16

/* Times in nanoseconds. */
#define SECOND      (1000000000L)
#define MILLISECOND (1000000L)
#define MICROSECOND (1000L)
#define NANOSECOND  (1L)

/* A timer, for programs to read. */
typedef struct single_timer {
    uint16_t id;
    char name[MAX_TIMER_NAME_LEN + 1];  /* for people; empty at first */
    bool active;                        /* set, and neither expired nor cancelled */
    uint64_t num_timeouts;              /* how often it has expired */
} single_timer_t;

/* The timers 0, 1, 2, … of one thread. */
typedef struct multi_timer {
    struct chitcp_timers *timers;
} multi_timer_t;

/* What an expired timer calls, on the multitimer's thread: the multitimer, the timer, which is not active any more (and
 * may be set again here), and what mt_set_timer was given. Other timers wait meanwhile. */
typedef void (*mt_callback_func)(multi_timer_t *, single_timer_t *, void *);

/* Makes `num_timers` timers and their thread. CHITCP_OK, CHITCP_EINVAL, CHITCP_ENOMEM, CHITCP_EINIT or CHITCP_ETHREAD. */
int mt_init(multi_timer_t *mt, uint16_t num_timers);

/* Ends the thread, after the callback it may be in, and frees everything; a callback may call it too. CHITCP_OK, or
 * CHITCP_EINVAL if there is nothing to free. */
int mt_free(multi_timer_t *mt);

/* Points `timer` at the timer itself, which lives as long as the multitimer. CHITCP_OK, or CHITCP_EINVAL for no such timer. */
int mt_get_timer_by_id(multi_timer_t *mt, uint16_t id, single_timer_t **timer);

/* Lets a timer expire in `timeout` nanoseconds; `callback` may be NULL. CHITCP_OK, or CHITCP_EINVAL if there is no such
 * timer or it is active. */
int mt_set_timer(multi_timer_t *mt, uint16_t id, uint64_t timeout, mt_callback_func callback, void *callback_args);

/* Stops an active timer. CHITCP_OK, or CHITCP_EINVAL if there is no such timer or it is not active. */
int mt_cancel_timer(multi_timer_t *mt, uint16_t id);

/* Names a timer; the name is cut to 16 characters. CHITCP_OK, or CHITCP_EINVAL for no such timer or no name. */
int mt_set_timer_name(multi_timer_t *mt, uint16_t id, const char *name);

/* A log line for every timer, or for the active ones. CHITCP_OK. */
int mt_chilog(loglevel_t level, multi_timer_t *mt, bool active_only);

/* x - y, with 0 <= tv_nsec < 10^9 also for a negative difference. Returns 1 if it is negative, else 0. */
int timespec_subtract(struct timespec *result, struct timespec *x, struct timespec *y);

#ifdef __cplusplus
}
#endif
#endif
