/* The functions of clinux.h. They live here and not in the header, because the feature macros they need would contradict
 * those with which Swift imports the C library. */
#define _GNU_SOURCE
#include "clinux.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <sys/xattr.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Adds `fd` with `events`; `token` comes back in the event. */
int clinux_epoll_add(int epfd, int fd, uint32_t events, uint64_t token)
{
    struct epoll_event e = { .events = events, .data = { .u64 = token } };
    return epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e);
}

int clinux_epoll_modify(int epfd, int fd, uint32_t events, uint64_t token)
{
    struct epoll_event e = { .events = events, .data = { .u64 = token } };
    return epoll_ctl(epfd, EPOLL_CTL_MOD, fd, &e);
}

uint64_t clinux_epoll_token(const struct epoll_event *e) { return e->data.u64; }

/* Unread bytes of a socket, or -1 with errno. */
int clinux_unread(int fd) { int n; return ioctl(fd, SIOCINQ, &n) < 0 ? -1 : n; }
/* Bytes (for UNIX sockets: of socket memory) written and not yet read by the peer, or -1 with errno. */
int clinux_unsent(int fd) { int n; return ioctl(fd, SIOCOUTQ, &n) < 0 ? -1 : n; }

/* 1 if the next byte to read is an urgent one, else 0. */
int clinux_is_at_mark(int fd) { int n; return ioctl(fd, SIOCATMARK, &n) == 0 && n != 0; }

/* Sends `length` bytes with descriptor `passed` attached (-1: none). */
ssize_t clinux_send_descriptor(int fd, const void *bytes, size_t length, int passed, int flags)
{
    struct iovec iov = { .iov_base = (void *) bytes, .iov_len = length };
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } control;
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
    if (passed >= 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.space;
        message.msg_controllen = sizeof control.space;
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &passed, sizeof(int));
    }
    return sendmsg(fd, &message, flags | MSG_NOSIGNAL);
}

/* Receives at most `length` bytes; *received is the first descriptor that came along (close-on-exec), or -1. Any further
 * descriptors are closed. */
ssize_t clinux_receive_descriptor(int fd, void *bytes, size_t length, int *received, int flags)
{
    struct iovec iov = { .iov_base = bytes, .iov_len = length };
    union { struct cmsghdr header; char space[CMSG_SPACE(8 * sizeof(int))]; } control;
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space,
                              .msg_controllen = sizeof control.space };
    *received = -1;
    ssize_t n = recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);
    if (n < 0) return n;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int one;
            memcpy(&one, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (*received < 0) *received = one; else close(one);
        }
    }
    return n;
}

/* The credentials of a UNIX socket's peer; 0 or -1 with errno. */
int clinux_peer_credentials(int fd, int *pid, unsigned *uid, unsigned *gid)
{
    struct ucred c;
    socklen_t length = sizeof c;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &length) < 0) return -1;
    *pid = c.pid; *uid = c.uid; *gid = c.gid;
    return 0;
}

/* The supplementary groups of a UNIX socket's peer: how many of them (at most `count`), or -1. */
int clinux_peer_groups(int fd, unsigned *groups, int count)
{
    socklen_t length = (socklen_t) count * sizeof *groups;
    return getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length) < 0 ? -1 : (int) (length / sizeof *groups);
}

int clinux_accept(int fd, struct sockaddr *address, socklen_t *length)
{
    return accept4(fd, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

int clinux_pipe(int ends[2]) { return pipe2(ends, O_NONBLOCK | O_CLOEXEC); }

int clinux_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

int clinux_eventfd(void) { return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); }

int clinux_timer(void) { return timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC); }

int clinux_timer_set(int fd, int64_t nanoseconds)
{
    struct itimerspec t = { .it_value = { .tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000 } };
    return timerfd_settime(fd, TFD_TIMER_ABSTIME, &t, NULL);
}

int clinux_poll(struct pollfd *entries, int count, int64_t nanoseconds)
{
    struct timespec limit = { .tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000 };
    return ppoll(entries, (nfds_t) count, nanoseconds < 0 ? NULL : &limit, NULL);
}

int clinux_socketpair(int ends[2]) { return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends); }

int clinux_dup_onto(int from, int to) { return dup3(from, to, O_CLOEXEC); }

void clinux_name_thread(const char *name) { prctl(PR_SET_NAME, name); }

int clinux_get_affinity(pid_t pid, uint64_t mask[16])
{
    _Static_assert(sizeof(cpu_set_t) == 16 * sizeof(uint64_t), "layout");
    memset(mask, 0, sizeof(cpu_set_t));
    return sched_getaffinity(pid, sizeof(cpu_set_t), (cpu_set_t *) mask);
}

int clinux_set_affinity(pid_t pid, const uint64_t mask[16])
{
    return sched_setaffinity(pid, sizeof(cpu_set_t), (const cpu_set_t *) mask);
}

int clinux_signal_at_parents_end(int signal) { return prctl(PR_SET_PDEATHSIG, signal); }

int clinux_tun_open(const char *name, int *offload)
{
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return -1;
    struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR };
    int header = 10; /* struct virtio_net_hdr */
    if (strlen(name) >= IFNAMSIZ) {
        close(fd);
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(request.ifr_name, name);
    if (ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    *offload = clinux_tun_offload(fd, 1) == 0;
    return fd;
}

int clinux_tun_offload(int fd, int on)
{
    return ioctl(fd, TUNSETOFFLOAD, on ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN : 0);
}

int clinux_enter_network(int fd) { return setns(fd, CLONE_NEWNET); }

int clinux_interface_up(const char *name, int mtu)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    struct ifreq request = { 0 };
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    /* Looking needs no privilege; changing what is right already would. */
    int result = ioctl(fd, SIOCGIFMTU, &request);
    if (result == 0 && request.ifr_mtu != mtu) {
        request.ifr_mtu = mtu;
        result = ioctl(fd, SIOCSIFMTU, &request);
    }
    if (result == 0) result = ioctl(fd, SIOCGIFFLAGS, &request);
    if (result == 0 && !(request.ifr_flags & IFF_UP)) {
        request.ifr_flags |= IFF_UP;
        result = ioctl(fd, SIOCSIFFLAGS, &request);
    }
    int error = errno;
    close(fd);
    errno = error;
    return result;
}

size_t clinux_allocation_size(const void *p) { return malloc_usable_size((void *) p); }

/* 1 if the file gives capabilities to whoever runs it. */
int clinux_has_capabilities(const char *path) { return getxattr(path, "security.capability", NULL, 0) > 0; }
