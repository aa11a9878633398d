/* Segments that a debug handler drops: each has to be sent again. */
#include "peers.h"

#include <pthread.h>
#include <stdlib.h>

/* Which segments are dropped: up to `count` at a connection in `state`, or each with `probability` while ESTABLISHED. */
static struct {
    tcp_state_t state;
    int count;
    double probability;
    unsigned seed;
    int dropped;
    pthread_mutex_t lock;
} loss = { .lock = PTHREAD_MUTEX_INITIALIZER };

static enum chitcpd_debug_response drop(int sockfd, enum chitcpd_debug_event event, debug_socket_state_t *state,
    debug_socket_state_t *saved, int new_sockfd)
{
    (void) sockfd;
    (void) saved;
    (void) new_sockfd;
    if (event == DBG_EVT_PENDING_CONNECTION) return DBG_RESP_ACCEPT_MONITOR;
    tcp_state_t now = state == NULL ? LISTEN : state->tcp_state;
    CHECK(IS_VALID_TCP_STATE(now), "state %d", (int) now);
    enum chitcpd_debug_response response = DBG_RESP_NONE;
    pthread_mutex_lock(&loss.lock);
    bool is_lost = loss.probability > 0
        ? now == ESTABLISHED && rand_r(&loss.seed) < loss.probability * RAND_MAX
        : now == loss.state && loss.dropped < loss.count;
    if (is_lost) {
        loss.dropped++;
        response = DBG_RESP_DROP;
    }
    pthread_mutex_unlock(&loss.lock);
    return response;
}

enum side { CLIENT, SERVER };

/* Prepares a tester one of whose sides drops `count` segments on an event in a state. */
static void lose(enum side side, enum chitcpd_debug_event event, tcp_state_t state, int count)
{
    int events = DBG_EVT_PENDING_CONNECTION | event;
    loss.state = state;
    loss.count = count;
    peers_init();
    int result = side == CLIENT ? chitcp_tester_client_set_debug(&tester, drop, event)
                                : chitcp_tester_server_set_debug(&tester, drop, events);
    CHECK(result == CHITCP_OK, "the handler");
}

/* All that was to be dropped was, and no more. */
static void check_dropped(void) { CHECK(loss.dropped == loss.count, "dropped %d of %d", loss.dropped, loss.count); }

static void lose_in_set_up(enum side side, enum chitcpd_debug_event event, tcp_state_t state, int count)
{
    lose(side, event, state, count);
    peers_connect();
    peers_done();
    check_dropped();
}

static void syn(void) { lose_in_set_up(CLIENT, DBG_EVT_OUTGOING_PACKET, SYN_SENT, 1); }
static void two_syns(void) { lose_in_set_up(CLIENT, DBG_EVT_OUTGOING_PACKET, SYN_SENT, 2); }
static void syn_at_listener(void) { lose_in_set_up(SERVER, DBG_EVT_INCOMING_PACKET, LISTEN, 1); }
static void two_syns_at_listener(void) { lose_in_set_up(SERVER, DBG_EVT_INCOMING_PACKET, LISTEN, 2); }
static void syn_ack(void) { lose_in_set_up(CLIENT, DBG_EVT_INCOMING_PACKET, SYN_SENT, 1); }
static void syn_ack_leaving(void) { lose_in_set_up(SERVER, DBG_EVT_OUTGOING_PACKET, SYN_RCVD, 1); }

/* The final ACK is lost; the data that follows acknowledges the SYN as well. */
static void ack(void)
{
    int bytes = 15;
    lose(SERVER, DBG_EVT_INCOMING_PACKET, SYN_RCVD, 1);
    chitcp_tester_client_run_set(&tester, send_pattern, &bytes);
    chitcp_tester_server_run_set(&tester, receive_pattern, &bytes);
    peers_start_connecting();
    CHECK(chitcp_tester_client_wait_for_state(&tester, ESTABLISHED) == CHITCP_OK, "the client");
    chitcp_tester_client_run(&tester);
    chitcp_tester_server_run(&tester);
    CHECK(chitcp_tester_server_wait_for_state(&tester, ESTABLISHED) == CHITCP_OK, "the server");
    peers_done();
    check_dropped();
}

static void lose_fin(enum side side, tcp_state_t state, int count)
{
    lose(side, DBG_EVT_INCOMING_PACKET, state, count);
    peers_connect();
    peers_close_in_turn();
    peers_done();
    check_dropped();
}

