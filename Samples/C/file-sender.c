/* Sends a file over chiTCP, or receives one.
 * usage: file-sender FILE HOST PORT      (sends)
 *        file-sender --receive PORT      (writes what the first client sends to standard output) */
#include <chitcp/addr.h>
#include <chitcp/socket.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Copies a stream to its end; a chisocket is a descriptor, so read and write do. Bytes copied, or -1. */
static long long copy(int from, int to)
{
    char buffer[65536];
    long long total = 0;
    ssize_t count;
    while ((count = read(from, buffer, sizeof buffer)) > 0)
        for (ssize_t done = 0; done < count;) {
            ssize_t n = write(to, buffer + done, (size_t) (count - done));
            if (n < 0) return -1;
            done += n;
            total += n;
        }
    return count < 0 ? -1 : total;
}

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int send_file(const char *path, const char *host, const char *port)
{
    struct sockaddr_in server;
    int file = open(path, O_RDONLY);
    if (file < 0) return fail(path);
    if (chitcp_addr_construct(host, port, &server) < 0) {
        fprintf(stderr, "no such host or port: %s %s\n", host, port);
        return 1;
    }
    int connection = chisocket_socket(AF_INET, SOCK_STREAM, 0);
    if (connection < 0) return fail("socket");
    if (chisocket_connect(connection, (struct sockaddr *) &server, sizeof server) < 0) return fail("connect");
    long long sent = copy(file, connection);
    if (sent < 0) return fail("send");
    if (chisocket_close(connection) < 0) return fail("close");
    printf("sent %lld bytes\n", sent);
    return 0;
}

static int receive_file(int port)
{
    struct sockaddr_in local = { .sin_family = AF_INET, .sin_port = htons((uint16_t) port) };
    int listener = chisocket_socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0) return fail("socket");
    if (chisocket_bind(listener, (struct sockaddr *) &local, sizeof local) < 0) return fail("bind");
    if (chisocket_listen(listener, 1) < 0) return fail("listen");
    int connection = chisocket_accept(listener, NULL, NULL);
    if (connection < 0) return fail("accept");
    long long received = copy(connection, STDOUT_FILENO);
    if (received < 0) return fail("receive");
    fprintf(stderr, "received %lld bytes\n", received);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--receive") == 0 && atoi(argv[2]) > 0) return receive_file(atoi(argv[2]));
    if (argc == 4) return send_file(argv[1], argv[2], argv[3]);
    fprintf(stderr, "usage: %s FILE HOST PORT\n       %s --receive PORT\n", argv[0], argv[0]);
    return 64;
}
