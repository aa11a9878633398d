/* Data transfer: around segment and buffer sizes, in each direction, to slow readers, over long round trips. */
#include "peers.h"

#include <pthread.h>
#include <stdlib.h>

/* One function per size and direction: 536 is the segment size without options, 4096 the original's buffer. */
#define SIZES(each) each(1) each(10) each(535) each(536) each(537) each(1072) each(4096) each(4097) each(32768)

#define FUNCTIONS(bytes) \
    static void client_sends_##bytes(void) { transfer(send_pattern, receive_pattern, bytes); } \
    static void server_sends_##bytes(void) { transfer(receive_pattern, send_pattern, bytes); } \
    static void echo_##bytes(void) { transfer(send_and_receive_pattern, echo_pattern, bytes); }
SIZES(FUNCTIONS)

/* Reads only after two seconds; by then the sender has sent what it may. */
static int receive_late(int sockfd, void *args)
{
    pause_milliseconds(2000);
    return receive_pattern(sockfd, args);
}

#define SLOW_SIZES(each) each(4096) each(4097) each(4098) each(4632) each(8192) each(8728)
#define SLOW_FUNCTION(bytes) static void slow_##bytes(void) { transfer(send_pattern, receive_late, bytes); }
SLOW_SIZES(SLOW_FUNCTION)

/* A reader so slow that the sender meets a closed window, which must open again. */
enum { LARGE = 3 << 20 };

static int client_socket = -1, is_window_closed;

static bool window_closes(void *unused)
{
    (void) unused;
    if (client_socket < 0) return false;
    debug_socket_state_t *state = chitcpd_get_socket_state(client_socket, FALSE);
    if (state == NULL) return false;
    /* All that the window takes is outstanding. */
    bool is_closed = state->tcp_state == ESTABLISHED && state->SND_NXT - state->SND_UNA >= state->SND_WND;
    free(state);
    return is_closed;
}

static int send_much(int sockfd, void *args)
{
    client_socket = sockfd;
    return send_pattern(sockfd, args);
}

static int receive_when_closed(int sockfd, void *args)
{
    wait_until("a closed window", window_closes, NULL);
    is_window_closed = 1;
    return receive_pattern(sockfd, args);
}

static void closed_window(void)
{
    transfer(send_much, receive_when_closed, LARGE);
    CHECK(is_window_closed, "the window closed");
}

/* Both directions at once, each larger than every buffer on the way. */
static void *receive_on_thread(void *argument)
{
    int size = LARGE;
    receive_pattern(*(int *) argument, &size);
    return NULL;
}

static int send_and_receive_at_once(int sockfd, void *args)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, receive_on_thread, &sockfd) == 0, "a thread");
    send_pattern(sockfd, args);
    pthread_join(thread, NULL);
    return 0;
}

static void both_ways(void) { transfer(send_and_receive_at_once, send_and_receive_at_once, LARGE); }

/* RFC 6298 has to find the round-trip time, or everything is sent twice. */
static void round_trips(void)
{
    int bytes = 16384;
    peers_init();
    chitcp_tester_client_run_set(&tester, send_pattern, &bytes);
    chitcp_tester_server_run_set(&tester, receive_pattern, &bytes);
    peers_connect();
    peers_run();
    peers_close_in_turn();
    peers_done();
}

#define CASES(bytes) \
    { "transfer: the client sends " #bytes, "", client_sends_##bytes }, \
    { "transfer: the server sends " #bytes, "", server_sends_##bytes }, \
    { "transfer: " #bytes " and back", "", echo_##bytes },
#define SLOW_CASE(bytes) { "slow reader: " #bytes, "--send-buffer 4096 --receive-buffer 4096", slow_##bytes },

const struct acceptance_case transfer_cases[] = {
    SIZES(CASES)
    SLOW_SIZES(SLOW_CASE)
    { "slow reader: the window closes and opens", "--receive-buffer-max off", closed_window },
    { "transfer: 3 MiB each way at once", "", both_ways },
    { "round trip: 0.75 s", "--delay 375ms", round_trips },
    { "round trip: 1.5 s", "--delay 750ms", round_trips },
    { "round trip: 3 s", "--delay 1500ms", round_trips },
    { NULL, NULL, NULL },
};