static void first_fin(void) { lose_fin(SERVER, ESTABLISHED, 1); }
static void second_fin(void) { lose_fin(CLIENT, FIN_WAIT_2, 1); }
static void fin_acknowledgment(void) { lose_fin(CLIENT, FIN_WAIT_1, 1); }
static void last_acknowledgment(void) { lose_fin(SERVER, LAST_ACK, 1); }

static bool has_dropped_all(void *unused)
{
    (void) unused;
    pthread_mutex_lock(&loss.lock);
    bool has = loss.dropped >= loss.count;
    pthread_mutex_unlock(&loss.lock);
    return has;
}

static void lose_data(enum side side, enum chitcpd_debug_event event, int count, int bytes)
{
    lose(side, event, ESTABLISHED, count);
    chitcp_tester_client_run_set(&tester, send_pattern, &bytes);
    chitcp_tester_server_run_set(&tester, receive_pattern, &bytes);
    peers_connect();
    peers_run();
    wait_until("the losses", has_dropped_all, NULL);
    peers_done();
    check_dropped();
}

static void one_segment(void) { lose_data(SERVER, DBG_EVT_INCOMING_PACKET, 1, 15); }
static void same_segment_twice(void) { lose_data(SERVER, DBG_EVT_INCOMING_PACKET, 2, 15); }
static void same_segment_three_times(void) { lose_data(SERVER, DBG_EVT_INCOMING_PACKET, 3, 15); }
static void first_of_many(void) { lose_data(SERVER, DBG_EVT_INCOMING_PACKET, 1, 2680); }
static void data_leaving(void) { lose_data(CLIENT, DBG_EVT_OUTGOING_PACKET, 1, 2680); }
static void acknowledgment(void) { lose_data(CLIENT, DBG_EVT_INCOMING_PACKET, 1, 2680); }

/* 32 KiB there, and back as well, with losses at random. */
static void lose_at_random(enum side side, double probability, unsigned seed, bool is_echo)
{
    int bytes = 32768;
    loss.probability = probability;
    loss.seed = seed;
    lose(side, DBG_EVT_INCOMING_PACKET, ESTABLISHED, 0);
    chitcp_tester_client_run_set(&tester, is_echo ? send_and_receive_pattern : send_pattern, &bytes);
    chitcp_tester_server_run_set(&tester, is_echo ? echo_pattern : receive_pattern, &bytes);
    peers_connect();
    peers_run();
    peers_done();
}

#define SHARES(each) each(2_5, 0.025) each(5, 0.05) each(10, 0.1) each(25, 0.25)
#define FUNCTIONS(name, share) \
    static void random_##name##_a(void) { lose_at_random(SERVER, share, 23300, false); } \
    static void random_##name##_b(void) { lose_at_random(SERVER, share, 9293, false); } \
    static void random_##name##_acknowledgments(void) { lose_at_random(CLIENT, share, 6298, false); } \
    static void random_##name##_echo(void) { lose_at_random(SERVER, share, 5681, true); }
SHARES(FUNCTIONS)

#define CASES(name, share) \
    { "loss: " #share " of the data, one way", "", random_##name##_a }, \
    { "loss: " #share " of the data, other seed", "", random_##name##_b }, \
    { "loss: " #share " of the acknowledgments", "", random_##name##_acknowledgments }, \
    { "loss: " #share ", there and back", "", random_##name##_echo },

const struct acceptance_case loss_cases[] = {
    { "loss: the SYN", "", syn },
    { "loss: the SYN twice", "", two_syns },
    { "loss: the SYN at the listener", "", syn_at_listener },
    { "loss: the SYN twice at the listener", "", two_syns_at_listener },
    { "loss: the SYN-ACK", "", syn_ack },
    { "loss: the SYN-ACK on leaving", "", syn_ack_leaving },
    { "loss: the ACK of the SYN-ACK", "", ack },
    { "loss: the first FIN", "", first_fin },
    { "loss: the second FIN", "", second_fin },
    { "loss: the first FIN's acknowledgment", "", fin_acknowledgment },
    { "loss: the second FIN's acknowledgment", "", last_acknowledgment },
    { "loss: a segment", "", one_segment },
    { "loss: a segment twice", "", same_segment_twice },
    { "loss: a segment three times", "", same_segment_three_times },
    { "loss: the first segment of several", "", first_of_many },
    { "loss: data on leaving", "", data_leaving },
    { "loss: an acknowledgment", "", acknowledgment },
    SHARES(CASES)
    { NULL, NULL, NULL },
};
