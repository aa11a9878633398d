/* Functions that take the C library's place when the plugin is preloaded into packetdrill (LD_PRELOAD). Descriptors that are
 * not the plugin's go to the kernel. Nothing here takes a lock: Swift's run-time library calls close(2) as well. */
#define _GNU_SOURCE
#include "packetdrill_process.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/times.h>

enum { descriptors = 65536 };
static _Atomic unsigned char stands_in[descriptors];
static struct packetdrill_preloads preloads;

static int is_ours(int fd) { return fd >= 0 && fd < descriptors && stands_in[fd]; }

void packetdrill_set_preloads(struct packetdrill_preloads given) { preloads = given; }

int packetdrill_open_stand_in(void) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);
    if (fd >= descriptors) {
        syscall(SYS_close, fd);
        errno = EMFILE;
        return -1;
    }
    if (fd >= 0) stands_in[fd] = 1;
    return fd;
}

int packetdrill_close_stand_in(int fd) {
    if (is_ours(fd)) stands_in[fd] = 0;
    return (int)syscall(SYS_close, fd);
}

void packetdrill_forget_stand_ins(void) {
    for (int fd = 0; fd < descriptors; fd++) stands_in[fd] = 0;
}

int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict length) {
    if (is_ours(fd) && preloads.getsockopt) return preloads.getsockopt(fd, level, name, value, length);
    return (int)syscall(SYS_getsockopt, fd, level, name, value, length);
}

int close(int fd) {
    if (is_ours(fd) && preloads.close) return preloads.close(fd);
    return (int)syscall(SYS_close, fd);
}

ssize_t sendfile(int out, int in, off_t *offset, size_t count) {
    if (is_ours(out) && preloads.sendfile) return preloads.sendfile(out, in, offset, count);
    return syscall(SYS_sendfile, out, in, offset, count);
}

ssize_t sendfile64(int out, int in, off64_t *offset, size_t count) {
    return sendfile(out, in, (off_t *)offset, count);
}

/* packetdrill waits at its start until this clock has ticked a few times; nothing else of it looks at it. */
clock_t times(struct tms *t) {
    static _Atomic long ticks;
    if (t) memset(t, 0, sizeof *t);
    return ++ticks;
}

/* Virtual time needs neither locked memory nor a real-time priority. */
int mlockall(int flags) {
    (void)flags;
    return 0;
}

int sched_setscheduler(pid_t pid, int policy, const struct sched_param *parameters) {
    (void)pid;
    (void)policy;
    (void)parameters;
    return 0;
}
