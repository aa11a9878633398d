/* chitcp/addr.h: socket addresses of both families. */
#include "chitcp/addr.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

static size_t address_length(const struct sockaddr *addr)
{
    switch (addr == NULL ? AF_UNSPEC : addr->sa_family) {
    case AF_INET: return sizeof(struct in_addr);
    case AF_INET6: return sizeof(struct in6_addr);
    default: return 0;
    }
}

void *chitcp_get_addr(const struct sockaddr *addr)
{
    switch (address_length(addr)) {
    case sizeof(struct in_addr): return &((struct sockaddr_in *) addr)->sin_addr;
    case sizeof(struct in6_addr): return &((struct sockaddr_in6 *) addr)->sin6_addr;
    default: return NULL;
    }
}

/* sin_port and sin6_port lie at the same place, right behind the family. */
_Static_assert(offsetof(struct sockaddr_in, sin_port) == offsetof(struct sockaddr_in6, sin6_port), "layout");

in_port_t chitcp_get_addr_port(const struct sockaddr *addr)
{
    return address_length(addr) == 0 ? 0 : ((const struct sockaddr_in *) addr)->sin_port;
}

void chitcp_set_addr_port(struct sockaddr *addr, in_port_t port)
{
    if (address_length(addr) != 0) ((struct sockaddr_in *) addr)->sin_port = port;
}

int chitcp_addr_cmp(const struct sockaddr *a, const struct sockaddr *b)
{
    size_t length = address_length(a), other = address_length(b);
    if (length != other) return length < other ? -1 : 1;
    return length == 0 ? 0 : memcmp(chitcp_get_addr(a), chitcp_get_addr(b), length);
}

int chitcp_addr_port_cmp(const struct sockaddr *a, const struct sockaddr *b)
{
    int order = chitcp_addr_cmp(a, b);
    if (order != 0) return order;
    return (int) ntohs(chitcp_get_addr_port(a)) - (int) ntohs(chitcp_get_addr_port(b));
}

int chitcp_addr_is_loopback(const struct sockaddr *addr)
{
    switch (address_length(addr)) {
    case sizeof(struct in_addr): return *(const uint8_t *) chitcp_get_addr(addr) == 127;
    case sizeof(struct in6_addr): return IN6_IS_ADDR_LOOPBACK((const struct in6_addr *) chitcp_get_addr(addr)) ? 1 : 0;
    default: return 0;
    }
}

int chitcp_addr_is_any(const struct sockaddr *addr)
{
    static const struct in6_addr zero;
    size_t length = address_length(addr);
    return length != 0 && memcmp(chitcp_get_addr(addr), &zero, length) == 0;
}

int chitcp_addr_set_any(struct sockaddr *addr)
{
    size_t length = address_length(addr);
    if (length == 0) return -1;
    memset(chitcp_get_addr(addr), 0, length);
    return 0;
}

char *chitcp_addr_str(const struct sockaddr *addr, char *buf, size_t len)
{
    char text[INET6_ADDRSTRLEN];
    if (address_length(addr) == 0 || buf == NULL || len == 0) return NULL;
    if (inet_ntop(addr->sa_family, chitcp_get_addr(addr), text, sizeof text) == NULL) return NULL;
    snprintf(buf, len, "%s:%u", text, (unsigned) ntohs(chitcp_get_addr_port(addr)));
    return buf;
}

int chitcp_addr_construct(const char *host, const char *port, struct sockaddr_in *addr)
{
    struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *found = NULL;
    if (addr == NULL || getaddrinfo(host, port, &hints, &found) != 0) return -1;
    memcpy(addr, found->ai_addr, sizeof *addr);
    freeaddrinfo(found);
    return 0;
}
