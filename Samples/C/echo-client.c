/* Sends standard input to an echo server over chiTCP and prints what comes back.
 * usage: echo-client HOST PORT */
#include <chitcp/addr.h>
#include <chitcp/socket.h>
#include <chitcp/utils.h>

#include <stdio.h>

int main(int argc, char **argv)
{
    struct sockaddr_in server;
    if (argc != 3) {
        fprintf(stderr, "usage: %s HOST PORT\n", argv[0]);
        return 64;
    }
    if (chitcp_addr_construct(argv[1], argv[2], &server) < 0) {
        fprintf(stderr, "%s: no such host or port: %s %s\n", argv[0], argv[1], argv[2]);
        return 1;
    }
    int connection = chisocket_socket(AF_INET, SOCK_STREAM, 0);
    if (connection < 0) { perror("socket"); return 1; }
    if (chisocket_connect(connection, (struct sockaddr *) &server, sizeof server) < 0) { perror("connect"); return 1; }
    char line[4096];
    ssize_t count;
    while ((count = read(STDIN_FILENO, line, sizeof line)) > 0) {
        if (chitcp_socket_send(connection, line, (int) count) < 0) { perror("send"); return 1; }
        int back = chitcp_socket_recv(connection, line, (int) count);
        if (back != count) { fprintf(stderr, "%s: the server closed the connection\n", argv[0]); return 1; }
        fwrite(line, 1, (size_t) back, stdout);
    }
    return chisocket_close(connection) < 0;
}
