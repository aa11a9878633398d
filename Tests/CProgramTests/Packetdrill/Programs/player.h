/* Plays situations against the packetdrill plugin, as packetdrill does: two threads, virtual time, packets and calls. */
#ifndef PLAYER_H
#define PLAYER_H

#include "packetdrill_interface.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* The plugin of the situation that is being played. */
extern struct packetdrill_interface plugin;

/* Ends the program with the line and a sentence. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A line of the transcript: the same in every run. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Microseconds since the situation began. */
long long elapsed(void);
void begin_time(void);
/* Lets time pass until `time`; waiting for the other thread, where there may be one, is the caller's matter. */
void wait_until(long long time);
/* Fails unless `time` is what was expected, within packetdrill's tolerance. */
void check_time(const char *what, long long expected, long long actual);

/* The lock that packetdrill holds except in usleep, and the thread of calls that block. */
extern pthread_mutex_t big_lock;
void start_threads(void);
void stop_threads(void);
/* Waits for the other thread, a second of real time at most; false: it is still busy. */
bool await_idle(void);
/* A line for the transcript about the other thread's call, when main waits for it: at any other time the order would be chance. */
void report_later(const char *text);
/* Makes a call on the other thread at `start`; it has to end at `end`. */
void call_blocking(char *words, long long start, long long end);

/* Addresses: 4, 6, or 46 for IPv4 in sockets of IPv6. */
extern int family;
socklen_t local_address(struct sockaddr_storage *room);
socklen_t remote_address(struct sockaddr_storage *room);

/* Packets. Numbers are relative to the initial ones. */
void begin_packets(void);
void inject(char *words);
void inject_icmp(char *words);
void inject_bytes(const char *hex);
void expect(char *words, long long time);
/* Aborts what is left of the connection, as packetdrill does at the end. */
void inject_reset(void);
/* The cookie of Fast Open that was seen last: "FO *" stands for it, and for the one that was kept "FO kept". */
void keep_cookie(void);
bool cookie_is_kept(void);
/* Takes a packet, if there is one, and looks whether it is well formed. */
void sniff_all(void);
bool peer_is_known(const struct sockaddr_storage *address);

/* Arbitrary packets and calls. */
void lay_siege(unsigned seed, int rounds);

/* Calls: the words of a line, with what is expected of it. Returns when the call has returned, and says what it did. */
void begin_calls(void);
void make_call(char *words, bool on_main);
void close_everything(void);

/* The next word, or NULL; the next word must be there. */
char *next_word(char **rest);
char *need_word(char **rest);
long number(const char *word);

#endif
