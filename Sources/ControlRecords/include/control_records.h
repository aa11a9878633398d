/* The records between this project's own library (and preload) and chitcpd: the single definition.
 *
 * They travel over a SOCK_SEQPACKET UNIX socket whose path is that of chiTCP's UNIX socket with ".control" appended,
 * one record a packet. All fields are in host byte order except addresses and ports, which are in network order.
 * A client sends a request and gets exactly one response with the same `call`; responses to different calls may
 * overtake each other, so a client skips responses whose `call` it no longer waits for. */
#ifndef CHITCP_CONTROL_RECORDS_H
#define CHITCP_CONTROL_RECORDS_H

#include <stdint.h>

#define CHITCP_CONTROL_MAGIC   0x43544331u /* "CTC1": changes when a record's layout changes */
#define CHITCP_CONTROL_SUFFIX  ".control"

/* Names of the application's ends in the abstract namespace: "\0chitcp/<daemon>/<id>", both in lower-case hexadecimal
 * without leading zeros; <daemon> is the daemon_id of the HELLO response, <id> the socket_id. */
#define CHITCP_NAME_PREFIX     "chitcp/"

/* An IPv4 or IPv6 address and port. */
struct chitcp_address {
    uint8_t  bytes[16];     /* IPv4: mapped, ::ffff:a.b.c.d */
    uint16_t port;          /* network order */
    uint16_t family;        /* AF_INET or AF_INET6; 0: no address */
    uint32_t scope_id;
};

enum chitcp_operation {
    CHITCP_OP_HELLO = 1,    /* -> value: daemon_id; the first request on a connection */
    CHITCP_OP_SOCKET = 2,   /* argument[0] domain, [1] type, [2] protocol -> socket_id, argument[1] the daemon's
                               socket number, one descriptor (SCM_RIGHTS) */
    CHITCP_OP_BIND = 3,     /* address */
    CHITCP_OP_LISTEN = 4,   /* argument[0] backlog; carries the application's descriptor -> 0 */
    CHITCP_OP_CONNECT = 5,  /* address; argument[0] 1: answer at once with EINPROGRESS; carries the application's
                               descriptor -> answered when the connection is established or has failed */
    CHITCP_OP_SHUTDOWN = 6, /* argument[0] SHUT_RD, SHUT_WR or SHUT_RDWR */
    CHITCP_OP_NAMES = 7,    /* -> local, remote (family 0 where there is none), argument[0] tcp state, [1] the daemon's
                               socket number, [2] domain */
    CHITCP_OP_SET_OPTION = 8, /* argument[0] level, [1] name; data -> argument[0]: if not 0, the SO_SNDBUF that the
                               application's descriptor is to get, so that its writer feels the option */
    CHITCP_OP_GET_OPTION = 9, /* argument[0] level, [1] name -> data */
    CHITCP_OP_LIST = 10,    /* argument[0] socket number to begin with -> data: struct chitcp_socket_status of the first
                               socket with that number or a higher one; result: its number, -1 with ENOENT at the end */
    CHITCP_OP_ABORT = 11,   /* reset the connection, whatever is queued */
    CHITCP_OP_OPTIONS = 12, /* -> data: the options set so far, each a struct chitcp_option and its value */
    CHITCP_OP_QUEUES = 13,  /* -> argument[0] bytes the peer has not acknowledged, [1] those of them not sent yet */
    CHITCP_OP_TOTALS = 14,  /* -> data: struct chitcp_totals */
    CHITCP_OP_CAPTURE = 15, /* argument[0] bytes of each packet to keep, 0: all; data: at most CHITCP_FILTERS_MAX struct
                               chitcp_address, one of which one of its ends has to be (family 0: any address, port 0: any
                               port); carries the writing end of a pipe, through which pcapng comes until this connection
                               ends; EPERM unless the client is root or the daemon's user, EBUSY if too many watch */
    CHITCP_OP_IMPAIR = 20,  /* data: struct chitcp_impairment, which from now on happens to its segments; EPERM unless the
                               client is root or the daemon's user */
    CHITCP_OP_IMPAIR_CLEAR = 21, /* argument[0] CHITCP_IMPAIR_OUT or CHITCP_IMPAIR_IN or both; address: only what was said
                               about this host (family 0: everything) -> result: how many were removed; EPERM likewise */
    CHITCP_OP_IMPAIR_LIST = 22 /* argument[0] index -> data: struct chitcp_impairment_status; result: the index, -1 with
                               ENOENT at the end */
};

/* TCP states in responses: chiTCP's numbers. */
#define CHITCP_STATE_CLOSED 0
#define CHITCP_STATE_LISTEN 1

#define CHITCP_DATA_MAX 512
#define CHITCP_FILTERS_MAX 16

/* What `chitcp run` tells the preload besides CHITCPD_SOCK: ranges of addresses ("10.0.0.0/8,::1/128") that alone are the
 * daemon's, or that are the kernel's. */
#define CHITCP_ENVIRONMENT_ONLY   "CHITCP_RUN_ONLY"
#define CHITCP_ENVIRONMENT_EXCEPT "CHITCP_RUN_EXCEPT"

