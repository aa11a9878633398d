/* Sends each line of standard input to an echo server over chiTCP and prints what comes back.
 * usage: echo-client [-s] [-h HOST] [-p PORT]
 *     -s  step by step    -h  the server's name or address (this machine)    -p  its port (7) */
#include <chitcp/addr.h>
#include <chitcp/socket.h>
#include <chitcp/utils.h>

#include <stdio.h>
#include <string.h>

#include "step.h"

static int usage(const char *name)
{
    fprintf(stderr, "usage: %s [-s] [-h HOST] [-p PORT]\n", name);
    return 64;
}

/* Sends lines until standard input ends. 0, or 1 if the connection failed. */
static int converse(int connection)
{
    char line[4096];
    while (fgets(line, sizeof line, stdin) != NULL) {
        int length = (int) strlen(line);
        if (chitcp_socket_send(connection, line, length) < 0) { perror("send"); return 1; }
        int back = chitcp_socket_recv(connection, line, length);
        if (back < 0) { perror("recv"); return 1; }
        if (back < length) { fprintf(stderr, "the server closed the connection\n"); return 1; }
        fwrite(line, 1, (size_t) back, stdout);
        fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv)
{
    char *host = NULL, *port = "7";
    struct sockaddr_in server;
    for (int option; (option = getopt(argc, argv, "sh:p:")) != -1;) {
        switch (option) {
        case 's': is_stepping = 1; break;
        case 'h': host = optarg; break;
        case 'p': port = optarg; break;
        default: return usage(argv[0]);
        }
    }
    if (optind != argc) return usage(argv[0]);
    if (chitcp_addr_construct(host, port, &server) < 0) {
        fprintf(stderr, "%s: no such host or port: %s %s\n", argv[0], host == NULL ? "" : host, port);
        return 1;
    }
    step("create the socket");
    int connection = chisocket_socket(AF_INET, SOCK_STREAM, 0);
    if (connection < 0) { perror("socket"); return 1; }
    step("connect");
    if (chisocket_connect(connection, (struct sockaddr *) &server, sizeof server) < 0) { perror("connect"); return 1; }
    if (is_stepping) printf("connected; each line goes to the server and back, end the input to close\n");
    int result = converse(connection);
    clearerr(stdin);
    step("close the connection");
    if (chisocket_close(connection) < 0) { perror("close"); return 1; }
    step("end");
    return result;
}
