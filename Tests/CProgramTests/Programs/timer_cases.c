/* The multitimer: which timers expire, when, and in which order. */
#include "acceptance.h"

#include <chitcp/multitimer.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { TIMERS = 10 };

static multi_timer_t timers;

static void open_timers(void) { CHECK(mt_init(&timers, TIMERS) == CHITCP_OK, "init"); }
static void close_timers(void) { CHECK(mt_free(&timers) == CHITCP_OK, "free"); }

static single_timer_t *timer(uint16_t id)
{
    single_timer_t *found = NULL;
    CHECK(mt_get_timer_by_id(&timers, id, &found) == CHITCP_OK && found != NULL, "timer %d", id);
    return found;
}

/* What expired, in order, and how long after the start of the case. */
static struct {
    atomic_int count;
    uint16_t ids[256];
    struct timespec times[256];
    void *args[256];
    bool was_active[256];
} expired;

static struct timespec started;

static void note(multi_timer_t *of, single_timer_t *which, void *args)
{
    int place = atomic_load(&expired.count);
    CHECK(of == &timers, "another multitimer");
    if (place >= 256) return;
    expired.ids[place] = which->id;
    expired.args[place] = args;
    expired.was_active[place] = which->active;
    clock_gettime(CLOCK_MONOTONIC, &expired.times[place]);
    atomic_store(&expired.count, place + 1);
}

static bool has_expired(void *count) { return atomic_load(&expired.count) >= *(int *) count; }

static void await(int count) { wait_until("enough timeouts", has_expired, &count); }

static void set(uint16_t id, uint64_t nanoseconds, void *args)
{
    CHECK(mt_set_timer(&timers, id, nanoseconds, note, args) == CHITCP_OK, "set %d", id);
}

static void start_clock(void) { clock_gettime(CLOCK_MONOTONIC, &started); }

/* Milliseconds from the start of the case to a timeout. */
static double after(int place)
{
    struct timespec difference;
    CHECK(timespec_subtract(&difference, &expired.times[place], &started) == 0, "before the start");
    return (double) difference.tv_sec * 1e3 + (double) difference.tv_nsec / 1e6;
}

static void one(void)
{
    CHECK(mt_init(&timers, 1) == CHITCP_OK, "init");
    close_timers();
}

static void many(void)
{
    CHECK(mt_init(&timers, 65535) == CHITCP_OK, "init");
    set(65534, MILLISECOND, NULL);
    await(1);
    CHECK(expired.ids[0] == 65534, "timer %d", expired.ids[0]);
    close_timers();
}

static void bad_arguments(void)
{
    single_timer_t *found;
    CHECK(mt_init(NULL, 1) == CHITCP_EINVAL, "no multitimer");
    CHECK(mt_init(&timers, 0) == CHITCP_EINVAL, "no timers");
    open_timers();
    CHECK(mt_get_timer_by_id(&timers, TIMERS, &found) == CHITCP_EINVAL, "no such timer");
    CHECK(mt_set_timer(&timers, TIMERS, SECOND, note, NULL) == CHITCP_EINVAL, "no such timer");
    CHECK(mt_cancel_timer(&timers, TIMERS) == CHITCP_EINVAL, "no such timer");
    CHECK(mt_set_timer_name(&timers, TIMERS, "x") == CHITCP_EINVAL, "no such timer");
    CHECK(mt_set_timer_name(&timers, 0, NULL) == CHITCP_EINVAL, "no name");
    close_timers();
    CHECK(mt_free(&timers) == CHITCP_EINVAL, "freed twice");
}

static void by_id(void)
{
    open_timers();
    for (uint16_t id = 0; id < TIMERS; id++) {
        CHECK(timer(id)->id == id && !timer(id)->active && timer(id)->num_timeouts == 0, "timer %d", id);
        CHECK(timer(id)->name[0] == '\0', "its name");
    }
    close_timers();
}

static void expires(void)
{
    open_timers();
    set(5, 300 * MILLISECOND, &expired);
    CHECK(timer(5)->active, "set");
    await(1);
    CHECK(!timer(5)->active && timer(5)->num_timeouts == 1, "expired %d times", (int) timer(5)->num_timeouts);
    CHECK(expired.ids[0] == 5 && expired.args[0] == &expired && !expired.was_active[0], "what the callback got");
    close_timers();
}

static void without_callback(void)
{
    open_timers();
    CHECK(mt_set_timer(&timers, 5, MILLISECOND, NULL, NULL) == CHITCP_OK, "set");
    set(6, 2 * MILLISECOND, NULL);
    await(1);
    CHECK(!timer(5)->active && timer(5)->num_timeouts == 1, "expired");
    close_timers();
}

static void at_once(void)
{
    open_timers();
    set(5, 0, NULL);
    await(1);
    CHECK(timer(5)->num_timeouts == 1, "expired");
    close_timers();
}

