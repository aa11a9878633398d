/* Variable arguments, threads, control messages. */
#define _GNU_SOURCE
#include "packetdrill_process.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

static int (*control)(void *userdata, int fd, int command, long argument);
static int (*device_control)(void *userdata, int fd, unsigned long request, void *argument);

static int call_fcntl(void *userdata, int fd, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    /* Without a third argument this is what happens to lie there; the commands that have none do not look at it. */
    long argument = va_arg(arguments, long);
    va_end(arguments);
    return control(userdata, fd, command, argument);
}

static int call_ioctl(void *userdata, int fd, unsigned long request, ...) {
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return device_control(userdata, fd, request, argument);
}

void packetdrill_set_control_calls(struct packetdrill_interface *table,
                                   int (*fcntl)(void *userdata, int fd, int command, long argument),
                                   int (*ioctl)(void *userdata, int fd, unsigned long request, void *argument)) {
    control = fcntl;
    device_control = ioctl;
    table->fcntl = call_fcntl;
    table->ioctl = call_ioctl;
}

int packetdrill_thread(void) { return (int)syscall(SYS_gettid); }

/* The beginning of a file about a thread of this process; its length, or 0. */
static long read_about(int thread, const char *name, char *room, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/%s", thread, name);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    long n = syscall(SYS_read, fd, room, size - 1);
    syscall(SYS_close, fd);
    room[n > 0 ? n : 0] = 0;
    return n > 0 ? n : 0;
}

int packetdrill_is_asleep(int thread) {
    char text[512];
    if (!read_about(thread, "stat", text, sizeof text)) return 0;
    /* The state follows the name, which stands in brackets and may hold brackets itself. */
    const char *end = strrchr(text, ')');
    return end && end[1] == ' ' && end[2] == 'S';
}

int packetdrill_waits_for_thread(int thread) {
    char text[64];
    if (!packetdrill_is_asleep(thread)) return 0;
    if (!read_about(thread, "syscall", text, sizeof text)) return 1;
    return strtol(text, NULL, 10) == SYS_futex;
}

size_t packetdrill_put_int_message(void *room, size_t size, int level, int type, int value) {
    struct cmsghdr *head = room;
    if (size < CMSG_LEN(sizeof value)) return 0;
    size_t used = size < CMSG_SPACE(sizeof value) ? size : CMSG_SPACE(sizeof value);
    memset(room, 0, used);
    head->cmsg_len = CMSG_LEN(sizeof value);
    head->cmsg_level = level;
    head->cmsg_type = type;
    memcpy(CMSG_DATA(head), &value, sizeof value);
    return used;
}

uint64_t packetdrill_event_data(const struct epoll_event *event) { return event->data.u64; }

void packetdrill_set_event(struct epoll_event *events, int index, uint32_t what, uint64_t data) {
    events[index].events = what;
    events[index].data.u64 = data;
}

ssize_t packetdrill_read_file(int fd, void *room, size_t count, off_t offset) {
    return syscall(SYS_pread64, fd, room, count, offset);
}
