/* A TCP segment in memory, lists of them, and the header of a frame between daemons. Fields of headers are in network
 * order; the SEG_ macros give them in host order. */
#ifndef CHITCP_PACKET_H
#define CHITCP_PACKET_H

#include <endian.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ntohs(3) and its companions. */
uint16_t chitcp_ntohs(uint16_t netshort);
uint16_t chitcp_htons(uint16_t hostshort);
uint32_t chitcp_ntohl(uint32_t netlong);
uint32_t chitcp_htonl(uint32_t hostlong);

typedef uint32_t tcp_seq;

/* The TCP header without options (RFC 9293 3.1). <netinet/tcp.h> names its own header struct tcphdr too; where that was
 * included before, ours has only its typedef's name. */
#ifdef _NETINET_TCP_H
typedef struct chitcp_tcphdr
#else
typedef struct tcphdr
#endif
{
    uint16_t source;
    uint16_t dest;
    tcp_seq  seq;
    tcp_seq  ack_seq;
#if __BYTE_ORDER == __LITTLE_ENDIAN
    uint16_t res1:4, doff:4, fin:1, syn:1, rst:1, psh:1, ack:1, urg:1, ece:1, cwr:1;
#else
    uint16_t doff:4, res1:4, cwr:1, ece:1, urg:1, ack:1, psh:1, rst:1, syn:1, fin:1;
#endif
    uint16_t win;
    uint16_t sum;
    uint16_t urp;
} tcphdr_t;

#define TCP_HEADER_NOOPTIONS_SIZE (sizeof(tcphdr_t))

/* A segment: header, options and payload, `length` bytes at `raw`. */
typedef struct tcp_packet {
    uint8_t *raw;
    size_t length;
} tcp_packet_t;

/* The parts of the segment at `p`, a tcp_packet_t *, which has to be as long as its header says. */
#define TCP_PACKET_HEADER(p) ((tcphdr_t *) (p)->raw)
#define TCP_PAYLOAD_START(p) ((p)->raw + TCP_PACKET_HEADER(p)->doff * sizeof(uint32_t))
#define TCP_PAYLOAD_LEN(p)   ((p)->length - TCP_PACKET_HEADER(p)->doff * sizeof(uint32_t))

/* RFC 9293 3.3.1, current segment variables. */
#define SEG_SEQ(p) (chitcp_ntohl(TCP_PACKET_HEADER(p)->seq))
#define SEG_ACK(p) (chitcp_ntohl(TCP_PACKET_HEADER(p)->ack_seq))
#define SEG_LEN(p) (TCP_PACKET_HEADER(p)->syn + TCP_PACKET_HEADER(p)->fin + TCP_PAYLOAD_LEN(p))
#define SEG_WND(p) (chitcp_ntohs(TCP_PACKET_HEADER(p)->win))
#define SEG_UP(p)  (chitcp_ntohs(TCP_PACKET_HEADER(p)->urp))

/* Makes a segment with a zeroed header of 20 bytes (doff is 5) and a copy of `payload` (NULL if `payload_len` is 0).
 * Returns its length in bytes, CHITCP_EINVAL or CHITCP_ENOMEM. _create is the same function by its older name. */
int chitcp_tcp_packet_init(tcp_packet_t *packet, const uint8_t *payload, uint16_t payload_len);
int chitcp_tcp_packet_create(tcp_packet_t *packet, const uint8_t *payload, uint16_t payload_len);

/* Frees what `packet` holds, not the struct, and empties it. */
void chitcp_tcp_packet_free(tcp_packet_t *packet);

/* A list of segments: NULL if empty, else its first node. The last node's `next` is NULL, the first node's `prev` is the
 * last node (as in utlist's doubly linked lists). */
typedef struct tcp_packet_list {
    tcp_packet_t *packet;
    struct tcp_packet_list *prev;
    struct tcp_packet_list *next;
} tcp_packet_list_t;

/* Put a segment before or behind the others; the list keeps the pointer. CHITCP_OK, CHITCP_EINVAL or CHITCP_ENOMEM. */
int chitcp_packet_list_prepend(tcp_packet_list_t **list, tcp_packet_t *packet);
int chitcp_packet_list_append(tcp_packet_list_t **list, tcp_packet_t *packet);
/* Removes the first node, if there is one; its segment is the caller's from here on. CHITCP_OK or CHITCP_EINVAL. */
int chitcp_packet_list_pop_head(tcp_packet_list_t **list);
/* Frees the nodes and their segments (made by malloc(3)); the list is empty then. CHITCP_OK or CHITCP_EINVAL. */
int chitcp_packet_list_destroy(tcp_packet_list_t **list);
/* How many segments there are. */
int chitcp_packet_list_size(tcp_packet_list_t *list);

/* The header of a frame between daemons, before each payload. */
typedef struct chitcphdr {
    uint16_t payload_len;
    uint8_t proto;
    uint8_t flags;
    uint32_t reserved1;
    uint32_t reserved2;
    uint32_t reserved3;
} chitcphdr_t;

/* chitcphdr_t.proto */
typedef enum {
    CHITCP_PROTO_TCP = 1,
    CHITCP_PROTO_RAW = 2
} chitcp_proto_t;

#ifdef __cplusplus
}
#endif
#endif
