/* Connection set-up: states, variables, and what connect answers. */
#include "states.h"

#include <chitcp/addr.h>
#include <chitcp/socket.h>
#include <stdlib.h>
#include <string.h>

static void states(void)
{
    static const tcp_state_t client[] = { SYN_SENT, ESTABLISHED, LISTEN }, server[] = { SYN_RCVD, ESTABLISHED, LISTEN };
    peers_init();
    record_states();
    peers_connect();
    check_states("client", &client_states, client);
    check_states("server", &server_states, server);
    peers_done();
}

/* Connects with both ends recorded; false if what the checks need is missing. */
static bool record_set_up(void)
{
    peers_init();
    record_states();
    peers_connect();
    bool is_complete = client_states.count >= 2 && server_states.count >= 2;
    CHECK(is_complete, "%d and %d changes of state", client_states.count, server_states.count);
    return is_complete;
}

static void client_variables(void)
{
    if (!record_set_up()) return;
    const debug_socket_state_t *sent = &client_states.seen[0], *established = &client_states.seen[1];
    CHECK(sent->SND_UNA == sent->ISS, "SND.UNA %u, ISS %u", sent->SND_UNA, sent->ISS);
    CHECK(sent->SND_NXT == sent->ISS + 1, "SND.NXT %u, ISS %u", sent->SND_NXT, sent->ISS);
    CHECK(established->ISS == sent->ISS, "ISS %u, then %u", sent->ISS, established->ISS);
    CHECK(established->SND_UNA == established->SND_NXT, "the SYN is acknowledged");
    CHECK(established->SND_NXT == sent->ISS + 1, "only the SYN was sent");
    CHECK(established->RCV_NXT == established->IRS + 1, "RCV.NXT %u, IRS %u", established->RCV_NXT, established->IRS);
    CHECK(established->SND_WND > 0, "the server's window");
    CHECK(established->RCV_WND > 0, "the client's window");
    peers_done();
}

static void server_variables(void)
{
    if (!record_set_up()) return;
    const debug_socket_state_t *received = &server_states.seen[0], *established = &server_states.seen[1];
    CHECK(received->SND_UNA == received->ISS, "SND.UNA %u, ISS %u", received->SND_UNA, received->ISS);
    CHECK(received->SND_NXT == received->ISS + 1, "SND.NXT %u, ISS %u", received->SND_NXT, received->ISS);
    CHECK(received->RCV_NXT == received->IRS + 1, "RCV.NXT %u, IRS %u", received->RCV_NXT, received->IRS);
    /* RFC 9293 3.10.7.4: the acknowledgment is applied after the transition. */
    CHECK(established->SND_UNA == established->SND_NXT - 1, "SND.UNA %u, SND.NXT %u", established->SND_UNA,
        established->SND_NXT);
    CHECK(established->RCV_WND > 0, "the server's window");
    peers_done();
}

static void both_ends_agree(void)
{
    if (!record_set_up()) return;
    const debug_socket_state_t *client = &client_states.seen[1], *server = &server_states.seen[1];
    CHECK(client->ISS == server->IRS, "the client's ISS %u, the server's IRS %u", client->ISS, server->IRS);
    CHECK(server->ISS == client->IRS, "the server's ISS %u, the client's IRS %u", server->ISS, client->IRS);
    CHECK(client->SND_NXT == server->RCV_NXT, "what the client sends next is what the server expects");
    CHECK(server->SND_NXT == client->RCV_NXT, "what the server sends next is what the client expects");
    peers_done();
}

/* A chisocket, and the address of the case's daemon. */
static int new_socket(void)
{
    int made = chisocket_socket(AF_INET, SOCK_STREAM, 0);
    CHECK(made >= 0, "socket: %s", strerror(errno));
    return made;
}

static struct sockaddr_in daemon_address(const char *port)
{
    struct sockaddr_in address;
    CHECK(chitcp_addr_construct(getenv("CHITCP_TESTER_ADDRESS"), (char *) port, &address) == 0, "the address");
    return address;
}

static void refused(void)
{
    struct sockaddr_in address = daemon_address("9");
    int client = new_socket();
    CHECK(chisocket_connect(client, (struct sockaddr *) &address, sizeof address) == -1 && errno == ECONNREFUSED,
        "connect: %s", strerror(errno));
    CHECK(chisocket_close(client) == 0, "close: %s", strerror(errno));
}

static void names(void)
{
    struct sockaddr_in address = daemon_address("7"), own, peer, accepted;
    socklen_t length = sizeof own, peer_length = sizeof peer, accepted_length = sizeof accepted;
    char text[64];
    int listener = new_socket(), client = new_socket();
    CHECK(chisocket_bind(listener, (struct sockaddr *) &address, sizeof address) == 0, "bind: %s", strerror(errno));
    CHECK(chisocket_listen(listener, 5) == 0, "listen: %s", strerror(errno));
    CHECK(chisocket_connect(client, (struct sockaddr *) &address, sizeof address) == 0, "connect: %s", strerror(errno));
    int server = chisocket_accept(listener, (struct sockaddr *) &accepted, &accepted_length);
    CHECK(server >= 0, "accept: %s", strerror(errno));
    CHECK(chisocket_getsockname(client, (struct sockaddr *) &own, &length) == 0, "getsockname: %s", strerror(errno));
    CHECK(chisocket_getpeername(client, (struct sockaddr *) &peer, &peer_length) == 0, "getpeername");
    CHECK(chitcp_addr_port_cmp((struct sockaddr *) &own, (struct sockaddr *) &accepted) == 0, "accept gives %s",
        chitcp_addr_str((struct sockaddr *) &accepted, text, sizeof text));
    CHECK(chitcp_addr_port_cmp((struct sockaddr *) &peer, (struct sockaddr *) &address) == 0, "the peer is %s",
        chitcp_addr_str((struct sockaddr *) &peer, text, sizeof text));
    CHECK(ntohs(own.sin_port) >= 49152, "an ephemeral port, not %d", ntohs(own.sin_port));
    chisocket_close(server);
    chisocket_close(client);
    chisocket_close(listener);
}

