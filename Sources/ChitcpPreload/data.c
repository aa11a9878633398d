/* The sending and receiving calls where a UNIX stream answers them differently: destinations, MSG_FASTOPEN, MSG_TRUNC.
 * All others go through as they are; read, write, poll, sendfile and splice need nothing. */
#define _GNU_SOURCE
#include "preload.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

/* A destination means nothing to a connected TCP socket; with MSG_FASTOPEN it connects first, and the SYN waits for the data if
 * there is a cookie. 0, or -1 with errno. */
static int prepare_destination(int fd, const struct sockaddr *to, socklen_t length, int flags, size_t count)
{
    if (!(flags & MSG_FASTOPEN)) return 0;
    int on = count > 0;
    /* Refused for a socket that is connected, or is about to be: connect says which. */
    if (setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof on) < 0 && errno != EINVAL) return -1;
    return connect(fd, to, length);
}

CHITCP_EXPORT ssize_t sendto(int fd, const void *buffer, size_t count, int flags, const struct sockaddr *to,
                             socklen_t length)
{
    struct identity identity;
    if (to == NULL || !identify(fd, &identity)) return next()->sendto(fd, buffer, count, flags, to, length);
    if (prepare_destination(fd, to, length, flags, count) < 0) return -1;
    return next()->send(fd, buffer, count, flags & ~MSG_FASTOPEN);
}

CHITCP_EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct identity identity;
    if (message == NULL || message->msg_name == NULL || !identify(fd, &identity))
        return next()->sendmsg(fd, message, flags);
    size_t count = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++) count += message->msg_iov[i].iov_len;
    if (prepare_destination(fd, message->msg_name, message->msg_namelen, flags, count) < 0) return -1;
    struct msghdr without = *message;
    without.msg_name = NULL;
    without.msg_namelen = 0;
    return next()->sendmsg(fd, &without, flags & ~MSG_FASTOPEN);
}

/* MSG_TRUNC on a TCP socket: takes bytes and gives none (tcp(7)). One wait at most, as for one read. */
static ssize_t discard(int fd, size_t count, int flags)
{
    char room[16384];
    size_t done = 0;
    flags &= ~MSG_TRUNC;
    while (done < count) {
        size_t wanted = count - done < sizeof room ? count - done : sizeof room;
        ssize_t n = next()->recv(fd, room, wanted, done == 0 ? flags : flags | MSG_DONTWAIT);
        if (n < 0) return done > 0 ? (ssize_t) done : -1;
        done += (size_t) n;
        if ((size_t) n < wanted || flags & MSG_PEEK) break;
    }
    return (ssize_t) done;
}

static int is_to_be_discarded(int fd, int flags)
{
    struct identity identity;
    return flags & MSG_TRUNC && identify(fd, &identity);
}

CHITCP_EXPORT ssize_t recv(int fd, void *buffer, size_t count, int flags)
{
    return is_to_be_discarded(fd, flags) ? discard(fd, count, flags) : next()->recv(fd, buffer, count, flags);
}

CHITCP_EXPORT ssize_t recvfrom(int fd, void *buffer, size_t count, int flags, struct sockaddr *from, socklen_t *length)
{
    if (!is_to_be_discarded(fd, flags)) return next()->recvfrom(fd, buffer, count, flags, from, length);
    if (from != NULL && length != NULL) *length = 0;
    return discard(fd, count, flags);
}

CHITCP_EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    if (message == NULL || !is_to_be_discarded(fd, flags)) return next()->recvmsg(fd, message, flags);
    size_t count = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++) count += message->msg_iov[i].iov_len;
    message->msg_namelen = 0;
    message->msg_controllen = 0;
    message->msg_flags = 0;
    return discard(fd, count, flags);
}

/* What programs built with _FORTIFY_SOURCE call instead. */
extern void __chk_fail(void) __attribute__((noreturn));

CHITCP_EXPORT ssize_t __recv_chk(int fd, void *buffer, size_t count, size_t room, int flags)
{
    if (count > room) __chk_fail();
    return recv(fd, buffer, count, flags);
}

CHITCP_EXPORT ssize_t __recvfrom_chk(int fd, void *buffer, size_t count, size_t room, int flags, struct sockaddr *from,
                                     socklen_t *length)
{
    if (count > room) __chk_fail();
    return recvfrom(fd, buffer, count, flags, from, length);
}
