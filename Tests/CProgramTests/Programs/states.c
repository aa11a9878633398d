/* states.h */
#include "states.h"

#include <pthread.h>
#include <string.h>

struct states client_states, server_states;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void note(struct states *states, const debug_socket_state_t *state, const debug_socket_state_t *saved)
{
    pthread_mutex_lock(&lock);
    /* What was kept at the last change is what was seen then. */
    if (states->count == 0)
        CHECK(saved == NULL, "a state is kept before the first change");
    else
        CHECK(saved != NULL && saved->tcp_state == states->seen[states->count - 1].tcp_state, "the state kept last");
    CHECK(states->count < STATES_MAX, "too many changes of state");
    if (states->count < STATES_MAX) {
        states->seen[states->count] = *state;
        states->seen[states->count].send = states->seen[states->count].recv = NULL;
        states->count++;
    }
    pthread_mutex_unlock(&lock);
}

static enum chitcpd_debug_response record(struct states *states, enum chitcpd_debug_event event,
    debug_socket_state_t *state, debug_socket_state_t *saved)
{
    if (event == DBG_EVT_PENDING_CONNECTION) return DBG_RESP_ACCEPT_MONITOR;
    if (event != DBG_EVT_TCP_STATE_CHANGE) return DBG_RESP_NONE;
    CHECK(state != NULL, "a change of state without state");
    if (state == NULL) return DBG_RESP_NONE;
    note(states, state, saved);
    CHECK(chitcpd_debug_save_socket_state(state) == 0, "saving a state");
    return DBG_RESP_NONE;
}

enum chitcpd_debug_response record_client(int sockfd, enum chitcpd_debug_event event, debug_socket_state_t *state,
    debug_socket_state_t *saved, int new_sockfd)
{
    (void) sockfd;
    (void) new_sockfd;
    return record(&client_states, event, state, saved);
}

enum chitcpd_debug_response record_server(int sockfd, enum chitcpd_debug_event event, debug_socket_state_t *state,
    debug_socket_state_t *saved, int new_sockfd)
{
    (void) sockfd;
    (void) new_sockfd;
    return record(&server_states, event, state, saved);
}

void record_states(void)
{
    CHECK(chitcp_tester_client_set_debug(&tester, record_client, DBG_EVT_TCP_STATE_CHANGE) == CHITCP_OK, "client");
    CHECK(chitcp_tester_server_set_debug(
              &tester, record_server, DBG_EVT_PENDING_CONNECTION | DBG_EVT_TCP_STATE_CHANGE) == CHITCP_OK, "server");
}

/* How many changes are awaited, and of whom. */
struct awaited {
    const struct states *states;
    int count;
};

static bool have_come(void *argument)
{
    const struct awaited *awaited = argument;
    pthread_mutex_lock(&lock);
    bool have = awaited->states->count >= awaited->count;
    pthread_mutex_unlock(&lock);
    return have;
}

void check_states(const char *who, const struct states *states, const tcp_state_t *expected)
{
    char text[STATES_MAX * 16] = "";
    /* Who waits for a state may be told of it before the handler is. */
    struct awaited awaited = { states, 0 };
    while (expected[awaited.count] != LISTEN) awaited.count++;
    wait_until(who, have_come, &awaited);
    pthread_mutex_lock(&lock);
    bool same = true;
    int count = 0;
    for (int i = 0; i < states->count; i++) {
        strcat(strcat(text, " "), tcp_str(states->seen[i].tcp_state));
    }
    for (; expected[count] != LISTEN; count++)
        same = same && count < states->count && states->seen[count].tcp_state == expected[count];
    CHECK(same && count == states->count, "the %s went through%s", who, text);
    pthread_mutex_unlock(&lock);
}
