/* An excluded destination: the chisocket's number becomes a socket of the kernel. Whoever has put the number into an
 * epoll set before keeps watching the chisocket; there is no way to see that from here. */
#define _GNU_SOURCE
#include "preload.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

/* Sets what the program has set on the chisocket. */
static int replay_options(int kernel, int fd, const struct identity *identity)
{
    struct chitcp_request request;
    struct chitcp_response response;
    begin_request(&request, CHITCP_OP_OPTIONS);
    if (ask(&request, identity, -1, -1, &response, NULL) < 0) return -1;
    size_t end = response.data_length < CHITCP_DATA_MAX ? response.data_length : CHITCP_DATA_MAX, at = 0;
    struct chitcp_option option;
    while (at + sizeof option <= end) {
        memcpy(&option, response.data + at, sizeof option);
        at += sizeof option;
        if (option.length > end - at) break;
        /* One that this kernel does not know was of no use to the program either. */
        next()->setsockopt(kernel, option.level, option.name, response.data + at, option.length);
        at += option.length;
    }
    static const int times[] = { SO_RCVTIMEO, SO_SNDTIMEO };
    for (size_t i = 0; i < 2; i++) {
        struct timeval limit;
        socklen_t length = sizeof limit;
        if (next()->getsockopt(fd, SOL_SOCKET, times[i], &limit, &length) == 0)
            next()->setsockopt(kernel, SOL_SOCKET, times[i], &limit, length);
    }
    int least;
    socklen_t length = sizeof least;
    if (next()->getsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &least, &length) == 0)
        next()->setsockopt(kernel, SOL_SOCKET, SO_RCVLOWAT, &least, length);
    return 0;
}

static int prepare(int kernel, int fd, const struct identity *identity, const struct chitcp_address *local)
{
    if (replay_options(kernel, fd, identity) < 0) return -1;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(kernel, F_SETFL, flags) < 0) return -1;
    if (local->family == 0) return 0;
    struct sockaddr_storage address;
    socklen_t length = address_as_sockaddr(local, &address);
    return next()->bind(kernel, (struct sockaddr *) &address, length);
}

int become_kernel_socket(int fd, const struct identity *identity)
{
    struct chitcp_request request;
    struct chitcp_response response;
    begin_request(&request, CHITCP_OP_NAMES);
    if (ask(&request, identity, -1, -1, &response, NULL) < 0) return -1;
    if (response.remote.family != 0 || response.argument[0] != CHITCP_STATE_CLOSED) {
        errno = EISCONN;
        return -1;
    }
    int kernel = next()->socket(response.argument[2], SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    if (kernel < 0) return -1;
    int close_on_exec = fcntl(fd, F_GETFD) & FD_CLOEXEC ? O_CLOEXEC : 0;
    int result = prepare(kernel, fd, identity, &response.local) < 0 ? -1 : dup3(kernel, fd, close_on_exec);
    int error = errno;
    close(kernel);
    errno = error;
    return result < 0 ? -1 : 0;
}
