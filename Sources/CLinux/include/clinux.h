/* What Swift's Glibc module does not show of Linux: epoll, eventfd, accept4, UNIX-socket inquiries, and the control
 * message macros for passing a descriptor. */
#ifndef CHITCP_CLINUX_H
#define CHITCP_CLINUX_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* epoll_wait with a time-out in nanoseconds; negative: none. */
static inline int clinux_epoll_wait(int epfd, struct epoll_event *events, int count, int64_t nanoseconds)
{
    if (nanoseconds < 0) return epoll_wait(epfd, events, count, -1);
    struct timespec t = { .tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000 };
    return epoll_pwait2(epfd, events, count, &t, NULL);
}

/* Adds `fd` with `events`; `token` comes back in the event. */
static inline int clinux_epoll_add(int epfd, int fd, uint32_t events, uint64_t token)
{
    struct epoll_event e = { .events = events, .data = { .u64 = token } };
    return epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e);
}

static inline uint64_t clinux_epoll_token(const struct epoll_event *e) { return e->data.u64; }

/* Unread bytes of a socket, or -1 with errno. */
static inline int clinux_unread(int fd) { int n; return ioctl(fd, SIOCINQ, &n) < 0 ? -1 : n; }
/* Bytes (for UNIX sockets: of socket memory) written and not yet read by the peer, or -1 with errno. */
static inline int clinux_unsent(int fd) { int n; return ioctl(fd, SIOCOUTQ, &n) < 0 ? -1 : n; }

/* Sends `length` bytes with descriptor `passed` attached (-1: none). */
static inline ssize_t clinux_send_descriptor(int fd, const void *bytes, size_t length, int passed, int flags)
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
static inline ssize_t clinux_receive_descriptor(int fd, void *bytes, size_t length, int *received, int flags)
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
static inline int clinux_peer_credentials(int fd, int *pid, unsigned *uid, unsigned *gid)
{
    struct ucred c;
    socklen_t length = sizeof c;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &length) < 0) return -1;
    *pid = c.pid; *uid = c.uid; *gid = c.gid;
    return 0;
}
#endif
