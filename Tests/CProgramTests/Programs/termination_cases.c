/* Connection termination: who closes first, halves, and resets. */
#include "states.h"

#include <chitcp/socket.h>
#include <chitcp/utils.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

static const tcp_state_t active_client[] = {
    SYN_SENT, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, TIME_WAIT, CLOSED, LISTEN
};
static const tcp_state_t passive_client[] = { SYN_SENT, ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSED, LISTEN };
static const tcp_state_t active_server[] = {
    SYN_RCVD, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, TIME_WAIT, CLOSED, LISTEN
};
static const tcp_state_t passive_server[] = { SYN_RCVD, ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSED, LISTEN };

static void client_first(void)
{
    peers_init();
    record_states();
    peers_connect();
    peers_close_in_turn();
    check_states("client", &client_states, active_client);
    check_states("server", &server_states, passive_server);
    peers_done();
}

static void server_first(void)
{
    peers_init();
    record_states();
    peers_connect();
    chitcp_tester_server_close(&tester);
    CHECK(chitcp_tester_server_wait_for_state(&tester, FIN_WAIT_2) == CHITCP_OK, "the server");
    CHECK(chitcp_tester_client_wait_for_state(&tester, CLOSE_WAIT) == CHITCP_OK, "the client");
    chitcp_tester_client_close(&tester);
    CHECK(chitcp_tester_client_wait_for_state(&tester, CLOSED) == CHITCP_OK, "the client");
    CHECK(chitcp_tester_server_wait_for_state(&tester, CLOSED) == CHITCP_OK, "the server");
    check_states("client", &client_states, passive_client);
    check_states("server", &server_states, active_server);
    peers_done();
}

/* Both FINs wait until both are about to leave: each end has then sent its own before it sees the other's. */
static pthread_mutex_t crossing = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t both_are_there = PTHREAD_COND_INITIALIZER;
static bool client_is_there, server_is_there;

static enum chitcpd_debug_response cross(bool *is_there, const debug_socket_state_t *state)
{
    if (state == NULL || state->tcp_state != FIN_WAIT_1) return DBG_RESP_NONE;
    pthread_mutex_lock(&crossing);
    *is_there = true;
    pthread_cond_broadcast(&both_are_there);
    while (!client_is_there || !server_is_there) pthread_cond_wait(&both_are_there, &crossing);
    pthread_mutex_unlock(&crossing);
    return DBG_RESP_NONE;
}

static enum chitcpd_debug_response crossing_client(int sockfd, enum chitcpd_debug_event event,
    debug_socket_state_t *state, debug_socket_state_t *saved, int new_sockfd)
{
    if (event == DBG_EVT_OUTGOING_PACKET) return cross(&client_is_there, state);
    return record_client(sockfd, event, state, saved, new_sockfd);
}

static enum chitcpd_debug_response crossing_server(int sockfd, enum chitcpd_debug_event event,
    debug_socket_state_t *state, debug_socket_state_t *saved, int new_sockfd)
{
    if (event == DBG_EVT_OUTGOING_PACKET) return cross(&server_is_there, state);
    return record_server(sockfd, event, state, saved, new_sockfd);
}

static void simultaneous(void)
{
    static const tcp_state_t client[] = { SYN_SENT, ESTABLISHED, FIN_WAIT_1, CLOSING, TIME_WAIT, CLOSED, LISTEN };
    static const tcp_state_t server[] = { SYN_RCVD, ESTABLISHED, FIN_WAIT_1, CLOSING, TIME_WAIT, CLOSED, LISTEN };
    int events = DBG_EVT_PENDING_CONNECTION | DBG_EVT_TCP_STATE_CHANGE | DBG_EVT_OUTGOING_PACKET;
    peers_init();
    chitcp_tester_client_set_debug(&tester, crossing_client, events);
    chitcp_tester_server_set_debug(&tester, crossing_server, events);
    peers_connect();
    chitcp_tester_client_close(&tester);
    chitcp_tester_server_close(&tester);
    CHECK(chitcp_tester_client_wait_for_state(&tester, CLOSED) == CHITCP_OK, "the client");
    CHECK(chitcp_tester_server_wait_for_state(&tester, CLOSED) == CHITCP_OK, "the server");
    check_states("client", &client_states, client);
    check_states("server", &server_states, server);
    peers_done();
}

/* The variables when all is over: both FINs are counted and acknowledged. */
static void variables(void)
{
    int bytes = 1000;
    peers_init();
    record_states();
    chitcp_tester_client_run_set(&tester, send_pattern, &bytes);
    chitcp_tester_server_run_set(&tester, receive_pattern, &bytes);
    peers_connect();
    peers_run();
    peers_close_in_turn();
    check_states("client", &client_states, active_client);
    if (client_states.count == 6) {
        const debug_socket_state_t *last = &client_states.seen[4];
        CHECK(last->SND_UNA == last->ISS + 1002, "SYN, 1000 bytes and FIN are acknowledged, not %u", last->SND_UNA - last->ISS);
        CHECK(last->SND_NXT == last->SND_UNA, "nothing is outstanding");
        CHECK(last->RCV_NXT == last->IRS + 2, "SYN and FIN came, not %u", last->RCV_NXT - last->IRS);
    }
    peers_done();
}

