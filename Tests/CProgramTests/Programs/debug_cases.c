/* The debug API itself: what handlers get, what their answers do, and what inquiries answer. */
#include "peers.h"

#include <chitcp/socket.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static enum chitcpd_debug_response do_nothing(int sockfd, enum chitcpd_debug_event event, debug_socket_state_t *state,
    debug_socket_state_t *saved, int new_sockfd)
{
    (void) sockfd;
    (void) event;
    (void) state;
    (void) saved;
    (void) new_sockfd;
    return DBG_RESP_NONE;
}

static void errors(void)
{
    int made = chisocket_socket(AF_INET, SOCK_STREAM, 0);
    CHECK(made >= 0, "socket: %s", strerror(errno));
    CHECK(chitcpd_debug(999, DBG_EVT_TCP_STATE_CHANGE, do_nothing) == -1 && errno == EBADF, "%s", strerror(errno));
    CHECK(chitcpd_debug(made, 0, do_nothing) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(chitcpd_debug(made, DBG_EVT_KILL, do_nothing) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(chitcpd_debug(made, DBG_EVT_TCP_STATE_CHANGE, NULL) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(chitcpd_debug(made, DBG_EVT_TCP_STATE_CHANGE, do_nothing) == 0, "%s", strerror(errno));
    CHECK(chitcpd_debug(made, DBG_EVT_TCP_STATE_CHANGE, do_nothing) == -1 && errno == EAGAIN, "%s", strerror(errno));
    CHECK(chitcpd_get_socket_state(999, FALSE) == NULL && errno == EBADF, "%s", strerror(errno));
    CHECK(chitcpd_wait_for_state(999, ESTABLISHED) == -1 && errno == EBADF, "%s", strerror(errno));
    CHECK(chitcpd_debug_save_socket_state(NULL) == EINVAL, "outside a handler");
    CHECK(chisocket_close(made) == 0, "close: %s", strerror(errno));
}

/* What the handlers of the next cases have seen. */
static atomic_int promised = -1, accepted = -1, listener_states, wrong_sockets, events_after_stop, has_stopped;

static enum chitcpd_debug_response note_descriptors(int sockfd, enum chitcpd_debug_event event,
    debug_socket_state_t *state, debug_socket_state_t *saved, int new_sockfd)
{
    if (event == DBG_EVT_PENDING_CONNECTION) {
        if (state != NULL || saved != NULL) listener_states++;
        promised = new_sockfd;
        return DBG_RESP_ACCEPT_MONITOR;
    }
    /* Events of the listening socket and of its connection name their own socket. */
    if (new_sockfd != -1) wrong_sockets++;
    if (state != NULL && sockfd != promised) wrong_sockets++;
    if (state == NULL && sockfd == promised) wrong_sockets++;
    /* One can ask by that number before accept has returned it. */
    debug_socket_state_t *asked = chitcpd_get_socket_state(sockfd, FALSE);
    CHECK(asked != NULL, "the state of %d: %s", sockfd, strerror(errno));
    if (asked != NULL && state != NULL) CHECK(asked->tcp_state == state->tcp_state, "another state");
    free(asked);
    return DBG_RESP_NONE;
}

static int note_accepted(int sockfd, void *args)
{
    (void) args;
    accepted = sockfd;
    return 0;
}

static void new_descriptor(void)
{
    peers_init();
    chitcp_tester_server_set_debug(&tester, note_descriptors,
        DBG_EVT_PENDING_CONNECTION | DBG_EVT_TCP_STATE_CHANGE | DBG_EVT_INCOMING_PACKET | DBG_EVT_OUTGOING_PACKET);
    chitcp_tester_server_run_set(&tester, note_accepted, NULL);
    peers_connect();
    chitcp_tester_server_run(&tester);
    peers_close_in_turn();
    peers_done();
    CHECK(promised >= 0, "new_sockfd %d", promised);
    CHECK(accepted == promised, "accept gave %d, the handler got %d", accepted, promised);
    CHECK(listener_states == 0, "states for a listening socket");
    CHECK(wrong_sockets == 0, "%d events named the wrong socket", wrong_sockets);
}

/* Stops at ESTABLISHED: nothing is heard of the connection after that. */
static enum chitcpd_debug_response stop_when_established(int sockfd, enum chitcpd_debug_event event,
    debug_socket_state_t *state, debug_socket_state_t *saved, int new_sockfd)
{
    (void) sockfd;
    (void) saved;
    (void) new_sockfd;
    if (has_stopped) events_after_stop++;
    if (event != DBG_EVT_TCP_STATE_CHANGE || state->tcp_state != ESTABLISHED) return DBG_RESP_NONE;
    has_stopped = 1;
    return DBG_RESP_STOP;
}

static void stop(void)
{
    peers_init();
    chitcp_tester_client_set_debug(&tester, stop_when_established, DBG_EVT_TCP_STATE_CHANGE | DBG_EVT_INCOMING_PACKET);
    peers_connect();
    peers_close_in_turn();
    peers_done();
    CHECK(has_stopped, "the handler was asked");
    CHECK(events_after_stop == 0, "%d events after STOP", events_after_stop);
}

/* A connection not monitored: the listening socket's handler hears nothing of it. */
static atomic_int connection_events;

static enum chitcpd_debug_response do_not_monitor(int sockfd, enum chitcpd_debug_event event,
    debug_socket_state_t *state, debug_socket_state_t *saved, int new_sockfd)
{
    (void) sockfd;
    (void) event;
    (void) saved;
    (void) new_sockfd;
    if (state != NULL) connection_events++;
    return DBG_RESP_NONE;
}

static void not_monitored(void)
{
    peers_init();
    chitcp_tester_server_set_debug(
        &tester, do_not_monitor, DBG_EVT_PENDING_CONNECTION | DBG_EVT_TCP_STATE_CHANGE | DBG_EVT_INCOMING_PACKET);
    peers_connect();
    peers_close_in_turn();
    peers_done();
    CHECK(connection_events == 0, "%d events", connection_events);
}

/* A response that does not fit its event counts as none. */
static enum chitcpd_debug_response answer_nonsense(int sockfd, enum chitcpd_debug_event event,
    debug_socket_state_t *state, debug_socket_state_t *saved, int new_sockfd)
{
    (void) sockfd;
    (void) state;
    (void) saved;
    (void) new_sockfd;
    switch (event) {
    case DBG_EVT_PENDING_CONNECTION: return DBG_RESP_ACCEPT_MONITOR;
    case DBG_EVT_TCP_STATE_CHANGE: return DBG_RESP_DROP;
    case DBG_EVT_OUTGOING_PACKET: return DBG_RESP_WITHHOLD;
    default: return (enum chitcpd_debug_response) 77;
    }
}

static void nonsense(void)
{
    int bytes = 5000, events = DBG_EVT_PENDING_CONNECTION | DBG_EVT_TCP_STATE_CHANGE | DBG_EVT_INCOMING_PACKET
        | DBG_EVT_OUTGOING_PACKET;
    peers_init();
    chitcp_tester_client_set_debug(&tester, answer_nonsense, events);
    chitcp_tester_server_set_debug(&tester, answer_nonsense, events);
    chitcp_tester_client_run_set(&tester, send_and_receive_pattern, &bytes);
    chitcp_tester_server_run_set(&tester, echo_pattern, &bytes);
    peers_connect();
    peers_run();
    peers_close_in_turn();
    peers_done();
}

/* The state in an incoming event is that before the segment: RCV.NXT is the segment's number. */
static atomic_int incoming_events, moved_events;
static uint32_t next_expected;

static enum chitcpd_debug_response compare_states(int sockfd, enum chitcpd_debug_event event,
    debug_socket_state_t *state, debug_socket_state_t *saved, int new_sockfd)
{
    (void) saved;
    (void) new_sockfd;
    if (event != DBG_EVT_INCOMING_PACKET || state == NULL || state->tcp_state != ESTABLISHED) return DBG_RESP_NONE;
    incoming_events++;
    /* The connection stands still meanwhile, so an inquiry finds it as the event did. */
    debug_socket_state_t *asked = chitcpd_get_socket_state(sockfd, TRUE);
    CHECK(asked != NULL, "the state of %d: %s", sockfd, strerror(errno));
    if (asked == NULL) return DBG_RESP_NONE;
    if (asked->RCV_NXT != state->RCV_NXT || asked->SND_UNA != state->SND_UNA) moved_events++;
    CHECK(asked->send != NULL && asked->recv != NULL, "buffers");
    next_expected = state->RCV_NXT;
    free(asked->send);
    free(asked->recv);
    free(asked);
    return DBG_RESP_NONE;
}

static void states_at_events(void)
{
    int bytes = 20000;
    peers_init();
    chitcp_tester_client_set_debug(&tester, compare_states, DBG_EVT_INCOMING_PACKET);
    chitcp_tester_client_run_set(&tester, receive_pattern, &bytes);
    chitcp_tester_server_run_set(&tester, send_pattern, &bytes);
    peers_connect();
    peers_run();
    peers_done();
    CHECK(incoming_events > 0, "no events");
    CHECK(moved_events == 0, "%d of %d times the state had moved on", moved_events, incoming_events);
    CHECK(next_expected != 0, "the last RCV.NXT");
}

static void listening_state(void)
{
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(7) };
    int listener = chisocket_socket(AF_INET, SOCK_STREAM, 0);
    debug_socket_state_t *state = chitcpd_get_socket_state(listener, FALSE);
    CHECK(state != NULL && state->tcp_state == CLOSED, "a new socket");
    free(state);
    CHECK(chisocket_bind(listener, (struct sockaddr *) &any, sizeof any) == 0, "bind: %s", strerror(errno));
    CHECK(chisocket_listen(listener, 1) == 0, "listen: %s", strerror(errno));
    CHECK(chitcpd_wait_for_state(listener, LISTEN) == 0, "wait: %s", strerror(errno));
    state = chitcpd_get_socket_state(listener, FALSE);
    CHECK(state != NULL && state->tcp_state == LISTEN, "a listening socket");
    if (state != NULL) {
        CHECK(state->ISS == 0 && state->SND_NXT == 0 && state->RCV_NXT == 0, "its numbers");
        CHECK(state->send == NULL && state->recv == NULL, "buffers that were not asked for");
        dump_socket_state(state, TRUE);
    }
    free(state);
    chisocket_close(listener);
    /* The descriptor is gone, and what was behind it as well. */
    CHECK(chitcpd_wait_for_state(listener, CLOSED) == 0, "wait: %s", strerror(errno));
}

static void event_names(void)
{
    CHECK(strcmp(dbg_evt_str(DBG_EVT_TCP_STATE_CHANGE), "DBG_EVT_TCP_STATE_CHANGE") == 0, "state change");
    CHECK(strcmp(dbg_evt_str(DBG_EVT_PENDING_CONNECTION), "DBG_EVT_PENDING_CONNECTION") == 0, "pending");
    CHECK(strcmp(dbg_evt_str(DBG_EVT_KILL), "DBG_EVT_KILL") == 0, "kill");
    CHECK(strcmp(dbg_evt_str((enum chitcpd_debug_event) 3), "UNKNOWN") == 0, "none");
}

/* A tester used out of order answers, and does not hang. */
static void tester_out_of_order(void)
{
    chitcp_tester_t other;
    CHECK(chitcp_tester_init(&other) == CHITCP_OK, "init");
    CHECK(chitcp_tester_server_listen(&other) == CHITCP_ESYNC, "not started");
    CHECK(chitcp_tester_client_exit(&other) == CHITCP_ESYNC, "not started");
    CHECK(chitcp_tester_client_wait_for_state(&other, CLOSED) == CHITCP_EINVAL, "not started");
    CHECK(chitcp_tester_client_set_debug(&other, NULL, DBG_EVT_INCOMING_PACKET) == CHITCP_EINVAL, "no handler");
    CHECK(chitcp_tester_start(&other) == CHITCP_OK, "start");
    CHECK(chitcp_tester_start(&other) == CHITCP_EINIT, "started twice");
    CHECK(chitcp_tester_client_connect(&other) == CHITCP_OK, "connect to nobody");
    CHECK(chitcp_tester_client_exit(&other) == CHITCP_ESOCKET, "a step failed");
    CHECK(chitcp_tester_free(&other) == CHITCP_OK, "free with a running server");
    CHECK(chitcp_tester_free(NULL) == CHITCP_EINVAL, "no tester");
}

const struct acceptance_case debug_cases[] = {
    { "debug: calls that make no sense", "", errors },
    { "debug: new_sockfd is what accept returns", "", new_descriptor },
    { "debug: nothing more after STOP", "", stop },
    { "debug: a connection not monitored", "", not_monitored },
    { "debug: responses that do not fit", "", nonsense },
    { "debug: the state stands still at an event", "", states_at_events },
    { "debug: the state of a listening socket", "", listening_state },
    { "debug: a tester used out of order", "", tester_out_of_order },
    { "debug: names of events", NULL, event_names },
    { NULL, NULL, NULL },
};
