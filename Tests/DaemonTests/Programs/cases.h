/* Programs that use TCP sockets as programs do. Each case runs on the kernel's TCP and on chitcpd's and has to pass on both:
 * the kernel says what is right. */
#ifndef CASES_H
#define CASES_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Ends the process with a sentence if the condition does not hold. */
#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s does not hold (errno: %s)\n", __FILE__, __LINE__, #condition, strerror(errno)); \
            _exit(1); \
        } \
    } while (0)
/* The call fails with just this error. */
#define CHECK_ERROR(call, code) \
    do { \
        errno = 0; \
        long result_ = (long) (call); \
        if (result_ != -1 || errno != (code)) { \
            fprintf(stderr, "%s:%d: %s gives %ld and %s, not %s\n", __FILE__, __LINE__, #call, result_, \
                    strerrorname_np(errno), #code); \
            _exit(1); \
        } \
    } while (0)

/* A listening socket at the address the case was given (or ::1 and such), port chosen; and its name. */
struct name {
    struct sockaddr_storage address;
    socklen_t length;
};
extern const char *host;
struct name name_of(const char *text, uint16_t port);
#define SA(name) ((struct sockaddr *) &(name)->address)
uint16_t port_of(const struct name *name);
int listener(struct name *at, int flags);
/* Two connected ends. */
void connected(int *client, int *server);
/* poll(2) of one descriptor: its events, 0 if nothing in `milliseconds`. */
int events_of(int fd, int wanted, int milliseconds);
void set_nonblocking(int fd);
/* Reads until `count` bytes are there or the stream ends. */
size_t read_all(int fd, void *room, size_t count);
void wait_for_child(pid_t child);
/* Sets or asks an int option and gives what getsockopt says then. */
int option_int(int fd, int level, int name);
void set_int(int fd, int level, int name, int value);

struct test_case {
    const char *name;
    void (*run)(void);
};
extern const struct test_case connecting_cases[], data_cases[], process_cases[], option_cases[], tuning_cases[];

/* This program again, with a case for its child (see processes.c). */
extern char *program;
int child_case(int count, char **arguments);

#endif
