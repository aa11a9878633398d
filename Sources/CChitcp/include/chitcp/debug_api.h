/* Breakpoints in the daemon's TCP, and the state of its connections. Link with -lchitcp.
 *
 * At a breakpoint the daemon stops the one connection concerned, asks a handler in the program that set the breakpoint,
 * and goes on with it as the handler answers. The handler runs on a thread of its own. It may ask for the state of any
 * socket, but must not wait for the connection that stands at its breakpoint (a blocking chisocket call, or
 * chitcpd_wait_for_state on it), because that moves on only when the handler has returned. */
#ifndef CHITCP_DEBUG_API_H
#define CHITCP_DEBUG_API_H

#include "chitcp/types.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where breakpoints are. */
enum chitcpd_debug_event {
    DBG_EVT_TCP_STATE_CHANGE   = 1,     /* the state has just changed */
    DBG_EVT_INCOMING_PACKET    = 2,     /* a segment is about to reach the socket */
    DBG_EVT_OUTGOING_PACKET    = 4,     /* a segment is about to leave */
    DBG_EVT_PENDING_CONNECTION = 8,     /* a listening socket is about to have a new connection */
    DBG_EVT_KILL               = 16     /* of the library itself; not for use with chitcpd_debug */
};

/* What a handler wants. A response that does not fit its event counts as NONE. */
enum chitcpd_debug_response {
    DBG_RESP_NONE           = 0,        /* any event: go on */
    DBG_RESP_STOP           = 1,        /* any event: go on, without further breakpoints of this socket */
    DBG_RESP_ACCEPT_MONITOR = 2,        /* pending connection: the new socket gets the same breakpoints */
    DBG_RESP_DROP           = 3,        /* incoming, outgoing: drop the segment */
    DBG_RESP_DUPLICATE      = 4,        /* incoming: deliver it, and withhold a copy */
    DBG_RESP_WITHHOLD       = 5,        /* incoming: withhold it */
    DBG_RESP_DRAW_WITHHELD  = 6         /* incoming: deliver it, then the segment withheld longest */
};

/* A connection's variables (RFC 9293 3.3.1) and buffers at one moment. */
typedef struct debug_socket_state {
    tcp_state_t tcp_state;
    uint32_t ISS;
    uint32_t IRS;
    uint32_t SND_UNA;
    uint32_t RCV_NXT;
    uint32_t SND_NXT;
    uint32_t RCV_WND;
    uint32_t SND_WND;
    uint8_t *send;      /* bytes not yet acknowledged or not yet sent; NULL if buffers were not asked for */
    int send_len;
    uint8_t *recv;      /* bytes received and not yet read; NULL if buffers were not asked for */
    int recv_len;
} debug_socket_state_t;

/* A handler gets the socket and the event; the socket's state, and what chitcpd_debug_save_socket_state kept of this
 * socket, both NULL for a listening socket, the latter also if nothing was kept; and for a pending connection the number
 * that accept will return for it, else -1. The states are the library's and go when the handler returns. */
typedef enum chitcpd_debug_response (*debug_event_handler)(int sockfd, enum chitcpd_debug_event event_flag,
    debug_socket_state_t *socket_state, debug_socket_state_t *saved_socket_state, int new_sockfd);

/* Sets breakpoints for `event_flags`, events joined by |. 0, or -1 with errno: EBADF for no such chisocket, EAGAIN if it
 * is being debugged already, EINVAL without handler or events, ENOMEM; EPROTO for a daemon that speaks otherwise, the
 * errno of connect(2) if there is none. */
int chitcpd_debug(int sockfd, int event_flags, debug_event_handler handler);

/* Keeps a copy of `state` for the next calls of the running handler for this socket; NULL forgets it. 0, or an errno:
 * ENOMEM, or EINVAL outside a handler. */
int chitcpd_debug_save_socket_state(debug_socket_state_t *state);

/* The state of a socket, with its buffers if wanted. The caller frees it, and its `send` and `recv`. NULL with errno for
 * no such socket; it stays known after its descriptor was closed, until its connection has ended. */
debug_socket_state_t *chitcpd_get_socket_state(int sockfd, bool_t include_buffers);

/* Waits until the socket is in that state; CLOSED is reached, too, when the daemon does not know it any more. 0, or -1
 * with errno. */
int chitcpd_wait_for_state(int sockfd, tcp_state_t tcp_state);

/* Prints a state on standard output. */
void dump_socket_state(debug_socket_state_t *state, bool_t include_buffers);

/* The event's name, such as "DBG_EVT_TCP_STATE_CHANGE"; "UNKNOWN" for none. Not to be freed or changed. */
char *dbg_evt_str(enum chitcpd_debug_event event);

#ifdef __cplusplus
}
#endif
#endif
