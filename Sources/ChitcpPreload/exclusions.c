/* Which destinations are the kernel's: `chitcp run --only` and `--except`, handed over in the environment. */
#define _GNU_SOURCE
#include "preload.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RANGES 64

/* A range of addresses, IPv4 as mapped ones. */
struct range {
    uint8_t bytes[16];
    unsigned bits;
};

static struct range ranges[RANGES];
static size_t range_count;
/* The ranges are those that are the daemon's (only), or those that are not (except). */
static int ranges_are_ours;

/* Reads "ADDRESS/BITS" or "ADDRESS"; 1 if it is one. `chitcp run` has checked them and says what is wrong. */
static int parse(const char *text, size_t length, struct range *out)
{
    char copy[INET6_ADDRSTRLEN + 4];
    if (length == 0 || length >= sizeof copy) return 0;
    memcpy(copy, text, length);
    copy[length] = '\0';
    char *slash = strchr(copy, '/');
    if (slash != NULL) *slash++ = '\0';
    memset(out, 0, sizeof *out);
    unsigned most = 128;
    if (inet_pton(AF_INET, copy, out->bytes + 12) == 1) {
        out->bytes[10] = out->bytes[11] = 0xff;
        most = 32;
    } else if (inet_pton(AF_INET6, copy, out->bytes) != 1) {
        return 0;
    }
    unsigned bits = most;
    if (slash != NULL) {
        bits = 0;
        for (; *slash >= '0' && *slash <= '9' && bits <= most; slash++) bits = bits * 10 + (unsigned) (*slash - '0');
    }
    if (bits > most || (slash != NULL && *slash != '\0')) return 0;
    out->bits = 128 - most + bits;
    return 1;
}

static void read_list(const char *list)
{
    while (list != NULL && *list != '\0' && range_count < RANGES) {
        size_t length = strcspn(list, ",");
        if (parse(list, length, &ranges[range_count])) range_count++;
        list += length;
        if (*list == ',') list++;
    }
}

__attribute__((constructor)) static void read_environment(void)
{
    int before = errno;
    const char *only = getenv(CHITCP_ENVIRONMENT_ONLY);
    ranges_are_ours = only != NULL && *only != '\0';
    read_list(ranges_are_ours ? only : getenv(CHITCP_ENVIRONMENT_EXCEPT));
    errno = before;
}

static int contains(const struct range *range, const uint8_t bytes[16])
{
    unsigned whole = range->bits / 8, rest = range->bits % 8;
    if (memcmp(range->bytes, bytes, whole) != 0) return 0;
    return rest == 0 || ((range->bytes[whole] ^ bytes[whole]) >> (8 - rest)) == 0;
}

int is_excluded(const struct chitcp_address *address)
{
    static const uint8_t any_v6[16], any_v4[16] = { [10] = 0xff, [11] = 0xff };
    if (range_count == 0 || memcmp(address->bytes, any_v6, 16) == 0 || memcmp(address->bytes, any_v4, 16) == 0) return 0;
    int is_listed = 0;
    for (size_t i = 0; i < range_count && !is_listed; i++) is_listed = contains(&ranges[i], address->bytes);
    return ranges_are_ours ? !is_listed : is_listed;
}