/* Reads to the end of the stream, then sends, then closes. */
static int answer_after_end(int sockfd, void *args)
{
    char bytes[64];
    int count = chitcp_socket_recv(sockfd, bytes, sizeof bytes);
    CHECK(count == 5 && memcmp(bytes, "query", 5) == 0, "the server got %d bytes", count);
    (void) args;
    CHECK(chitcp_socket_send(sockfd, "answer", 6) == 6, "send: %s", strerror(errno));
    return 0;
}

static int ask_and_end(int sockfd, void *args)
{
    char bytes[64];
    (void) args;
    CHECK(chitcp_socket_send(sockfd, "query", 5) == 5, "send: %s", strerror(errno));
    CHECK(chisocket_shutdown(sockfd, SHUT_WR) == 0, "shutdown: %s", strerror(errno));
    int count = chitcp_socket_recv(sockfd, bytes, 6);
    CHECK(count == 6 && memcmp(bytes, "answer", 6) == 0, "the client got %d bytes", count);
    return 0;
}

static void half_close(void)
{
    peers_init();
    chitcp_tester_client_run_set(&tester, ask_and_end, NULL);
    chitcp_tester_server_run_set(&tester, answer_after_end, NULL);
    peers_connect();
    peers_run();
    chitcp_tester_server_close(&tester);
    chitcp_tester_client_close(&tester);
    CHECK(chitcp_tester_client_wait_for_state(&tester, CLOSED) == CHITCP_OK, "the client");
    CHECK(chitcp_tester_server_wait_for_state(&tester, CLOSED) == CHITCP_OK, "the server");
    peers_done();
}

/* What was sent before close arrives, and then the end of the stream. */
static int expect_all_and_end(int sockfd, void *args)
{
    char byte;
    receive_pattern(sockfd, args);
    CHECK(chisocket_recv(sockfd, &byte, 1, 0) == 0, "the end of the stream");
    return 0;
}

static void close_after_send(void)
{
    int bytes = 32768;
    peers_init();
    chitcp_tester_client_run_set(&tester, send_pattern, &bytes);
    chitcp_tester_server_run_set(&tester, expect_all_and_end, &bytes);
    peers_connect();
    chitcp_tester_client_run(&tester);
    chitcp_tester_client_close(&tester);
    chitcp_tester_server_run(&tester);
    CHECK(chitcp_tester_client_exit(&tester) == CHITCP_OK, "the client");
    CHECK(chitcp_tester_server_exit(&tester) == CHITCP_OK, "the server");
    chitcp_tester_free(&tester);
}

/* RFC 9293 3.10.4 with RFC 2525 2.17: closing with bytes unread resets. */
static int expect_reset(int sockfd, void *args)
{
    char byte;
    (void) args;
    ssize_t n = chisocket_recv(sockfd, &byte, 1, 0);
    CHECK(n == -1 && errno == ECONNRESET, "recv answers %zd, %s", n, strerror(errno));
    return 0;
}

/* Waits for a byte without taking it. */
static int seen(int sockfd, void *args)
{
    char byte;
    (void) args;
    CHECK(chisocket_recv(sockfd, &byte, 1, MSG_PEEK) == 1, "peek: %s", strerror(errno));
    return 0;
}

static void reset(void)
{
    int bytes = 1000;
    peers_init();
    chitcp_tester_client_run_set(&tester, send_pattern, &bytes);
    peers_connect();
    chitcp_tester_client_run(&tester);
    chitcp_tester_client_run_set(&tester, expect_reset, NULL);
    chitcp_tester_client_run(&tester);
    chitcp_tester_server_run_set(&tester, seen, NULL);
    chitcp_tester_server_run(&tester);
    chitcp_tester_server_close(&tester);
    CHECK(chitcp_tester_server_wait_for_state(&tester, CLOSED) == CHITCP_OK, "the server");
    CHECK(chitcp_tester_client_wait_for_state(&tester, CLOSED) == CHITCP_OK, "the client");
    peers_done();
}

const struct acceptance_case termination_cases[] = {
    { "termination: the client closes first", "", client_first },
    { "termination: the server closes first", "", server_first },
    { "termination: both close at once", "", simultaneous },
    { "termination: variables count both FINs", "", variables },
    { "termination: half-closed, the other half still carries data", "", half_close },
    { "termination: everything sent before close arrives", "", close_after_send },
    { "termination: closing with bytes unread resets", "", reset },
    { NULL, NULL, NULL },
};