/* The application's request. Every request has the full size of the struct. */
struct chitcp_request {
    uint32_t magic;
    uint32_t operation;     /* enum chitcp_operation */
    uint64_t call;          /* chosen by the client, echoed in the response */
    uint64_t socket_id;     /* which socket; 0 where none */
    int32_t  argument[4];
    struct chitcp_address address;
    uint32_t data_length;   /* bytes used of data */
    uint32_t reserved;
    uint8_t  data[CHITCP_DATA_MAX];
};

/* The daemon's response. */
struct chitcp_response {
    uint32_t magic;
    uint32_t operation;     /* of the request */
    uint64_t call;
    uint64_t socket_id;
    int32_t  result;        /* 0 or more; -1 with error */
    int32_t  error;         /* errno of Linux, 0 if none */
    uint64_t value;
    int32_t  argument[4];
    struct chitcp_address local;
    struct chitcp_address remote;
    uint32_t data_length;
    uint32_t reserved;
    uint8_t  data[CHITCP_DATA_MAX];
};

/* What comes out of a listening descriptor for each established connection, with the connection's descriptor attached
 * (SCM_RIGHTS): accept(2) is one recvmsg(2) of this record. */
struct chitcp_accepted {
    uint32_t magic;
    int32_t  number;        /* the daemon's socket number, as on chiTCP's protocol */
    uint64_t socket_id;
    struct chitcp_address local;
    struct chitcp_address remote;
};

/* An option in the response to CHITCP_OP_OPTIONS, followed by `length` bytes of value. */
struct chitcp_option {
    int32_t  level;
    int32_t  name;
    uint32_t length;
};

/* One socket as `chitcp sockets` shows it. Times in nanoseconds, sizes in bytes. */
struct chitcp_socket_status {
    uint64_t socket_id;
    int32_t  number;            /* the daemon's socket number */
    int32_t  state;             /* chiTCP's numbers: CLOSED 0 … LAST_ACK 10 */
    int32_t  owner_pid;         /* process that created it, 0 if unknown */
    int32_t  owner_uid;
    struct chitcp_address local;
    struct chitcp_address remote;
    uint32_t accept_queue;      /* listening: waiting connections, and the backlog */
    uint32_t backlog;
    uint32_t send_queued;       /* bytes in the send buffer (unacknowledged and unsent), and received but unread */
    uint32_t receive_queued;
    uint32_t iss, irs, snd_una, snd_nxt, snd_wnd, rcv_nxt, rcv_wnd;
    uint32_t maximum_segment_size;
    uint32_t congestion_window;
    uint32_t slow_start_threshold;
    uint32_t reserved;
    uint64_t smoothed_rtt, rtt_variation, retransmission_timeout;
    uint64_t segments_sent, segments_received;
    uint64_t bytes_sent, bytes_received;        /* payload, first transmissions / delivered in order */
    uint64_t segments_retransmitted, bytes_retransmitted;
    char     congestion_control[16];            /* name, zero-terminated */
    uint32_t recoveries, timeouts, tail_loss_probes;  /* why segments were sent again, how often each */
    uint32_t needless_retransmissions;          /* those that the peer reported to have had already (D-SACK) */
};

/* What a daemon has done since it began. Bytes are payload, retransmissions included. */
struct chitcp_totals {
    uint64_t connections_opened, connections_accepted;
    uint64_t segments_sent, segments_received;
    uint64_t bytes_sent, bytes_received;
    uint64_t unknown_options;   /* getsockopt and setsockopt answered with ENOPROTOOPT */
    uint32_t last_unknown_level, last_unknown_name;
};

#define CHITCP_IMPAIR_OUT 1
#define CHITCP_IMPAIR_IN  2

/* What happens to segments of one direction. Shares in parts per million, times in nanoseconds, sizes in bytes; 0: it does
 * not happen. */
struct chitcp_impairment {
    struct chitcp_address peer; /* the other host; family 0: all of which nothing was said */
    uint32_t direction;         /* CHITCP_IMPAIR_OUT or CHITCP_IMPAIR_IN */
    uint32_t loss;
    uint32_t burst_begin, burst_end;
    uint32_t reorder, duplicate, corrupt;
    uint32_t largest;           /* packets above this size vanish */
    uint64_t seed;
    uint64_t reorder_delay, delay, jitter;
    uint64_t rate;              /* bits per second */
    uint64_t queue_limit;
    uint64_t mark_threshold;    /* bytes in the queue past which a packet gets ECN's mark; 0: none does */
};

/* An impairment and what it did so far, in segments. */
struct chitcp_impairment_status {
    struct chitcp_impairment rule;
    uint64_t segments;          /* that met it */
    uint64_t lost, queue_dropped, overflowed; /* the last: for want of room to hold them back */
    uint64_t delayed, reordered, duplicated, corrupted, marked;
    uint64_t held_segments, held_bytes;       /* back at this moment */
};

_Static_assert(sizeof(struct chitcp_address) == 24, "layout");
_Static_assert(sizeof(struct chitcp_accepted) == 64, "layout");
_Static_assert(sizeof(struct chitcp_request) == 584, "layout");
_Static_assert(sizeof(struct chitcp_response) == 624, "layout");
_Static_assert(sizeof(struct chitcp_impairment_status) <= CHITCP_DATA_MAX, "layout");
_Static_assert(sizeof(struct chitcp_socket_status) <= CHITCP_DATA_MAX, "layout");

#endif
