/* chitcp/packet.h: segments in memory and lists of them. */
#include "chitcp/packet.h"
#include "chitcp/types.h"

#include <string.h>

_Static_assert(sizeof(tcphdr_t) == 20, "RFC 9293 3.1");
_Static_assert(sizeof(chitcphdr_t) == 16, "the header of a frame");

uint16_t chitcp_ntohs(uint16_t netshort) { return ntohs(netshort); }
uint16_t chitcp_htons(uint16_t hostshort) { return htons(hostshort); }
uint32_t chitcp_ntohl(uint32_t netlong) { return ntohl(netlong); }
uint32_t chitcp_htonl(uint32_t hostlong) { return htonl(hostlong); }

int chitcp_tcp_packet_init(tcp_packet_t *packet, const uint8_t *payload, uint16_t payload_len)
{
    if (packet == NULL || (payload == NULL && payload_len > 0)) return CHITCP_EINVAL;
    packet->length = TCP_HEADER_NOOPTIONS_SIZE + payload_len;
    packet->raw = calloc(1, packet->length);
    if (packet->raw == NULL) {
        packet->length = 0;
        return CHITCP_ENOMEM;
    }
    TCP_PACKET_HEADER(packet)->doff = TCP_HEADER_NOOPTIONS_SIZE / sizeof(uint32_t);
    if (payload_len > 0) memcpy(TCP_PAYLOAD_START(packet), payload, payload_len);
    return (int) packet->length;
}

int chitcp_tcp_packet_create(tcp_packet_t *packet, const uint8_t *payload, uint16_t payload_len)
{
    return chitcp_tcp_packet_init(packet, payload, payload_len);
}

void chitcp_tcp_packet_free(tcp_packet_t *packet)
{
    if (packet == NULL) return;
    free(packet->raw);
    packet->raw = NULL;
    packet->length = 0;
}

/* Appends a node; the list's first node stays unless it was empty. Returns the node, NULL without memory. */
static tcp_packet_list_t *append(tcp_packet_list_t **list, tcp_packet_t *packet)
{
    tcp_packet_list_t *node = calloc(1, sizeof *node);
    if (node == NULL) return NULL;
    node->packet = packet;
    if (*list == NULL) {
        node->prev = node;
        *list = node;
    } else {
        node->prev = (*list)->prev;
        node->prev->next = node;
        (*list)->prev = node;
    }
    return node;
}

int chitcp_packet_list_append(tcp_packet_list_t **list, tcp_packet_t *packet)
{
    if (list == NULL) return CHITCP_EINVAL;
    return append(list, packet) == NULL ? CHITCP_ENOMEM : CHITCP_OK;
}

int chitcp_packet_list_prepend(tcp_packet_list_t **list, tcp_packet_t *packet)
{
    if (list == NULL) return CHITCP_EINVAL;
    tcp_packet_list_t *first = *list, *node = append(list, packet);
    if (node == NULL) return CHITCP_ENOMEM;
    if (first != NULL) {
        /* The ring of `prev` is right for a first node as it is for a last one; only `next` has to move. */
        node->prev->next = NULL;
        node->next = first;
        *list = node;
    }
    return CHITCP_OK;
}

int chitcp_packet_list_pop_head(tcp_packet_list_t **list)
{
    if (list == NULL) return CHITCP_EINVAL;
    tcp_packet_list_t *first = *list;
    if (first == NULL) return CHITCP_OK;
    *list = first->next;
    if (first->next != NULL) first->next->prev = first->prev;
    free(first);
    return CHITCP_OK;
}

int chitcp_packet_list_destroy(tcp_packet_list_t **list)
{
    if (list == NULL) return CHITCP_EINVAL;
    while (*list != NULL) {
        tcp_packet_t *packet = (*list)->packet;
        chitcp_packet_list_pop_head(list);
        chitcp_tcp_packet_free(packet);
        free(packet);
    }
    return CHITCP_OK;
}

int chitcp_packet_list_size(tcp_packet_list_t *list)
{
    int count = 0;
    for (; list != NULL; list = list->next) count++;
    return count;
}
