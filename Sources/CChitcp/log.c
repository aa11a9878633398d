/* chitcp/log.h: log lines on standard output. */
#include "chitcp/log.h"
#include "chitcp/addr.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static atomic_int level_printed = ERROR;

void chitcp_setloglevel(loglevel_t level) { atomic_store(&level_printed, (int) level); }

static int is_printed(loglevel_t level) { return (int) level <= atomic_load(&level_printed); }

static const char *level_name(loglevel_t level)
{
    switch (level) {
    case CRITICAL: return "CRITICAL";
    case ERROR: return "ERROR";
    case WARNING: return "WARNING";
    case MINIMAL: return "MINIMAL";
    case INFO: return "INFO";
    case DEBUG: return "DEBUG";
    case TRACE: return "TRACE";
    }
    return "?";
}

void chilog(loglevel_t level, const char *fmt, ...)
{
    if (fmt == NULL || !is_printed(level)) return;
    struct timespec now;
    struct tm local;
    char stamp[32] = "";
    clock_gettime(CLOCK_REALTIME, &now);
    if (localtime_r(&now.tv_sec, &local) != NULL) strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", &local);
    va_list arguments;
    va_start(arguments, fmt);
    flockfile(stdout);
    printf("[%s.%06ld] %8s ", stamp, now.tv_nsec / 1000, level_name(level));
    vprintf(fmt, arguments);
    putchar('\n');
    fflush(stdout);
    funlockfile(stdout);
    va_end(arguments);
}

/* The lines of chilog_hex, each with `prefix` before it. */
static void log_bytes(loglevel_t level, const char *prefix, const uint8_t *bytes, size_t count)
{
    for (size_t at = 0; at < count; at += 16) {
        char hex[16 * 3 + 1] = "", text[17] = "";
        size_t in_line = count - at < 16 ? count - at : 16;
        for (size_t i = 0; i < in_line; i++) {
            uint8_t byte = bytes[at + i];
            snprintf(hex + 3 * i, sizeof hex - 3 * i, "%02x ", byte);
            text[i] = byte >= 0x20 && byte < 0x7f ? (char) byte : '.';
        }
        chilog(level, "%s%04zx  %-48s %s", prefix, at, hex, text);
    }
}

void chilog_hex(loglevel_t level, const void *data, int len)
{
    if (data == NULL || len <= 0 || !is_printed(level)) return;
    flockfile(stdout);
    log_bytes(level, "", data, (size_t) len);
    funlockfile(stdout);
}

/* 1 if the segment is as long as its header says. */
static int is_whole(const tcp_packet_t *packet)
{
    if (packet == NULL || packet->raw == NULL || packet->length < TCP_HEADER_NOOPTIONS_SIZE) return 0;
    size_t header = TCP_PACKET_HEADER(packet)->doff * sizeof(uint32_t);
    return header >= TCP_HEADER_NOOPTIONS_SIZE && header <= packet->length;
}

/* The control bits as tcpdump writes them, "." for ACK; "none" if there are none. */
static void write_flags(const tcphdr_t *header, char text[9])
{
    char *end = text;
    if (header->fin) *end++ = 'F';
    if (header->syn) *end++ = 'S';
    if (header->rst) *end++ = 'R';
    if (header->psh) *end++ = 'P';
    if (header->ack) *end++ = '.';
    if (header->urg) *end++ = 'U';
    if (header->ece) *end++ = 'E';
    if (header->cwr) *end++ = 'W';
    *end = '\0';
    if (end == text) strcpy(text, "none");
}

void chilog_tcp(loglevel_t level, const tcp_packet_t *packet, char prefix)
{
    if (!is_printed(level)) return;
    if (!is_whole(packet)) {
        chilog(level, "%c not a whole TCP segment", prefix);
        return;
    }
    const tcphdr_t *header = TCP_PACKET_HEADER(packet);
    char flags[9], start[] = { prefix, ' ', '\0' };
    write_flags(header, flags);
    flockfile(stdout);
    chilog(level, "%c TCP port %u to %u", prefix, ntohs(header->source), ntohs(header->dest));
    chilog(level, "%c seq %u  ack %u  win %u  flags %s", prefix, ntohl(header->seq), ntohl(header->ack_seq),
        ntohs(header->win), flags);
    chilog(level, "%c header %u bytes  checksum 0x%04x  urgent pointer %u", prefix,
        (unsigned) (header->doff * sizeof(uint32_t)), ntohs(header->sum), ntohs(header->urp));
    chilog(level, "%c payload %zu bytes", prefix, TCP_PAYLOAD_LEN(packet));
    log_bytes(level, start, TCP_PAYLOAD_START(packet), TCP_PAYLOAD_LEN(packet));
    funlockfile(stdout);
}

/* "address.port", as tcpdump writes it; "?" for another family. */
static void write_endpoint(const struct sockaddr *addr, char *text, size_t size)
{
    char address[INET6_ADDRSTRLEN];
    const void *bytes = addr == NULL ? NULL : chitcp_get_addr(addr);
    if (bytes == NULL || inet_ntop(addr->sa_family, bytes, address, sizeof address) == NULL)
        snprintf(text, size, "?");
    else
        snprintf(text, size, "%s.%u", address, (unsigned) ntohs(chitcp_get_addr_port(addr)));
}

void chilog_tcp_minimal(const struct sockaddr *src, const struct sockaddr *dst, int sockfd, const tcp_packet_t *packet,
    const char *prefix)
{
    if (!is_printed(MINIMAL) || !is_whole(packet) || prefix == NULL) return;
    const tcphdr_t *header = TCP_PACKET_HEADER(packet);
    char from[INET6_ADDRSTRLEN + 6], to[INET6_ADDRSTRLEN + 6], flags[9], number[12] = "-";
    struct timespec now;
    write_endpoint(src, from, sizeof from);
    write_endpoint(dst, to, sizeof to);
    write_flags(header, flags);
    if (sockfd >= 0) snprintf(number, sizeof number, "%d", sockfd);
    clock_gettime(CLOCK_REALTIME, &now);
    flockfile(stdout);
    printf("%lld.%09ld [S%s] %s %s > %s [%s] seq=%u ack=%u win=%u len=%zu\n", (long long) now.tv_sec, now.tv_nsec, number,
        prefix, from, to, flags, ntohl(header->seq), header->ack ? ntohl(header->ack_seq) : 0, ntohs(header->win),
        TCP_PAYLOAD_LEN(packet));
    fflush(stdout);
    funlockfile(stdout);
}

void chilog_chitcp(loglevel_t level, const uint8_t *packet, char prefix)
{
    if (packet == NULL || !is_printed(level)) return;
    chitcphdr_t header;
    memcpy(&header, packet, sizeof header);
    const char *protocol = header.proto == CHITCP_PROTO_TCP ? "TCP" : header.proto == CHITCP_PROTO_RAW ? "raw" : "unknown";
    chilog(level, "%c chiTCP payload %u bytes  protocol %u (%s)  flags %u", prefix, ntohs(header.payload_len),
        header.proto, protocol, header.flags);
}