static void cancelled(void)
{
    open_timers();
    set(5, 300 * MILLISECOND, NULL);
    CHECK(mt_cancel_timer(&timers, 5) == CHITCP_OK, "cancel");
    CHECK(!timer(5)->active, "not active");
    set(6, 400 * MILLISECOND, NULL);
    await(1);
    CHECK(expired.ids[0] == 6 && timer(5)->num_timeouts == 0, "it expired all the same");
    close_timers();
}

static void cancel_inactive(void)
{
    open_timers();
    CHECK(mt_cancel_timer(&timers, 5) == CHITCP_EINVAL, "never set");
    set(5, MILLISECOND, NULL);
    await(1);
    CHECK(mt_cancel_timer(&timers, 5) == CHITCP_EINVAL, "expired");
    CHECK(timer(5)->num_timeouts == 1, "its timeouts");
    close_timers();
}

static void set_active(void)
{
    open_timers();
    set(5, 300 * MILLISECOND, &timers);
    CHECK(mt_set_timer(&timers, 5, SECOND, note, NULL) == CHITCP_EINVAL, "set twice");
    await(1);
    CHECK(expired.args[0] == &timers, "the first setting holds");
    close_timers();
}

static void set_again(void)
{
    open_timers();
    set(5, 10 * MILLISECOND, &timers);
    await(1);
    set(5, 10 * MILLISECOND, &expired);
    await(2);
    CHECK(timer(5)->num_timeouts == 2, "expired %d times", (int) timer(5)->num_timeouts);
    CHECK(expired.args[0] == &timers && expired.args[1] == &expired, "each with its arguments");
    close_timers();
}

static void set_after_cancel(void)
{
    open_timers();
    set(5, 600 * SECOND, NULL);
    CHECK(mt_cancel_timer(&timers, 5) == CHITCP_OK, "cancel");
    set(5, MILLISECOND, NULL);
    await(1);
    CHECK(timer(5)->num_timeouts == 1, "expired");
    close_timers();
}

static void time_of_one(void)
{
    open_timers();
    start_clock();
    set(5, 50 * MILLISECOND, NULL);
    await(1);
    CHECK(after(0) >= 50, "after %f ms", after(0));
    CHECK(after(0) < 10000, "after %f ms", after(0));
    close_timers();
}

/* Milliseconds since the start of the case. */
static double elapsed(void)
{
    struct timespec time, difference;
    clock_gettime(CLOCK_MONOTONIC, &time);
    timespec_subtract(&difference, &time, &started);
    return (double) difference.tv_sec * 1e3 + (double) difference.tv_nsec / 1e6;
}

/* Set in one order, they expire in that of their times, none before its own. */
static void order(void)
{
    static const uint16_t ids[TIMERS] = { 7, 2, 9, 0, 5, 1, 8, 3, 6, 4 };
    /* Between these a timer was to expire. */
    double earliest[TIMERS], latest[TIMERS];
    open_timers();
    start_clock();
    for (int i = 0; i < TIMERS; i++) {
        double timeout = (ids[i] + 1) * 20;
        earliest[ids[i]] = elapsed() + timeout;
        set(ids[i], (uint64_t) timeout * MILLISECOND, NULL);
        latest[ids[i]] = elapsed() + timeout;
    }
    await(TIMERS);
    for (int i = 0; i < TIMERS; i++) {
        int id = expired.ids[i];
        CHECK(after(i) >= earliest[id], "timer %d after %f ms, not %f", id, after(i), earliest[id]);
        CHECK(timer((uint16_t) id)->num_timeouts == 1, "timer %d", id);
        if (i > 0) CHECK(earliest[expired.ids[i - 1]] <= latest[id], "%d before %d", expired.ids[i - 1], id);
    }
    close_timers();
}

static void earlier_one(void)
{
    open_timers();
    set(0, 600 * SECOND, NULL);
    set(1, MILLISECOND, NULL);
    await(1);
    CHECK(expired.ids[0] == 1 && timer(0)->active, "the earlier one, though set later");
    close_timers();
}

static void cancel_one_of_many(uint16_t id)
{
    open_timers();
    for (uint16_t i = 0; i < TIMERS; i++) set(i, (uint64_t) (400 + i) * MILLISECOND, NULL);
    CHECK(mt_cancel_timer(&timers, id) == CHITCP_OK, "cancel");
    await(TIMERS - 1);
    for (uint16_t i = 0; i < TIMERS; i++)
        CHECK(timer(i)->num_timeouts == (i == id ? 0 : 1), "timer %d expired %d times", i, (int) timer(i)->num_timeouts);
    close_timers();
}

static void cancel_the_next(void) { cancel_one_of_many(0); }
static void cancel_one_between(void) { cancel_one_of_many(5); }
static void cancel_the_last(void) { cancel_one_of_many(TIMERS - 1); }

/* A callback sets its timer again: a periodic timer. */
static void again(multi_timer_t *of, single_timer_t *which, void *args)
{
    note(of, which, args);
    if (which->num_timeouts < 5) CHECK(mt_set_timer(of, which->id, MILLISECOND, again, args) == CHITCP_OK, "again");
}

static void periodic(void)
{
    open_timers();
    CHECK(mt_set_timer(&timers, 3, MILLISECOND, again, NULL) == CHITCP_OK, "set");
    await(5);
    CHECK(timer(3)->num_timeouts == 5, "expired %d times", (int) timer(3)->num_timeouts);
    close_timers();
}

