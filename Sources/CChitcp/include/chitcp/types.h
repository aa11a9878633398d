/* Result codes, small types, and the names of TCP's states. */
#ifndef CHITCP_TYPES_H
#define CHITCP_TYPES_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHITCP_OK            0
#define CHITCP_ENOMEM      (-1)
#define CHITCP_ESOCKET     (-2)
#define CHITCP_ETHREAD     (-3)
#define CHITCP_ESYNC       (-4)
#define CHITCP_EINIT       (-5)
#define CHITCP_EWOULDBLOCK (-6)
#define CHITCP_EINVAL      (-7)
#define CHITCP_ENOENT      (-8)

typedef int bool_t;

#ifndef TRUE
#define TRUE 1
#endif
#ifndef FALSE
#define FALSE 0
#endif
#ifndef MIN
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#endif
#ifndef MAX
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#endif

/* RFC 9293 3.3.2, with chiTCP's numbers. */
typedef enum {
    CLOSED      = 0,
    LISTEN      = 1,
    SYN_RCVD    = 2,
    SYN_SENT    = 3,
    ESTABLISHED = 4,
    FIN_WAIT_1  = 5,
    FIN_WAIT_2  = 6,
    CLOSE_WAIT  = 7,
    CLOSING     = 8,
    TIME_WAIT   = 9,
    LAST_ACK    = 10
} tcp_state_t;

#define IS_VALID_TCP_STATE(state) ((int) (state) >= CLOSED && (int) (state) <= LAST_ACK)

/* The states' names, by number. */
extern const char *const tcp_state_names[];

/* The name of `state`, such as "SYN_SENT"; "UNKNOWN" if it is none. Not to be freed. */
const char *tcp_str(tcp_state_t state);

#ifdef __cplusplus
}
#endif
#endif
