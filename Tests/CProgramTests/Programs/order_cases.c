/* Segments that a debug handler delivers late, twice, or in another order. */
#include "peers.h"

#include <chitcp/socket.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* What happens to the segments that reach the server in ESTABLISHED, one after the other; NONE to all further ones. */
static struct {
    const enum chitcpd_debug_response *responses;
    int count, next;
    pthread_mutex_t lock;
} plan = { .lock = PTHREAD_MUTEX_INITIALIZER };

static enum chitcpd_debug_response follow_plan(int sockfd, enum chitcpd_debug_event event, debug_socket_state_t *state,
    debug_socket_state_t *saved, int new_sockfd)
{
    (void) sockfd;
    (void) saved;
    (void) new_sockfd;
    if (event == DBG_EVT_PENDING_CONNECTION) return DBG_RESP_ACCEPT_MONITOR;
    if (event != DBG_EVT_INCOMING_PACKET || state == NULL || state->tcp_state != ESTABLISHED) return DBG_RESP_NONE;
    pthread_mutex_lock(&plan.lock);
    enum chitcpd_debug_response response = plan.next < plan.count ? plan.responses[plan.next] : DBG_RESP_NONE;
    plan.next++;
    pthread_mutex_unlock(&plan.lock);
    return response;
}

/* A connection, and how many bytes it shall have sent. */
struct progress { int sockfd; uint32_t sent; };

static bool has_sent(void *argument)
{
    const struct progress *progress = argument;
    debug_socket_state_t *state = chitcpd_get_socket_state(progress->sockfd, FALSE);
    if (state == NULL) return false;
    bool has = state->SND_NXT - state->ISS - 1 >= progress->sent;
    free(state);
    return has;
}

/* Sends six pieces, each as a segment of its own. */
enum { PIECE = 500, PIECES = 6 };

static int send_in_pieces(int sockfd, void *args)
{
    int on = 1;
    (void) args;
    CHECK(chisocket_setsockopt(sockfd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0, "TCP_NODELAY");
    for (int i = 0; i < PIECES; i++) {
        char piece[PIECE];
        memset(piece, 'a' + i, sizeof piece);
        CHECK(chisocket_send(sockfd, piece, sizeof piece, 0) == sizeof piece, "send: %s", strerror(errno));
        struct progress progress = { .sockfd = sockfd, .sent = (uint32_t) (i + 1) * PIECE };
        wait_until("a segment on its way", has_sent, &progress);
    }
    return 0;
}

static int receive_pieces(int sockfd, void *args)
{
    char piece[PIECE];
    (void) args;
    for (int i = 0; i < PIECES; i++) {
        size_t received = 0;
        while (received < sizeof piece) {
            ssize_t n = chisocket_recv(sockfd, piece + received, sizeof piece - received, 0);
            CHECK(n > 0, "recv in piece %d: %s", i, strerror(errno));
            if (n <= 0) return 0;
            received += (size_t) n;
        }
        for (size_t at = 0; at < sizeof piece; at++)
            if (piece[at] != 'a' + i) {
                CHECK(false, "byte %zu of piece %d is %c", at, i, piece[at]);
                return 0;
            }
    }
    return 0;
}

static void run_plan(const enum chitcpd_debug_response *responses, int count)
{
    plan.responses = responses;
    plan.count = count;
    peers_init();
    CHECK(chitcp_tester_server_set_debug(
              &tester, follow_plan, DBG_EVT_PENDING_CONNECTION | DBG_EVT_INCOMING_PACKET) == CHITCP_OK, "the handler");
    chitcp_tester_client_run_set(&tester, send_in_pieces, NULL);
    chitcp_tester_server_run_set(&tester, receive_pieces, NULL);
    peers_connect();
    peers_run();
    peers_done();
    CHECK(plan.next >= count, "%d segments came, of %d with a plan", plan.next, count);
}

/* Letters for plans: pass, withhold, deliver and draw one, deliver and keep a copy, lose. */
#define P DBG_RESP_NONE
#define W DBG_RESP_WITHHOLD
#define D DBG_RESP_DRAW_WITHHELD
#define C DBG_RESP_DUPLICATE
#define L DBG_RESP_DROP

#define PLANS(each) \
    each(swapped, "two swapped", W, D) \
    each(one_late, "one late", W, P, D) \
    each(two_late, "two late", W, W, D, D) \
    each(three_late, "three late", W, W, W, D, D, D) \
    each(late_in_the_middle, "late in the middle", P, W, P, D) \
    each(last_first, "the last first", W, W, W, W, P, D) \
    each(never_drawn, "one withheld for good", W, P, P) \
    each(twice, "one twice", C, D) \
    each(twice_later, "one twice, much later", C, P, P, P, D) \
    each(all_twice, "several twice", C, C, C, D, D, D) \
    each(late_and_lost, "one late, one lost", W, L, D) \
    each(late_and_twice, "one late, one twice", W, C, D, D) \
    each(nothing_to_draw, "nothing to draw", D, D, P)

#define FUNCTION(name, text, ...) \
    static void name(void) \
    { \
        static const enum chitcpd_debug_response responses[] = { __VA_ARGS__ }; \
        run_plan(responses, sizeof responses / sizeof *responses); \
    }
PLANS(FUNCTION)

#define CASE(name, text, ...) { "order: " text, "", name },

const struct acceptance_case order_cases[] = {
    PLANS(CASE)
    { NULL, NULL, NULL },
};
