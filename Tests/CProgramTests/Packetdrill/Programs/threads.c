/* Time and the two threads, handled as packetdrill handles them. */
#define _GNU_SOURCE
#include "player.h"

#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/times.h>
#include <time.h>

enum phase { idle, pending, running, ended };

pthread_mutex_t big_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_t thread;
static enum phase phase;
static bool is_over;
static volatile int thread_number;
static char words[1024];
static long long start_time, end_time, origin;

static long long clock_now(void) {
    struct timeval now;
    if (plugin.gettimeofday(plugin.userdata, &now, NULL)) fail("gettimeofday failed");
    return now.tv_sec * 1000000LL + now.tv_usec;
}

long long elapsed(void) { return clock_now() - origin; }

void begin_time(void) {
    struct tms unused;
    clock_t first = times(&unused);
    while (times(&unused) - first < 10) { }
    origin = clock_now() + 250;
}

void wait_until(long long time) {
    for (;;) {
        long long left = time - elapsed();
        if (left <= 0) return;
        if (left > 20) {
            pthread_mutex_unlock(&big_lock);
            plugin.usleep(plugin.userdata, (useconds_t)(left - 20));
            pthread_mutex_lock(&big_lock);
        }
    }
}

void check_time(const char *what, long long expected, long long actual) {
    if (llabs(expected - actual) > 4000)
        fail("%s: expected at %.6f, happened at %.6f", what, (double)expected / 1e6, (double)actual / 1e6);
}

static void *serve(void *unused) {
    (void)unused;
    thread_number = (int)syscall(SYS_gettid);
    pthread_mutex_lock(&big_lock);
    while (!is_over) {
        if (phase != pending) {
            pthread_cond_wait(&changed, &big_lock);
            continue;
        }
        wait_until(start_time);
        check_time("a blocking call", start_time, elapsed());
        phase = running;
        pthread_mutex_unlock(&big_lock);
        make_call(words, false);
        /* The very first thing afterwards is a look at the clock. */
        long long now = elapsed();
        pthread_mutex_lock(&big_lock);
        check_time("the end of a blocking call", end_time, now);
        phase = idle;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&big_lock);
    return NULL;
}

void start_threads(void) {
    is_over = false;
    phase = idle;
    thread_number = 0;
    pthread_create(&thread, NULL, serve, NULL);
    while (!thread_number) sched_yield();
    pthread_mutex_lock(&big_lock);
}

void stop_threads(void) {
    is_over = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&big_lock);
    pthread_join(thread, NULL);
}

static char report[1200];

void report_later(const char *text) { snprintf(report, sizeof report, "%s", text); }

static bool await_phase(void) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 1;
    while (phase != idle)
        if (pthread_cond_timedwait(&changed, &big_lock, &end)) return phase == idle;
    return true;
}

bool await_idle(void) {
    bool is_idle = await_phase();
    if (is_idle && *report) {
        say("%s", report);
        *report = 0;
    }
    return is_idle;
}

static char state_of(int number) {
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", number);
    FILE *file = fopen(path, "r");
    if (!file) fail("there is no thread %d", number);
    size_t count = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[count] = 0;
    char *end = strrchr(text, ')');
    return end ? end[2] : '?';
}

void call_blocking(char *line, long long start, long long end) {
    snprintf(words, sizeof words, "%s", line);
    start_time = start;
    end_time = end;
    phase = pending;
    pthread_cond_broadcast(&changed);
    /* On with the script when that thread sleeps in its call, or has finished it. */
    for (;;) {
        pthread_mutex_unlock(&big_lock);
        sched_yield();
        bool sleeps = state_of(thread_number) == 'S';
        pthread_mutex_lock(&big_lock);
        if (phase == idle || (phase == running && sleeps)) return;
    }
}