/* Each call that makes no sense, and its errno. */
static void errors(void)
{
    struct sockaddr_in address = daemon_address("7");
    struct sockaddr *raw = (struct sockaddr *) &address;
    char byte = 0;
    int fresh = new_socket(), listener = new_socket(), other = new_socket(), connected = new_socket();
#define FAILS(call, first, second) do { \
        errno = 0; \
        int result = (int) (call); \
        CHECK(result == -1 && (errno == (first) || errno == (second)), #call " answers %d, %s", result, strerror(errno)); \
    } while (0)
    FAILS(chisocket_socket(AF_UNIX, SOCK_STREAM, 0), EAFNOSUPPORT, EAFNOSUPPORT);
    FAILS(chisocket_bind(999, raw, sizeof address), EBADF, EBADF);
    FAILS(chisocket_listen(0, 5), ENOTSOCK, ENOTSOCK);
    FAILS(chisocket_bind(fresh, raw, 3), EINVAL, EINVAL);
    FAILS(chisocket_accept(fresh, NULL, NULL), EINVAL, EINVAL);
    FAILS(chisocket_send(fresh, &byte, 1, 0), ENOTCONN, ENOTCONN);
    FAILS(chisocket_recv(fresh, &byte, 1, 0), ENOTCONN, ENOTCONN);
    CHECK(chisocket_bind(listener, raw, sizeof address) == 0, "bind: %s", strerror(errno));
    CHECK(chisocket_listen(listener, 5) == 0, "listen: %s", strerror(errno));
    FAILS(chisocket_bind(other, raw, sizeof address), EADDRINUSE, EADDRINUSE);
    FAILS(chisocket_bind(listener, raw, sizeof address), EBADF, EINVAL);
    FAILS(chisocket_recv(listener, &byte, 1, 0), ENOTCONN, ENOTCONN);
    FAILS(chisocket_send(listener, &byte, 1, 0), EOPNOTSUPP, ENOTCONN);
    CHECK(chisocket_connect(connected, raw, sizeof address) == 0, "connect: %s", strerror(errno));
    FAILS(chisocket_connect(connected, raw, sizeof address), EISCONN, EALREADY);
    FAILS(chisocket_accept(connected, NULL, NULL), EINVAL, EINVAL);
#undef FAILS
    chisocket_close(connected);
    chisocket_close(other);
    chisocket_close(listener);
    CHECK(chisocket_close(fresh) == 0, "close: %s", strerror(errno));
    CHECK(chisocket_close(fresh) == -1 && errno == EBADF, "closing twice: %s", strerror(errno));
}

/* Several clients at once; each connection is its own. */
static void several_clients(void)
{
    enum { CLIENTS = 8 };
    struct sockaddr_in address = daemon_address("7");
    int listener = new_socket(), clients[CLIENTS];
    CHECK(chisocket_bind(listener, (struct sockaddr *) &address, sizeof address) == 0, "bind: %s", strerror(errno));
    CHECK(chisocket_listen(listener, CLIENTS) == 0, "listen: %s", strerror(errno));
    for (int i = 0; i < CLIENTS; i++) {
        char number = (char) i;
        clients[i] = new_socket();
        CHECK(chisocket_connect(clients[i], (struct sockaddr *) &address, sizeof address) == 0, "connect %d", i);
        CHECK(chisocket_send(clients[i], &number, 1, 0) == 1, "send %d", i);
    }
    for (int i = 0; i < CLIENTS; i++) {
        char number = -1;
        int server = chisocket_accept(listener, NULL, NULL);
        CHECK(server >= 0, "accept %d: %s", i, strerror(errno));
        CHECK(chisocket_recv(server, &number, 1, 0) == 1, "recv %d", i);
        CHECK(number == i, "connection %d comes as number %d", number, i);
        chisocket_close(server);
        chisocket_close(clients[i]);
    }
    chisocket_close(listener);
}

const struct acceptance_case set_up_cases[] = {
    { "set-up: states of both ends", "", states },
    { "set-up: the client's variables", "", client_variables },
    { "set-up: the server's variables", "", server_variables },
    { "set-up: both ends agree on the numbers", "", both_ends_agree },
    { "set-up: a port nobody listens on", "", refused },
    { "set-up: names of both ends", "", names },
    { "set-up: calls that make no sense", "", errors },
    { "set-up: several clients", "", several_clients },
    { NULL, NULL, NULL },
};
