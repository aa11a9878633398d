/* An echo server over chiTCP: sends back what each client sends, one client after another.
 * usage: echo-server PORT */
#include <chitcp/addr.h>
#include <chitcp/socket.h>
#include <chitcp/utils.h>

#include <stdio.h>
#include <stdlib.h>

static int echo(int connection)
{
    char buffer[16384];
    ssize_t count;
    while ((count = chisocket_recv(connection, buffer, sizeof buffer, 0)) > 0)
        if (chitcp_socket_send(connection, buffer, (int) count) < 0) return -1;
    return (int) count;
}

int main(int argc, char **argv)
{
    int port = argc == 2 ? atoi(argv[1]) : 0;
    if (port < 1 || port > 65535) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return 64;
    }
    struct sockaddr_in local = { .sin_family = AF_INET, .sin_port = htons((uint16_t) port) };
    int listener = chisocket_socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0) { perror("socket"); return 1; }
    if (chisocket_bind(listener, (struct sockaddr *) &local, sizeof local) < 0) { perror("bind"); return 1; }
    if (chisocket_listen(listener, 16) < 0) { perror("listen"); return 1; }
    printf("listening on port %d\n", port);
    fflush(stdout);
    for (;;) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        char text[64];
        int connection = chisocket_accept(listener, (struct sockaddr *) &peer, &length);
        if (connection < 0) {
            if (errno == EINTR) continue;
            perror("accept");
            return 1;
        }
        printf("connected: %s\n", chitcp_addr_str((struct sockaddr *) &peer, text, sizeof text));
        fflush(stdout);
        if (echo(connection) < 0) perror("echo");
        chisocket_close(connection);
    }
}
