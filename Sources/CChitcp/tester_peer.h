/* One peer of a tester: a thread that takes steps, and its sockets. A NULL peer is answered with CHITCP_EINVAL. */
#ifndef CHITCP_TESTER_PEER_H
#define CHITCP_TESTER_PEER_H

#include "chitcp/tester.h"

#include <stdbool.h>

enum tester_step { STEP_LISTEN, STEP_ACCEPT, STEP_CONNECT, STEP_RUN, STEP_CLOSE, STEP_EXIT };

/* NULL without memory. */
chitcp_tester_peer_t *tester_peer_create(bool is_server) __attribute__((visibility("hidden")));
/* Ends the thread if it runs, and frees the peer; NULL is fine. */
void tester_peer_destroy(chitcp_tester_peer_t *peer) __attribute__((visibility("hidden")));

int tester_peer_start(chitcp_tester_peer_t *peer) __attribute__((visibility("hidden")));
int tester_peer_set_debug(chitcp_tester_peer_t *peer, debug_event_handler handler, int event_flags)
    __attribute__((visibility("hidden")));
int tester_peer_wait_for_state(chitcp_tester_peer_t *peer, tcp_state_t tcp_state) __attribute__((visibility("hidden")));
int tester_peer_run_set(chitcp_tester_peer_t *peer, chitcp_tester_runnable func, void *args)
    __attribute__((visibility("hidden")));
/* Hands a step to the thread. */
int tester_peer_do(chitcp_tester_peer_t *peer, enum tester_step step) __attribute__((visibility("hidden")));
int tester_peer_exit(chitcp_tester_peer_t *peer) __attribute__((visibility("hidden")));

#endif
