/* socket, bind, listen, connect, accept and shutdown. */
#define _GNU_SOURCE
#include "preload.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

/* A new chisocket, or -1 with errno. `type` may carry SOCK_CLOEXEC and SOCK_NONBLOCK. */
static int make_chisocket(int domain, int type, int protocol)
{
    struct chitcp_request request;
    struct chitcp_response response;
    int fd;
    begin_request(&request, CHITCP_OP_SOCKET);
    request.argument[0] = domain;
    request.argument[1] = type;
    request.argument[2] = protocol;
    int result = ask(&request, NULL, -1, -1, &response, &fd);
    if (result < 0 || fd < 0) {
        /* An answer without a descriptor: this process has no number left for it. */
        if (result >= 0) errno = EMFILE;
        else if (fd >= 0) close(fd);
        return -1;
    }
    if (type & SOCK_NONBLOCK) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    if (!(type & SOCK_CLOEXEC)) fcntl(fd, F_SETFD, 0);
    return fd;
}

CHITCP_EXPORT int socket(int domain, int type, int protocol)
{
    int is_stream = (type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) == SOCK_STREAM;
    if ((domain != AF_INET && domain != AF_INET6) || !is_stream) return next()->socket(domain, type, protocol);
    if (protocol == 0 || protocol == IPPROTO_TCP) return make_chisocket(domain, type, protocol);
    if (protocol == IPPROTO_MPTCP) {
        /* Programs that ask for several paths are content with one. The kernel's would not be ours. */
        errno = EPROTONOSUPPORT;
        return -1;
    }
    return next()->socket(domain, type, protocol);
}

CHITCP_EXPORT int bind(int fd, const struct sockaddr *address, socklen_t length)
{
    struct identity identity;
    if (!identify(fd, &identity)) return next()->bind(fd, address, length);
    struct chitcp_request request;
    struct chitcp_response response;
    begin_request(&request, CHITCP_OP_BIND);
    if (address_from_program(address, length, &request.address) < 0) return -1;
    if (is_excluded(&request.address))
        return become_kernel_socket(fd, &identity) < 0 ? -1 : next()->bind(fd, address, length);
    return ask(&request, &identity, -1, -1, &response, NULL) < 0 ? -1 : 0;
}

CHITCP_EXPORT int listen(int fd, int backlog)
{
    struct identity identity;
    if (!identify(fd, &identity)) return next()->listen(fd, backlog);
    struct chitcp_request request;
    struct chitcp_response response;
    begin_request(&request, CHITCP_OP_LISTEN);
    request.argument[0] = backlog;
    if (ask(&request, &identity, fd, -1, &response, NULL) < 0) return -1;
    note_role(&identity, ROLE_LISTENING);
    return 0;
}

/* SO_SNDTIMEO bounds connect(2); -1: it does not. */
static int connect_limit(int fd)
{
    struct timeval limit;
    socklen_t length = sizeof limit;
    if (next()->getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, &length) < 0) return -1;
    if (limit.tv_sec == 0 && limit.tv_usec == 0) return -1;
    return limit.tv_sec > 1000000 ? -1 : (int) (limit.tv_sec * 1000 + (limit.tv_usec + 999) / 1000);
}

/* A connection that has failed takes its descriptor with it. Who connects again with the same number gets a new one. */
static int renew(int fd, int domain, struct identity *identity)
{
    int status = fcntl(fd, F_GETFL), flags = fcntl(fd, F_GETFD);
    int fresh = make_chisocket(domain, SOCK_STREAM | SOCK_CLOEXEC | (status & O_NONBLOCK ? SOCK_NONBLOCK : 0), 0);
    if (fresh < 0) return -1;
    int result = dup3(fresh, fd, flags & FD_CLOEXEC ? O_CLOEXEC : 0);
    int error = errno;
    close(fresh);
    errno = error;
    return result < 0 || !identify(fd, identity) ? -1 : 0;
}

