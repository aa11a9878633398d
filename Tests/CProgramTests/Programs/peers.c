/* peers.h */
#include "peers.h"

#include <chitcp/socket.h>
#include <chitcp/utils.h>
#include <stdlib.h>
#include <string.h>

chitcp_tester_t tester;

void peers_init(void) { REQUIRE(chitcp_tester_init(&tester) == CHITCP_OK, "the tester"); }

void peers_start_connecting(void)
{
    REQUIRE(chitcp_tester_start(&tester) == CHITCP_OK, "start");
    REQUIRE(chitcp_tester_server_listen(&tester) == CHITCP_OK, "listen");
    REQUIRE(chitcp_tester_server_wait_for_state(&tester, LISTEN) == CHITCP_OK, "LISTEN");
    REQUIRE(chitcp_tester_server_accept(&tester) == CHITCP_OK, "accept");
    REQUIRE(chitcp_tester_client_connect(&tester) == CHITCP_OK, "connect");
}

void peers_connect(void)
{
    peers_start_connecting();
    REQUIRE(chitcp_tester_client_wait_for_state(&tester, ESTABLISHED) == CHITCP_OK, "the client");
    REQUIRE(chitcp_tester_server_wait_for_state(&tester, ESTABLISHED) == CHITCP_OK, "the server");
}

void peers_run(void)
{
    CHECK(chitcp_tester_server_run(&tester) == CHITCP_OK, "the server");
    CHECK(chitcp_tester_client_run(&tester) == CHITCP_OK, "the client");
}

void peers_done(void)
{
    CHECK(chitcp_tester_client_exit(&tester) == CHITCP_OK, "the client");
    CHECK(chitcp_tester_server_exit(&tester) == CHITCP_OK, "the server");
    CHECK(chitcp_tester_free(&tester) == CHITCP_OK, "the tester");
}

void peers_close_in_turn(void)
{
    CHECK(chitcp_tester_client_close(&tester) == CHITCP_OK, "the client");
    CHECK(chitcp_tester_client_wait_for_state(&tester, FIN_WAIT_2) == CHITCP_OK, "the client");
    CHECK(chitcp_tester_server_close(&tester) == CHITCP_OK, "the server");
    CHECK(chitcp_tester_server_wait_for_state(&tester, CLOSED) == CHITCP_OK, "the server");
    CHECK(chitcp_tester_client_wait_for_state(&tester, CLOSED) == CHITCP_OK, "the client");
}

static unsigned char pattern(int place) { return (unsigned char) (place * 31 + (place >> 8)); }

static void fill(unsigned char *bytes, int count)
{
    for (int i = 0; i < count; i++) bytes[i] = pattern(i);
}

static void check(const unsigned char *bytes, int count)
{
    for (int i = 0; i < count; i++)
        if (bytes[i] != pattern(i)) {
            CHECK(false, "byte %d is %d, not %d", i, bytes[i], pattern(i));
            return;
        }
}

int send_pattern(int sockfd, void *args)
{
    int count = *(int *) args, sent = 0;
    unsigned char *bytes = malloc((size_t) count);
    fill(bytes, count);
    while (sent < count) {
        ssize_t n = chisocket_send(sockfd, bytes + sent, (size_t) (count - sent), 0);
        CHECK(n > 0, "send after %d bytes: %s", sent, strerror(errno));
        if (n <= 0) break;
        sent += (int) n;
    }
    free(bytes);
    return 0;
}

int receive_pattern(int sockfd, void *args)
{
    int count = *(int *) args;
    unsigned char *bytes = malloc((size_t) count);
    int received = chitcp_socket_recv(sockfd, bytes, count);
    CHECK(received == count, "received %d of %d bytes", received, count);
    if (received == count) check(bytes, count);
    free(bytes);
    return 0;
}

int send_and_receive_pattern(int sockfd, void *args)
{
    send_pattern(sockfd, args);
    return receive_pattern(sockfd, args);
}

int echo_pattern(int sockfd, void *args)
{
    int count = *(int *) args, echoed = 0;
    unsigned char piece[4096];
    while (echoed < count) {
        ssize_t n = chisocket_recv(sockfd, piece, sizeof piece, 0);
        CHECK(n > 0, "recv after %d bytes: %s", echoed, n == 0 ? "end of stream" : strerror(errno));
        if (n <= 0 || chitcp_socket_send(sockfd, piece, (int) n) != n) break;
        echoed += (int) n;
    }
    CHECK(echoed == count, "echoed %d of %d bytes", echoed, count);
    return 0;
}

void transfer(chitcp_tester_runnable client, chitcp_tester_runnable server, int bytes)
{
    peers_init();
    chitcp_tester_client_run_set(&tester, client, &bytes);
    chitcp_tester_server_run_set(&tester, server, &bytes);
    peers_connect();
    peers_run();
    peers_done();
}
