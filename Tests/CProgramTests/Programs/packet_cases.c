/* Segments in memory, lists of them, the frame header, and the small helpers. */
#include "acceptance.h"

#include <chitcp/packet.h>
#include <chitcp/types.h>
#include <chitcp/utils.h>
#include <stdlib.h>
#include <string.h>

static void init(void)
{
    tcp_packet_t packet;
    CHECK(chitcp_tcp_packet_init(&packet, (const uint8_t *) "hello", 5) == 25, "the length");
    CHECK(packet.length == 25 && TCP_PACKET_HEADER(&packet)->doff == 5, "a header of 20 bytes");
    CHECK(TCP_PAYLOAD_LEN(&packet) == 5 && memcmp(TCP_PAYLOAD_START(&packet), "hello", 5) == 0, "the payload");
    for (size_t i = 0; i < 20; i++) CHECK(i == 12 || packet.raw[i] == 0, "header byte %zu", i);
    chitcp_tcp_packet_free(&packet);
    CHECK(packet.raw == NULL && packet.length == 0, "freed");
    CHECK(chitcp_tcp_packet_create(&packet, NULL, 0) == 20, "without payload");
    chitcp_tcp_packet_free(&packet);
    CHECK(chitcp_tcp_packet_init(&packet, NULL, 1) == CHITCP_EINVAL, "a payload of nothing");
}

/* The bytes of a header as they are on the wire. */
static void fields(void)
{
    tcp_packet_t packet;
    chitcp_tcp_packet_init(&packet, (const uint8_t *) "abc", 3);
    tcphdr_t *header = TCP_PACKET_HEADER(&packet);
    header->source = chitcp_htons(0x1234);
    header->dest = chitcp_htons(7);
    header->seq = chitcp_htonl(0x01020304);
    header->ack_seq = chitcp_htonl(0xfffefdfc);
    header->syn = header->ack = header->urg = 1;
    header->win = chitcp_htons(4096);
    header->urp = chitcp_htons(2);
    static const uint8_t wire[] = { 0x12, 0x34, 0, 7, 1, 2, 3, 4, 0xff, 0xfe, 0xfd, 0xfc, 0x50, 0x32, 0x10, 0, 0, 0, 0, 2 };
    CHECK(memcmp(packet.raw, wire, sizeof wire) == 0, "the bytes on the wire");
    CHECK(SEG_SEQ(&packet) == 0x01020304 && SEG_ACK(&packet) == 0xfffefdfc, "SEG.SEQ and SEG.ACK");
    CHECK(SEG_LEN(&packet) == 4, "SEG.LEN counts the SYN, not %zu", (size_t) SEG_LEN(&packet));
    CHECK(SEG_WND(&packet) == 4096 && SEG_UP(&packet) == 2, "SEG.WND and SEG.UP");
    header->fin = 1;
    CHECK(SEG_LEN(&packet) == 5, "SEG.LEN counts the FIN");
    chitcp_tcp_packet_free(&packet);
}

static void sizes(void)
{
    CHECK(TCP_HEADER_NOOPTIONS_SIZE == 20, "a TCP header");
    CHECK(sizeof(chitcphdr_t) == 16 && offsetof(chitcphdr_t, proto) == 2, "a frame's header");
    CHECK(CHITCP_PROTO_TCP == 1 && CHITCP_PROTO_RAW == 2, "protocols");
    CHECK(chitcp_ntohs(chitcp_htons(0xabcd)) == 0xabcd && chitcp_ntohl(chitcp_htonl(0xabcdef01)) == 0xabcdef01, "order");
}

static tcp_packet_t *new_packet(uint8_t mark)
{
    tcp_packet_t *packet = malloc(sizeof *packet);
    chitcp_tcp_packet_init(packet, &mark, 1);
    return packet;
}

static void lists(void)
{
    tcp_packet_list_t *list = NULL;
    CHECK(chitcp_packet_list_size(list) == 0, "empty");
    CHECK(chitcp_packet_list_pop_head(&list) == CHITCP_OK && list == NULL, "nothing to pop");
    for (uint8_t mark = 3; mark < 6; mark++) CHECK(chitcp_packet_list_append(&list, new_packet(mark)) == CHITCP_OK, "%d", mark);
    for (uint8_t mark = 2; mark > 0; mark--) CHECK(chitcp_packet_list_prepend(&list, new_packet(mark)) == CHITCP_OK, "%d", mark);
    CHECK(chitcp_packet_list_size(list) == 5, "%d segments", chitcp_packet_list_size(list));
    uint8_t mark = 1;
    tcp_packet_list_t *last = NULL;
    for (tcp_packet_list_t *node = list; node != NULL; last = node, node = node->next, mark++) {
        CHECK(*TCP_PAYLOAD_START(node->packet) == mark, "segment %d", mark);
        CHECK(last == NULL || node->prev == last, "the way back");
    }
    CHECK(list->prev == last, "the first node leads to the last");
    tcp_packet_t *first = list->packet;
    CHECK(chitcp_packet_list_pop_head(&list) == CHITCP_OK, "pop");
    CHECK(*TCP_PAYLOAD_START(list->packet) == 2 && list->prev == last, "after the first");
    chitcp_tcp_packet_free(first);
    free(first);
    CHECK(chitcp_packet_list_destroy(&list) == CHITCP_OK && list == NULL, "destroyed");
    CHECK(chitcp_packet_list_append(NULL, NULL) == CHITCP_EINVAL, "no list");
}

/* The checksum of a segment that has its checksum in it is 0 before it is turned into 0xffff. */
static void checksum(void)
{
    tcp_packet_t packet;
    chitcp_tcp_packet_init(&packet, (const uint8_t *) "odd", 3);
    TCP_PACKET_HEADER(&packet)->sum = cksum(packet.raw, (int) packet.length);
    CHECK(cksum(packet.raw, (int) packet.length) == 0xffff, "the checksum of a checked segment");
    chitcp_tcp_packet_free(&packet);
}

static int propagates(int code)
{
    PROPAGATE_ON_ERROR(code)
    RET_ON_ERROR(code - 0, 99);
    return 1;
}

static void codes(void)
{
    CHECK(propagates(0) == 1 && propagates(CHITCP_ENOENT) == -8, "the macros for errors");
    CHECK(CHITCP_OK == 0 && CHITCP_ENOMEM == -1 && CHITCP_ESOCKET == -2 && CHITCP_ETHREAD == -3, "codes");
    CHECK(CHITCP_ESYNC == -4 && CHITCP_EINIT == -5 && CHITCP_EWOULDBLOCK == -6 && CHITCP_EINVAL == -7, "codes");
    CHECK(MIN(3, 4) == 3 && MAX(3, 4) == 4 && TRUE && !FALSE, "small things");
    CHECK(IS_VALID_TCP_STATE(LAST_ACK) && !IS_VALID_TCP_STATE(11), "states");
}

const struct acceptance_case packet_cases[] = {
    { "packet: a new segment", NULL, init },
    { "packet: fields on the wire", NULL, fields },
    { "packet: sizes and orders", NULL, sizes },
    { "packet: lists", NULL, lists },
    { "packet: checksum", NULL, checksum },
    { "types: codes and macros", NULL, codes },
    { NULL, NULL, NULL },
};
