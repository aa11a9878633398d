/* Which chisocket a descriptor is: its UNIX socket's abstract name says so, in any process that holds it. */
#define _GNU_SOURCE
#include "preload.h"
#include <errno.h>
#include <string.h>
#include <sys/un.h>

/* Reads a lower-case hexadecimal number of 1 to 16 digits; returns what follows it, or NULL. */
static const char *number(const char *text, const char *end, uint64_t *value)
{
    const char *start = text;
    *value = 0;
    for (; text < end && text - start < 17; text++) {
        if (*text >= '0' && *text <= '9') *value = *value << 4 | (uint64_t) (*text - '0');
        else if (*text >= 'a' && *text <= 'f') *value = *value << 4 | (uint64_t) (*text - 'a' + 10);
        else break;
    }
    return text == start || text - start > 16 ? NULL : text;
}

int identify(int fd, struct identity *identity)
{
    static const char prefix[] = "\0" CHITCP_NAME_PREFIX;
    const size_t prefix_length = sizeof prefix - 1;
    struct sockaddr_un name;
    socklen_t length = sizeof name;
    int before = errno;
    if (next()->getsockname(fd, (struct sockaddr *) &name, &length) < 0) {
        errno = before;
        return 0;
    }
    if (length > sizeof name) length = sizeof name;
    if (name.sun_family != AF_UNIX || length <= offsetof(struct sockaddr_un, sun_path) + prefix_length) return 0;
    const char *text = name.sun_path, *end = (const char *) &name + length;
    if (memcmp(text, prefix, prefix_length) != 0) return 0;
    text = number(text + prefix_length, end, &identity->daemon);
    if (text == NULL || text == end || *text != '/') return 0;
    text = number(text + 1, end, &identity->socket);
    return text == end;
}