/* A callback cancels another timer. */
static void cancel_other(multi_timer_t *of, single_timer_t *which, void *args)
{
    note(of, which, args);
    CHECK(mt_cancel_timer(of, 9) == CHITCP_OK, "cancel");
}

static void cancel_in_callback(void)
{
    open_timers();
    set(9, 500 * MILLISECOND, NULL);
    CHECK(mt_set_timer(&timers, 0, MILLISECOND, cancel_other, NULL) == CHITCP_OK, "set");
    set(1, 600 * MILLISECOND, NULL);
    await(2);
    CHECK(timer(9)->num_timeouts == 0 && expired.ids[1] == 1, "timer %d", expired.ids[1]);
    close_timers();
}

static atomic_int is_freed;

static void free_all(multi_timer_t *of, single_timer_t *which, void *args)
{
    note(of, which, args);
    CHECK(mt_free(of) == CHITCP_OK, "free");
    is_freed = 1;
}

static bool freed(void *unused)
{
    (void) unused;
    return is_freed;
}

static void free_in_callback(void)
{
    open_timers();
    set(1, 600 * SECOND, NULL);
    CHECK(mt_set_timer(&timers, 0, MILLISECOND, free_all, NULL) == CHITCP_OK, "set");
    wait_until("the end", freed, NULL);
    CHECK(mt_free(&timers) == CHITCP_EINVAL, "freed twice");
}

static void free_with_active(void)
{
    open_timers();
    for (uint16_t i = 0; i < TIMERS; i++) set(i, 600 * SECOND, NULL);
    close_timers();
    CHECK(expired.count == 0, "%d expired", expired.count);
}

static void names(void)
{
    open_timers();
    CHECK(mt_set_timer_name(&timers, 0, "Retransmission") == CHITCP_OK, "set");
    CHECK(strcmp(timer(0)->name, "Retransmission") == 0, "%s", timer(0)->name);
    CHECK(mt_set_timer_name(&timers, 1, "a name of more than sixteen") == CHITCP_OK, "set");
    CHECK(strcmp(timer(1)->name, "a name of more t") == 0, "%s", timer(1)->name);
    CHECK(mt_set_timer_name(&timers, 0, "2MSL") == CHITCP_OK && strcmp(timer(0)->name, "2MSL") == 0, "a new name");
    chitcp_setloglevel(INFO);
    set(0, 600 * SECOND, NULL);
    CHECK(mt_chilog(INFO, &timers, true) == CHITCP_OK && mt_chilog(INFO, &timers, false) == CHITCP_OK, "log");
    close_timers();
}

static void subtraction(void)
{
    struct timespec a = { .tv_sec = 5, .tv_nsec = 100 }, b = { .tv_sec = 3, .tv_nsec = 200 }, difference;
    CHECK(timespec_subtract(&difference, &a, &b) == 0, "positive");
    CHECK(difference.tv_sec == 1 && difference.tv_nsec == 999999900, "%ld.%09ld", (long) difference.tv_sec,
        difference.tv_nsec);
    CHECK(timespec_subtract(&difference, &b, &a) == 1, "negative");
    CHECK(difference.tv_sec == -2 && difference.tv_nsec == 100, "%ld.%09ld", (long) difference.tv_sec, difference.tv_nsec);
    CHECK(timespec_subtract(&difference, &a, &a) == 0 && difference.tv_sec == 0 && difference.tv_nsec == 0, "none");
    CHECK(a.tv_sec == 5 && b.tv_nsec == 200, "the arguments stay");
}

const struct acceptance_case timer_cases[] = {
    { "timer: one", NULL, one },
    { "timer: 65,535", NULL, many },
    { "timer: arguments that make no sense", NULL, bad_arguments },
    { "timer: by number", NULL, by_id },
    { "timer: expires", NULL, expires },
    { "timer: expires without callback", NULL, without_callback },
    { "timer: expires at once", NULL, at_once },
    { "timer: cancelled", NULL, cancelled },
    { "timer: cancelling one not active", NULL, cancel_inactive },
    { "timer: setting an active one", NULL, set_active },
    { "timer: set again", NULL, set_again },
    { "timer: set after cancelling", NULL, set_after_cancel },
    { "timer: never early", NULL, time_of_one },
    { "timer: ten in order", NULL, order },
    { "timer: an earlier one set later", NULL, earlier_one },
    { "timer: cancelling the next of ten", NULL, cancel_the_next },
    { "timer: cancelling one of ten", NULL, cancel_one_between },
    { "timer: cancelling the last of ten", NULL, cancel_the_last },
    { "timer: periodic", NULL, periodic },
    { "timer: cancelling in a callback", NULL, cancel_in_callback },
    { "timer: freeing in a callback", NULL, free_in_callback },
    { "timer: freeing while active", NULL, free_with_active },
    { "timer: names", NULL, names },
    { "timer: subtraction of times", NULL, subtraction },
    { NULL, NULL, NULL },
};
