/* Log lines on standard output, each written whole, by level. */
#ifndef CHITCP_LOG_H
#define CHITCP_LOG_H

#include "chitcp/packet.h"

#include <stdint.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A level has this name, which -DDEBUG would make a number. */
#undef DEBUG

typedef enum {
    CRITICAL = 10, /* the program cannot go on */
    ERROR    = 20, /* something failed */
    WARNING  = 30,
    MINIMAL  = 40, /* one line per segment and change of state */
    INFO     = 50,
    DEBUG    = 60,
    TRACE    = 70  /* whole segments */
} loglevel_t;

/* `prefix` of chilog_tcp and chilog_chitcp: where the segment goes. */
#define LOG_INBOUND      ('<')
#define LOG_OUTBOUND     ('>')
#define LOG_NO_DIRECTION ('|')

/* `prefix` of chilog_tcp_minimal: what happened to the segment. */
#define MINLOG_SEND         ("SENT")
#define MINLOG_RCVD         ("RCVD")
#define MINLOG_SEND_DROP    ("DROP_SENT")
#define MINLOG_RCVD_DROP    ("DROP_RCVD")
#define MINLOG_RCVD_DUPLD   ("RCVD_DUPLICATE")
#define MINLOG_RCVD_DELAYED ("RCVD_DELAYED")

/* Prints lines of this level and of lower numbers from here on; ERROR at first. */
void chitcp_setloglevel(loglevel_t level);

/* A line with the time and the level; `fmt` and what follows as for printf(3). */
void chilog(loglevel_t level, const char *fmt, ...);

/* The fields of a segment's header, and its payload in hexadecimal. */
void chilog_tcp(loglevel_t level, const tcp_packet_t *packet, char prefix);

/* One line of level MINIMAL, as chitcpd -v writes it; `sockfd` below 0 is shown as [S-]. */
void chilog_tcp_minimal(const struct sockaddr *src, const struct sockaddr *dst, int sockfd, const tcp_packet_t *packet,
    const char *prefix);

/* The fields of a frame's header (16 bytes at `packet`, see chitcphdr_t). */
void chilog_chitcp(loglevel_t level, const uint8_t *packet, char prefix);

/* `len` bytes in hexadecimal and as characters, 16 a line. */
void chilog_hex(loglevel_t level, const void *data, int len);

#ifdef __cplusplus
}
#endif
#endif
