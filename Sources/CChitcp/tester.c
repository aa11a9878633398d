/* chitcp/tester.h: the tester, over its two peers. */
#include "chitcp/tester.h"
#include "tester_peer.h"

#include <stdlib.h>

int chitcp_tester_init(chitcp_tester_t *tester)
{
    if (tester == NULL) return CHITCP_EINVAL;
    tester->server = tester_peer_create(true);
    tester->client = tester_peer_create(false);
    if (tester->server != NULL && tester->client != NULL) return CHITCP_OK;
    chitcp_tester_free(tester);
    return CHITCP_EINIT;
}

int chitcp_tester_free(chitcp_tester_t *tester)
{
    if (tester == NULL) return CHITCP_EINVAL;
    /* The client first: a server that still waits for bytes gets their end. */
    tester_peer_destroy(tester->client);
    tester_peer_destroy(tester->server);
    tester->client = tester->server = NULL;
    return CHITCP_OK;
}

int chitcp_tester_start(chitcp_tester_t *tester)
{
    if (tester == NULL || tester->server == NULL || tester->client == NULL) return CHITCP_EINVAL;
    int result = tester_peer_start(tester->server);
    return result == CHITCP_OK ? tester_peer_start(tester->client) : result;
}

#define SERVER(tester) ((tester) == NULL ? NULL : (tester)->server)
#define CLIENT(tester) ((tester) == NULL ? NULL : (tester)->client)

int chitcp_tester_server_set_debug(chitcp_tester_t *tester, debug_event_handler handler, int event_flags)
{
    return tester_peer_set_debug(SERVER(tester), handler, event_flags);
}

int chitcp_tester_client_set_debug(chitcp_tester_t *tester, debug_event_handler handler, int event_flags)
{
    return tester_peer_set_debug(CLIENT(tester), handler, event_flags);
}

int chitcp_tester_server_wait_for_state(chitcp_tester_t *tester, tcp_state_t tcp_state)
{
    return tester_peer_wait_for_state(SERVER(tester), tcp_state);
}

int chitcp_tester_client_wait_for_state(chitcp_tester_t *tester, tcp_state_t tcp_state)
{
    return tester_peer_wait_for_state(CLIENT(tester), tcp_state);
}

int chitcp_tester_server_run_set(chitcp_tester_t *tester, chitcp_tester_runnable func, void *args)
{
    return tester_peer_run_set(SERVER(tester), func, args);
}

int chitcp_tester_client_run_set(chitcp_tester_t *tester, chitcp_tester_runnable func, void *args)
{
    return tester_peer_run_set(CLIENT(tester), func, args);
}

int chitcp_tester_server_listen(chitcp_tester_t *tester) { return tester_peer_do(SERVER(tester), STEP_LISTEN); }
int chitcp_tester_server_accept(chitcp_tester_t *tester) { return tester_peer_do(SERVER(tester), STEP_ACCEPT); }
int chitcp_tester_client_connect(chitcp_tester_t *tester) { return tester_peer_do(CLIENT(tester), STEP_CONNECT); }
int chitcp_tester_server_run(chitcp_tester_t *tester) { return tester_peer_do(SERVER(tester), STEP_RUN); }
int chitcp_tester_client_run(chitcp_tester_t *tester) { return tester_peer_do(CLIENT(tester), STEP_RUN); }
int chitcp_tester_server_close(chitcp_tester_t *tester) { return tester_peer_do(SERVER(tester), STEP_CLOSE); }
int chitcp_tester_client_close(chitcp_tester_t *tester) { return tester_peer_do(CLIENT(tester), STEP_CLOSE); }
int chitcp_tester_server_exit(chitcp_tester_t *tester) { return tester_peer_exit(SERVER(tester)); }
int chitcp_tester_client_exit(chitcp_tester_t *tester) { return tester_peer_exit(CLIENT(tester)); }
