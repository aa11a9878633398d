/* getsockname and getpeername: the descriptor would answer with names of UNIX sockets. */
#define _GNU_SOURCE
#include "preload.h"
#include <errno.h>
#include <netinet/in.h>

CHITCP_EXPORT int getsockname(int fd, struct sockaddr *address, socklen_t *length)
{
    struct identity identity;
    if (!identify(fd, &identity)) return next()->getsockname(fd, address, length);
    if (address == NULL || length == NULL) {
        errno = EFAULT;
        return -1;
    }
    struct chitcp_request request;
    struct chitcp_response response;
    begin_request(&request, CHITCP_OP_NAMES);
    if (ask(&request, &identity, -1, -1, &response, NULL) < 0) return -1;
    if (response.local.family == 0) response.local.family = (uint16_t) response.argument[2];
    address_to_program(&response.local, address, length);
    return 0;
}

CHITCP_EXPORT int getpeername(int fd, struct sockaddr *address, socklen_t *length)
{
    struct identity identity;
    if (!identify(fd, &identity)) return next()->getpeername(fd, address, length);
    if (address == NULL || length == NULL) {
        errno = EFAULT;
        return -1;
    }
    struct chitcp_request request;
    struct chitcp_response response;
    begin_request(&request, CHITCP_OP_NAMES);
    if (ask(&request, &identity, -1, -1, &response, NULL) < 0) return -1;
    if (response.remote.family == 0) {
        errno = ENOTCONN;
        return -1;
    }
    address_to_program(&response.remote, address, length);
    return 0;
}
