/* ioctl where a UNIX socket answers differently: unsent bytes, and inquiries about interfaces. */
#define _GNU_SOURCE
#include "preload.h"
#include <errno.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Linux's requests about interfaces, from SIOCGIFNAME to the wireless ones, which any IP socket answers. */
static int is_about_interfaces(unsigned long request) { return request >= 0x8910 && request <= 0x89ff; }

/* Bytes the peer has not acknowledged (SIOCOUTQ), or that were not sent yet (SIOCOUTQNSD). */
static int unsent_bytes(const struct identity *identity, unsigned long request, int *out)
{
    struct chitcp_request inquiry;
    struct chitcp_response response;
    begin_request(&inquiry, CHITCP_OP_QUEUES);
    if (ask(&inquiry, identity, -1, -1, &response, NULL) < 0) return -1;
    *out = request == SIOCOUTQ ? response.argument[0] : response.argument[1];
    return 0;
}

CHITCP_EXPORT int ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    int is_unsent = request == SIOCOUTQ || request == SIOCOUTQNSD;
    struct identity identity;
    if ((!is_unsent && !is_about_interfaces(request)) || !identify(fd, &identity))
        return next()->ioctl(fd, request, argument);
    if (is_unsent) return unsent_bytes(&identity, request, argument);
    int kernel = next()->socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (kernel < 0) return -1;
    int result = next()->ioctl(kernel, request, argument), error = errno;
    close(kernel);
    errno = error;
    return result;
}
