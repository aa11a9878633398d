/* chitcp/multitimer.h: timers in a heap, earliest first, and the thread that sleeps until the first of them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "chitcp/multitimer.h"
#include "chitcp/utils.h"

#include <stdlib.h>
#include <string.h>

#define NANOSECONDS_PER_SECOND UINT64_C(1000000000)

/* A timer with what the thread needs. `shown` comes first, so that a pointer to it is one to this. */
struct timer {
    single_timer_t shown;
    uint64_t deadline;          /* nanoseconds of CLOCK_MONOTONIC */
    uint64_t order;             /* of two with one deadline, that set first expires first */
    uint32_t place;             /* in the heap, while active */
    mt_callback_func callback;
    void *callback_args;
};

struct chitcp_timers {
    struct timer *all;
    uint32_t count;
    struct timer **heap;        /* the active timers: each expires no later than its two children, at 2i+1 and 2i+2 */
    uint32_t active;
    uint64_t next_order;
    bool ending;
    bool ended_by_callback;     /* the thread itself has to free this */
    pthread_mutex_t lock;
    pthread_cond_t changed;     /* another timer is first, or the thread is to end */
    pthread_t thread;
};

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t) time.tv_sec * NANOSECONDS_PER_SECOND + (uint64_t) time.tv_nsec;
}

/* MARK: The heap */

static bool is_earlier(const struct timer *a, const struct timer *b)
{
    return a->deadline != b->deadline ? a->deadline < b->deadline : a->order < b->order;
}

static void put(struct chitcp_timers *timers, struct timer *timer, uint32_t place)
{
    timers->heap[place] = timer;
    timer->place = place;
}

/* Moves `timer`, which may go anywhere, from a free `place` to where it belongs. */
static void settle(struct chitcp_timers *timers, struct timer *timer, uint32_t place)
{
    while (place > 0 && is_earlier(timer, timers->heap[(place - 1) / 2])) {
        put(timers, timers->heap[(place - 1) / 2], place);
        place = (place - 1) / 2;
    }
    for (;;) {
        uint32_t child = 2 * place + 1;
        if (child >= timers->active) break;
        if (child + 1 < timers->active && is_earlier(timers->heap[child + 1], timers->heap[child])) child++;
        if (!is_earlier(timers->heap[child], timer)) break;
        put(timers, timers->heap[child], place);
        place = child;
    }
    put(timers, timer, place);
}

static void activate(struct chitcp_timers *timers, struct timer *timer)
{
    timer->shown.active = true;
    timer->order = timers->next_order++;
    timers->active++;
    settle(timers, timer, timers->active - 1);
}

static void deactivate(struct chitcp_timers *timers, struct timer *timer)
{
    timer->shown.active = false;
    timers->active--;
    struct timer *last = timers->heap[timers->active];
    if (last != timer) settle(timers, last, timer->place);
}

/* MARK: The thread */

static void destroy(struct chitcp_timers *timers)
{
    pthread_cond_destroy(&timers->changed);
    pthread_mutex_destroy(&timers->lock);
    free(timers->heap);
    free(timers->all);
    free(timers);
}

/* Waits until the deadline of the first timer, or for a change. With the lock held. */
static void wait_for_first(struct chitcp_timers *timers)
{
    if (timers->active == 0) {
        pthread_cond_wait(&timers->changed, &timers->lock);
        return;
    }
    uint64_t deadline = timers->heap[0]->deadline;
    struct timespec until = {
        .tv_sec = (time_t) (deadline / NANOSECONDS_PER_SECOND), .tv_nsec = (long) (deadline % NANOSECONDS_PER_SECOND)
    };
    pthread_cond_timedwait(&timers->changed, &timers->lock, &until);
}

struct start { struct chitcp_timers *timers; multi_timer_t *owner; };

static void *run(void *argument)
{
    struct start start = *(struct start *) argument;
    struct chitcp_timers *timers = start.timers;
    free(argument);
    pthread_mutex_lock(&timers->lock);
    while (!timers->ending) {
        if (timers->active == 0 || timers->heap[0]->deadline > now()) {
            wait_for_first(timers);
            continue;
        }
        struct timer *expired = timers->heap[0];
        mt_callback_func callback = expired->callback;
        void *arguments = expired->callback_args;
        deactivate(timers, expired);
        expired->shown.num_timeouts++;
        pthread_mutex_unlock(&timers->lock);
        if (callback != NULL) callback(start.owner, &expired->shown, arguments);
        pthread_mutex_lock(&timers->lock);
    }
    bool is_mine = timers->ended_by_callback;
    pthread_mutex_unlock(&timers->lock);
    if (is_mine) destroy(timers);
    return NULL;
}

