/* Sockets by the daemon's numbers, which stay valid after a descriptor was closed. Not installed: for the C parts of this
 * library that stand on the Swift ones. */
#ifndef CHITCP_INTERNAL_NUMBERS_H
#define CHITCP_INTERNAL_NUMBERS_H

#include "chitcp/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The daemon's number of a chisocket; -1 with errno if there is none. */
int chitcp_socket_number(int sockfd);

/* chitcpd_wait_for_state for the socket with that number. */
int chitcp_wait_for_state_of_number(int number, tcp_state_t tcp_state);

#ifdef __cplusplus
}
#endif
#endif