CHITCP_EXPORT int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    struct identity identity;
    if (!identify(fd, &identity)) return next()->connect(fd, address, length);
    struct chitcp_request request;
    struct chitcp_response response;
    begin_request(&request, CHITCP_OP_CONNECT);
    if (address_from_program(address, length, &request.address) < 0) return -1;
    if (is_excluded(&request.address))
        return become_kernel_socket(fd, &identity) < 0 ? -1 : next()->connect(fd, address, length);
    int does_not_wait = (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
    request.argument[0] = does_not_wait;
    int limit = does_not_wait ? -1 : connect_limit(fd), before = errno;
    for (int attempt = 0;; attempt++) {
        if (ask(&request, &identity, fd, limit, &response, NULL) == 0) {
            note_role(&identity, ROLE_CONNECTED);
            return 0;
        }
        if (errno != EBADF || attempt > 0 || renew(fd, request.address.family, &identity) < 0) break;
        errno = before;
    }
    /* The time limit leaves the connection to go on, as in Linux. */
    if (errno == ETIMEDOUT && limit >= 0) errno = EINPROGRESS;
    if (errno == EINPROGRESS || errno == EINTR) note_role(&identity, ROLE_CONNECTED);
    return -1;
}

/* What the chisocket is for; the daemon is asked only if this process does not know. */
static enum role role_of(const struct identity *identity)
{
    enum role role = known_role(identity);
    if (role != ROLE_UNKNOWN) return role;
    struct chitcp_request request;
    struct chitcp_response response;
    begin_request(&request, CHITCP_OP_NAMES);
    if (ask(&request, identity, -1, -1, &response, NULL) < 0) return ROLE_UNKNOWN;
    if (response.argument[0] == CHITCP_STATE_LISTEN) role = ROLE_LISTENING;
    else if (response.remote.family != 0) role = ROLE_CONNECTED;
    if (role != ROLE_UNKNOWN) note_role(identity, role);
    return role;
}

static int take_connection(int listener, const struct identity *identity, struct sockaddr *address, socklen_t *length,
                           int flags)
{
    if (role_of(identity) != ROLE_LISTENING || (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) != 0
        || (address != NULL && length == NULL)) {
        errno = EINVAL;
        return -1;
    }
    struct chitcp_accepted record;
    struct iovec iov = { .iov_base = &record, .iov_len = sizeof record };
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } control;
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space,
                              .msg_controllen = sizeof control.space };
    /* The kernel never joins two records that carry descriptors, so one call takes one connection, whole. */
    ssize_t n = next()->recvmsg(listener, &message, flags & SOCK_CLOEXEC ? MSG_CMSG_CLOEXEC : 0);
    if (n < 0) return -1;
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    int fd = -1;
    if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    if (n != sizeof record || record.magic != CHITCP_CONTROL_MAGIC || fd < 0) {
        if (fd >= 0) close(fd);
        /* At the end of the stream the listener is shut. A record without its descriptor: no number was free. */
        errno = n == sizeof record ? EMFILE : EINVAL;
        return -1;
    }
    if (flags & SOCK_NONBLOCK) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    struct identity accepted = { .daemon = identity->daemon, .socket = record.socket_id };
    note_role(&accepted, ROLE_CONNECTED);
    address_to_program(&record.remote, address, length);
    return fd;
}

CHITCP_EXPORT int accept(int fd, struct sockaddr *address, socklen_t *length)
{
    struct identity identity;
    if (!identify(fd, &identity)) return next()->accept(fd, address, length);
    return take_connection(fd, &identity, address, length, 0);
}

CHITCP_EXPORT int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    struct identity identity;
    if (!identify(fd, &identity)) return next()->accept4(fd, address, length, flags);
    return take_connection(fd, &identity, address, length, flags);
}

CHITCP_EXPORT int shutdown(int fd, int how)
{
    struct identity identity;
    if (!identify(fd, &identity)) return next()->shutdown(fd, how);
    if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR) {
        errno = EINVAL;
        return -1;
    }
    enum role role = role_of(&identity);
    if (role == ROLE_UNKNOWN) {
        errno = ENOTCONN;
        return -1;
    }
    if (role == ROLE_LISTENING) {
        /* Linux: whoever waits in accept gets EINVAL, and so does who comes later; the sending side of a listener is nothing. */
        return how == SHUT_WR ? 0 : next()->shutdown(fd, SHUT_RDWR);
    }
    if (how != SHUT_WR) {
        /* The daemon is told first: on its end this would look like a close. */
        struct chitcp_request request;
        struct chitcp_response response;
        begin_request(&request, CHITCP_OP_SHUTDOWN);
        request.argument[0] = how;
        if (ask(&request, &identity, -1, -1, &response, NULL) < 0) return -1;
    }
    return next()->shutdown(fd, how);
}
