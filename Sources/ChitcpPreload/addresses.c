/* Addresses as programs give and take them, and as records hold them. */
#define _GNU_SOURCE
#include "preload.h"
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

static const uint8_t mapped_prefix[12] = { [10] = 0xff, [11] = 0xff };

int address_from_program(const struct sockaddr *address, socklen_t length, struct chitcp_address *out)
{
    memset(out, 0, sizeof *out);
    if (address == NULL) {
        errno = EFAULT;
        return -1;
    }
    sa_family_t family = AF_UNSPEC;
    if (length >= sizeof family) memcpy(&family, address, sizeof family);
    if (family == AF_INET && length >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        memcpy(out->bytes, mapped_prefix, sizeof mapped_prefix);
        memcpy(out->bytes + 12, &v4.sin_addr, 4);
        out->port = v4.sin_port;
    } else if (family == AF_INET6 && length >= offsetof(struct sockaddr_in6, sin6_scope_id)) {
        struct sockaddr_in6 v6 = { .sin6_scope_id = 0 };
        memcpy(&v6, address, length < sizeof v6 ? length : sizeof v6);
        memcpy(out->bytes, &v6.sin6_addr, 16);
        out->port = v6.sin6_port;
        out->scope_id = v6.sin6_scope_id;
    } else {
        errno = family == AF_INET || family == AF_INET6 || length < sizeof family ? EINVAL : EAFNOSUPPORT;
        return -1;
    }
    out->family = family;
    return 0;
}

socklen_t address_as_sockaddr(const struct chitcp_address *address, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (address->family == AF_INET6) {
        struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = address->port,
                                   .sin6_scope_id = address->scope_id };
        memcpy(&v6.sin6_addr, address->bytes, 16);
        memcpy(out, &v6, sizeof v6);
        return sizeof v6;
    }
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = address->port };
    memcpy(&v4.sin_addr, address->bytes + 12, 4);
    memcpy(out, &v4, sizeof v4);
    return sizeof v4;
}

void address_to_program(const struct chitcp_address *address, struct sockaddr *room, socklen_t *length)
{
    if (room == NULL || length == NULL) return;
    struct sockaddr_storage whole;
    socklen_t full = address_as_sockaddr(address, &whole);
    memcpy(room, &whole, *length < full ? *length : full);
    *length = full;
}
