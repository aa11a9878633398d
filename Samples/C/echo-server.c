/* An echo server over chiTCP: sends back what each client sends, one client after another.
 * usage: echo-server [-s] [-v] [-p PORT]
 *     -s  step by step, with one client    -v  print what comes    -p  the port (7) */
#include <chitcp/addr.h>
#include <chitcp/socket.h>
#include <chitcp/utils.h>

#include <stdio.h>
#include <stdlib.h>

#include "step.h"

static int is_verbose;

static int echo(int connection)
{
    char buffer[16384];
    ssize_t count;
    while ((count = chisocket_recv(connection, buffer, sizeof buffer, 0)) > 0) {
        if (is_verbose) {
            printf("received: ");
            fwrite(buffer, 1, (size_t) count, stdout);
            putchar('\n');
        }
        if (chitcp_socket_send(connection, buffer, (int) count) < 0) return -1;
    }
    return (int) count;
}

/* The port in `text`; 0 if it is none. */
static uint16_t port_of(const char *text)
{
    char *end;
    long port = strtol(text, &end, 10);
    return *end == '\0' && port > 0 && port < 65536 ? (uint16_t) port : 0;
}

static int usage(const char *name)
{
    fprintf(stderr, "usage: %s [-s] [-v] [-p PORT]\n", name);
    return 64;
}

/* Accepts a client, echoes, and closes. 0, or -1 with errno. */
static int serve(int listener)
{
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    char text[64];
    step("accept a connection");
    int connection = chisocket_accept(listener, (struct sockaddr *) &peer, &length);
    if (connection < 0) return errno == EINTR ? 0 : -1;
    printf("connected: %s\n", chitcp_addr_str((struct sockaddr *) &peer, text, sizeof text));
    fflush(stdout);
    if (echo(connection) < 0) perror("echo");
    printf("the client has finished\n");
    step("close the connection");
    chisocket_close(connection);
    return 0;
}

int main(int argc, char **argv)
{
    uint16_t port = 7;
    for (int option; (option = getopt(argc, argv, "svp:")) != -1;) {
        switch (option) {
        case 's': is_stepping = 1; break;
        case 'v': is_verbose = 1; break;
        case 'p': port = port_of(optarg); break;
        default: return usage(argv[0]);
        }
    }
    if (port == 0 || optind != argc) return usage(argv[0]);
    struct sockaddr_in local = { .sin_family = AF_INET, .sin_port = htons(port) };
    int reuse = 1;
    step("create the socket");
    int listener = chisocket_socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0) { perror("socket"); return 1; }
    chisocket_setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
    step("bind it");
    if (chisocket_bind(listener, (struct sockaddr *) &local, sizeof local) < 0) { perror("bind"); return 1; }
    step("listen");
    if (chisocket_listen(listener, 16) < 0) { perror("listen"); return 1; }
    printf("listening on port %d\n", port);
    fflush(stdout);
    do {
        if (serve(listener) < 0) { perror("accept"); return 1; }
    } while (!is_stepping);
    step("close the listening socket");
    chisocket_close(listener);
    step("end");
    return 0;
}
