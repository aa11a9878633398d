/* Result codes, small types, and the names of TCP's states. */
#ifndef CHITCP_TYPES_H
#define CHITCP_TYPES_H

#include <netinet/in.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What this library's helper functions answer. The chisocket calls use errno instead. */
typedef enum {
    CHITCP_OK          = 0,
    CHITCP_ENOMEM      = -1, /* no memory */
    CHITCP_ESOCKET     = -2, /* no socket */
    CHITCP_ETHREAD     = -3, /* no thread */
    CHITCP_ESYNC       = -4, /* a mutex or condition variable failed, or its thread is gone */
    CHITCP_EINIT       = -5, /* something could not be initialised */
    CHITCP_EWOULDBLOCK = -6, /* a non-blocking call would have had to wait */
    CHITCP_EINVAL      = -7, /* an argument makes no sense here */
    CHITCP_ENOENT      = -8  /* what was asked for is not there */
} chitcp_retcode_t;

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

/* Room in sockaddr_un.sun_path. */
#ifndef UNIX_PATH_MAX
#define UNIX_PATH_MAX 108
#endif

/* Where a call may answer an error, anything but 0: return `value`; return what it answered; end the program with a
 * line on standard error (include stdio.h and stdlib.h). Blocks, so that a semicolon may follow or not. */
#define RET_ON_ERROR(call, value) { if ((call) != 0) { return value; } }
#define PROPAGATE_ON_ERROR(call) { int chitcp_result = (call); if (chitcp_result != 0) { return chitcp_result; } }
#define EXIT_ON_ERROR(call, message) \
    { if ((call) != 0) { fprintf(stderr, "%s: %s\n", __func__, message); exit(-1); } }

/* A chisocket, and a socket of the kernel. */
typedef int chisocket_t;
typedef int socket_t;

typedef enum {
    SOCKET_ACTIVE        = 1, /* connected, or connecting */
    SOCKET_PASSIVE       = 2, /* listening */
    SOCKET_UNINITIALIZED = 3
} socket_type_t;

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