/* The lock and the condition variable, which waits by the monotonic clock. 0 or an errno. */
static int init_synchronisation(struct chitcp_timers *timers)
{
    pthread_condattr_t attributes;
    int result = pthread_condattr_init(&attributes);
    if (result != 0) return result;
    result = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (result == 0) result = pthread_cond_init(&timers->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (result != 0) return result;
    result = pthread_mutex_init(&timers->lock, NULL);
    if (result != 0) pthread_cond_destroy(&timers->changed);
    return result;
}

/* MARK: The calls */

int mt_init(multi_timer_t *mt, uint16_t num_timers)
{
    if (mt == NULL || num_timers == 0) return CHITCP_EINVAL;
    mt->timers = NULL;
    struct chitcp_timers *timers = calloc(1, sizeof *timers);
    struct start *start = malloc(sizeof *start);
    if (timers != NULL) {
        timers->all = calloc(num_timers, sizeof *timers->all);
        timers->heap = calloc(num_timers, sizeof *timers->heap);
    }
    int result = CHITCP_ENOMEM;
    if (timers == NULL || start == NULL || timers->all == NULL || timers->heap == NULL) goto failed;
    timers->count = num_timers;
    for (uint32_t i = 0; i < num_timers; i++) timers->all[i].shown.id = (uint16_t) i;
    result = CHITCP_EINIT;
    if (init_synchronisation(timers) != 0) goto failed;
    *start = (struct start) { .timers = timers, .owner = mt };
    if (pthread_create(&timers->thread, NULL, run, start) != 0) {
        free(start);
        destroy(timers);
        return CHITCP_ETHREAD;
    }
    set_thread_name(timers->thread, "multitimer");
    mt->timers = timers;
    return CHITCP_OK;

failed:
    free(start);
    if (timers != NULL) {
        free(timers->heap);
        free(timers->all);
        free(timers);
    }
    return result;
}

int mt_free(multi_timer_t *mt)
{
    if (mt == NULL || mt->timers == NULL) return CHITCP_EINVAL;
    struct chitcp_timers *timers = mt->timers;
    pthread_t thread = timers->thread;
    bool in_callback = pthread_equal(pthread_self(), thread);
    pthread_mutex_lock(&timers->lock);
    timers->ending = true;
    timers->ended_by_callback = in_callback;
    pthread_cond_signal(&timers->changed);
    pthread_mutex_unlock(&timers->lock);
    if (in_callback) {
        mt->timers = NULL;
        pthread_detach(thread);
    } else {
        /* Until it has ended, its callback may use the multitimer. */
        pthread_join(thread, NULL);
        mt->timers = NULL;
        destroy(timers);
    }
    return CHITCP_OK;
}

/* The timer, or NULL if there is none with that number. */
static struct timer *find(multi_timer_t *mt, uint16_t id)
{
    return mt == NULL || mt->timers == NULL || id >= mt->timers->count ? NULL : &mt->timers->all[id];
}

int mt_get_timer_by_id(multi_timer_t *mt, uint16_t id, single_timer_t **timer)
{
    struct timer *found = find(mt, id);
    if (found == NULL || timer == NULL) return CHITCP_EINVAL;
    *timer = &found->shown;
    return CHITCP_OK;
}

int mt_set_timer(multi_timer_t *mt, uint16_t id, uint64_t timeout, mt_callback_func callback, void *callback_args)
{
    struct timer *timer = find(mt, id);
    if (timer == NULL) return CHITCP_EINVAL;
    struct chitcp_timers *timers = mt->timers;
    int result = CHITCP_EINVAL;
    pthread_mutex_lock(&timers->lock);
    if (!timer->shown.active) {
        uint64_t start = now();
        timer->deadline = timeout > UINT64_MAX - start ? UINT64_MAX : start + timeout;
        timer->callback = callback;
        timer->callback_args = callback_args;
        activate(timers, timer);
        if (timer->place == 0) pthread_cond_signal(&timers->changed);
        result = CHITCP_OK;
    }
    pthread_mutex_unlock(&timers->lock);
    return result;
}

int mt_cancel_timer(multi_timer_t *mt, uint16_t id)
{
    struct timer *timer = find(mt, id);
    if (timer == NULL) return CHITCP_EINVAL;
    int result = CHITCP_EINVAL;
    pthread_mutex_lock(&mt->timers->lock);
    if (timer->shown.active) {
        /* If it was the first, the thread wakes at its deadline and finds nothing to do. */
        deactivate(mt->timers, timer);
        result = CHITCP_OK;
    }
    pthread_mutex_unlock(&mt->timers->lock);
    return result;
}

int mt_set_timer_name(multi_timer_t *mt, uint16_t id, const char *name)
{
    struct timer *timer = find(mt, id);
    if (timer == NULL || name == NULL) return CHITCP_EINVAL;
    pthread_mutex_lock(&mt->timers->lock);
    memset(timer->shown.name, 0, sizeof timer->shown.name);
    memcpy(timer->shown.name, name, strnlen(name, MAX_TIMER_NAME_LEN));
    pthread_mutex_unlock(&mt->timers->lock);
    return CHITCP_OK;
}

int mt_chilog(loglevel_t level, multi_timer_t *mt, bool active_only)
{
    if (mt == NULL || mt->timers == NULL) return CHITCP_EINVAL;
    struct chitcp_timers *timers = mt->timers;
    pthread_mutex_lock(&timers->lock);
    uint64_t time = now();
    for (uint32_t i = 0; i < timers->count; i++) {
        const struct timer *timer = &timers->all[i];
        unsigned long long timeouts = timer->shown.num_timeouts;
        if (timer->shown.active) {
            double left = timer->deadline > time ? (double) (timer->deadline - time) / NANOSECONDS_PER_SECOND : 0;
            chilog(level, "timer %u %-16s expires in %.6f s, %llu timeouts", i, timer->shown.name, left, timeouts);
        } else if (!active_only) {
            chilog(level, "timer %u %-16s not active, %llu timeouts", i, timer->shown.name, timeouts);
        }
    }
    pthread_mutex_unlock(&timers->lock);
    return CHITCP_OK;
}

int timespec_subtract(struct timespec *result, struct timespec *x, struct timespec *y)
{
    time_t seconds = x->tv_sec - y->tv_sec;
    long nanoseconds = x->tv_nsec - y->tv_nsec;
    seconds += nanoseconds / SECOND;
    nanoseconds %= SECOND;
    if (nanoseconds < 0) {
        nanoseconds += SECOND;
        seconds--;
    }
    result->tv_sec = seconds;
    result->tv_nsec = nanoseconds;
    return seconds < 0;
}
