/* getsockopt and setsockopt: the daemon's options, and the few that the kernel answers for the descriptor. */
#define _GNU_SOURCE
#include "preload.h"
#include <errno.h>
#include <string.h>

int is_descriptor_option(int level, int name)
{
    /* The numbers of both layouts of struct timeval. */
    return level == SOL_SOCKET
           && (name == SO_RCVTIMEO || name == SO_SNDTIMEO || name == 66 || name == 67 || name == SO_RCVLOWAT
               || name == SO_PEEK_OFF || name == SO_OOBINLINE);
}

CHITCP_EXPORT int getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
    struct identity identity;
    if (is_descriptor_option(level, name) || !identify(fd, &identity))
        return next()->getsockopt(fd, level, name, value, length);
    if (value == NULL || length == NULL) {
        errno = EFAULT;
        return -1;
    }
    struct chitcp_request request;
    struct chitcp_response response;
    begin_request(&request, CHITCP_OP_GET_OPTION);
    request.argument[0] = level;
    request.argument[1] = name;
    int result = ask(&request, &identity, -1, -1, &response, NULL);
    if (level == SOL_SOCKET && name == SO_ERROR) {
        /* Asked for, it is gone: also the one the kernel keeps for the descriptor. */
        int error = 0;
        socklen_t size = sizeof error;
        int before = errno;
        next()->getsockopt(fd, level, name, &error, &size);
        errno = before;
        if (result < 0) {
            /* The daemon has forgotten the socket, or is gone. */
            memset(&response, 0, sizeof response);
            memcpy(response.data, &error, sizeof error);
            response.data_length = sizeof error;
            result = 0;
        }
    }
    if (result < 0) return -1;
    socklen_t count = response.data_length < *length ? response.data_length : *length;
    if (count > CHITCP_DATA_MAX) count = CHITCP_DATA_MAX;
    memcpy(value, response.data, count);
    *length = count;
    return 0;
}

CHITCP_EXPORT int setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    struct identity identity;
    if (is_descriptor_option(level, name) || !identify(fd, &identity))
        return next()->setsockopt(fd, level, name, value, length);
    if (value == NULL && length > 0) {
        errno = EFAULT;
        return -1;
    }
    if (length > CHITCP_DATA_MAX) {
        errno = EINVAL;
        return -1;
    }
    struct chitcp_request request;
    struct chitcp_response response;
    begin_request(&request, CHITCP_OP_SET_OPTION);
    request.argument[0] = level;
    request.argument[1] = name;
    request.data_length = length;
    if (length > 0) memcpy(request.data, value, length);
    if (ask(&request, &identity, -1, -1, &response, NULL) < 0) return -1;
    /* A small send buffer is to be felt by the writer, whose bytes wait in the descriptor first. */
    int room = response.argument[0];
    if (room > 0) next()->setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    return 0;
}
