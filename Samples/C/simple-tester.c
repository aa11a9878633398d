/* Takes a server and a client through a whole connection and prints each change of state with the variables it left.
 * usage: simple-tester        (the daemon is that of CHITCPD_SOCK; see chitcp/tester.h for CHITCP_TESTER_ADDRESS) */
#include <chitcp/debug_api.h>
#include <chitcp/socket.h>
#include <chitcp/tester.h>
#include <chitcp/utils.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char message[] = "Hello, chiTCP!";

/* Runs at each breakpoint; the state kept is that of the last change. */
static enum chitcpd_debug_response print_change(int sockfd, enum chitcpd_debug_event event, debug_socket_state_t *state,
    debug_socket_state_t *last, int new_sockfd)
{
    if (event == DBG_EVT_PENDING_CONNECTION) {
        printf("socket %d: a connection comes in, it will be socket %d\n", sockfd, new_sockfd);
        return DBG_RESP_ACCEPT_MONITOR;
    }
    printf("socket %d: %11s -> %-11s  SND.UNA %10u  SND.NXT %10u  RCV.NXT %10u  SND.WND %7u  RCV.WND %7u\n", sockfd,
        last == NULL ? "CLOSED" : tcp_str(last->tcp_state), tcp_str(state->tcp_state), state->SND_UNA, state->SND_NXT,
        state->RCV_NXT, state->SND_WND, state->RCV_WND);
    fflush(stdout);
    chitcpd_debug_save_socket_state(state);
    return DBG_RESP_NONE;
}

static int send_message(int sockfd, void *args)
{
    (void) args;
    if (chitcp_socket_send(sockfd, message, sizeof message - 1) < 0) perror("send");
    else printf("socket %d: sent '%s'\n", sockfd, message);
    return 0;
}

static int receive_message(int sockfd, void *args)
{
    char text[sizeof message] = "";
    (void) args;
    if (chitcp_socket_recv(sockfd, text, sizeof text - 1) < 0) perror("recv");
    else printf("socket %d: received '%s'\n", sockfd, text);
    return 0;
}

int main(void)
{
    chitcp_tester_t tester;
    EXIT_ON_ERROR(chitcp_tester_init(&tester), "cannot make a tester");
    chitcp_tester_server_set_debug(&tester, print_change, DBG_EVT_PENDING_CONNECTION | DBG_EVT_TCP_STATE_CHANGE);
    chitcp_tester_client_set_debug(&tester, print_change, DBG_EVT_TCP_STATE_CHANGE);
    chitcp_tester_client_run_set(&tester, send_message, NULL);
    chitcp_tester_server_run_set(&tester, receive_message, NULL);
    EXIT_ON_ERROR(chitcp_tester_start(&tester), "cannot start: is chitcpd running?");

    EXIT_ON_ERROR(chitcp_tester_server_listen(&tester), "the server does not listen");
    chitcp_tester_server_wait_for_state(&tester, LISTEN);
    EXIT_ON_ERROR(chitcp_tester_server_accept(&tester), "the server does not accept");
    EXIT_ON_ERROR(chitcp_tester_client_connect(&tester), "the client does not connect");
    chitcp_tester_client_wait_for_state(&tester, ESTABLISHED);
    chitcp_tester_server_wait_for_state(&tester, ESTABLISHED);

    chitcp_tester_client_run(&tester);
    chitcp_tester_server_run(&tester);

    chitcp_tester_client_close(&tester);
    /* Without this both would often close at once. */
    chitcp_tester_server_wait_for_state(&tester, CLOSE_WAIT);
    chitcp_tester_server_close(&tester);
    chitcp_tester_client_wait_for_state(&tester, CLOSED);
    chitcp_tester_server_wait_for_state(&tester, CLOSED);

    EXIT_ON_ERROR(chitcp_tester_client_exit(&tester), "the client failed");
    EXIT_ON_ERROR(chitcp_tester_server_exit(&tester), "the server failed");
    chitcp_tester_free(&tester);
    return 0;
}
