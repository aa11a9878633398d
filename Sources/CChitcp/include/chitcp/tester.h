/* A server and a client in one program, each on a thread of its own, for trying out a TCP step by step: the server
 * listens on port 7, the client connects to it over loopback (or to the address in CHITCP_TESTER_ADDRESS, for a daemon that
 * has another). Link with -lchitcp.
 *
 * The steps listen, accept, connect, run and close are handed to the peer's thread, which takes them one after the other;
 * the call returns at once. A step that fails says so on standard error, and steps that need what it failed to get are left
 * out. */
#ifndef CHITCP_TESTER_H
#define CHITCP_TESTER_H

#include "chitcp/debug_api.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct chitcp_tester_peer chitcp_tester_peer_t;

typedef struct chitcp_tester {
    chitcp_tester_peer_t *server;
    chitcp_tester_peer_t *client;
} chitcp_tester_t;

/* What a peer runs, with its connection; what it returns is not looked at. */
typedef int (*chitcp_tester_runnable)(int sockfd, void *args);

/* CHITCP_OK, CHITCP_EINVAL or CHITCP_EINIT. */
int chitcp_tester_init(chitcp_tester_t *tester);

/* Ends peers that still run as _exit does, and frees the tester. CHITCP_OK or CHITCP_EINVAL. */
int chitcp_tester_free(chitcp_tester_t *tester);

/* Starts both threads; each creates its socket and sets its debug handler, if it has one. CHITCP_OK, CHITCP_ETHREAD,
 * CHITCP_ESOCKET, or CHITCP_EINIT for a debug handler that could not be set or a tester already started. */
int chitcp_tester_start(chitcp_tester_t *tester);

/* Breakpoints of the peer's socket, set before any other socket call, or at once if the tester is started. The server's
 * are those of its listening socket: its connections have them if the handler answers a pending connection with
 * DBG_RESP_ACCEPT_MONITOR. CHITCP_OK or CHITCP_EINVAL. */
int chitcp_tester_server_set_debug(chitcp_tester_t *tester, debug_event_handler handler, int event_flags);
int chitcp_tester_client_set_debug(chitcp_tester_t *tester, debug_event_handler handler, int event_flags);

/* Wait until the peer's connection is in that state; the server's once it is accepted, except that LISTEN is waited for
 * on the listening socket. CHITCP_OK; CHITCP_EINVAL if the tester is not started or the peer has no such connection. */
int chitcp_tester_server_wait_for_state(chitcp_tester_t *tester, tcp_state_t tcp_state);
int chitcp_tester_client_wait_for_state(chitcp_tester_t *tester, tcp_state_t tcp_state);

/* What _run will run from here on. CHITCP_OK or CHITCP_EINVAL. */
int chitcp_tester_server_run_set(chitcp_tester_t *tester, chitcp_tester_runnable func, void *args);
int chitcp_tester_client_run_set(chitcp_tester_t *tester, chitcp_tester_runnable func, void *args);

/* The steps. CHITCP_OK; CHITCP_ESYNC if the peer's thread does not run; CHITCP_EINVAL. */
int chitcp_tester_server_listen(chitcp_tester_t *tester);
int chitcp_tester_server_accept(chitcp_tester_t *tester);
int chitcp_tester_client_connect(chitcp_tester_t *tester);
int chitcp_tester_server_run(chitcp_tester_t *tester);
int chitcp_tester_client_run(chitcp_tester_t *tester);
/* Closes the peer's connection, or a server's listening socket if it has no connection. */
int chitcp_tester_server_close(chitcp_tester_t *tester);
int chitcp_tester_client_close(chitcp_tester_t *tester);

/* Waits until the peer has taken all its steps, closes what is open and ends the thread. CHITCP_OK; CHITCP_ESYNC if the
 * thread does not run; CHITCP_ESOCKET if a step failed. */
int chitcp_tester_server_exit(chitcp_tester_t *tester);
int chitcp_tester_client_exit(chitcp_tester_t *tester);

#ifdef __cplusplus
}
#endif
#endif
