/* chitcp/utils.h and chitcp/types.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "chitcp/utils.h"
#include "chitcp/types.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

const char *const tcp_state_names[] = {
    "CLOSED", "LISTEN", "SYN_RCVD", "SYN_SENT", "ESTABLISHED", "FIN_WAIT_1",
    "FIN_WAIT_2", "CLOSE_WAIT", "CLOSING", "TIME_WAIT", "LAST_ACK",
};

const char *tcp_str(tcp_state_t state)
{
    return IS_VALID_TCP_STATE(state) ? tcp_state_names[state] : "UNKNOWN";
}

uint16_t cksum(const void *data, int len)
{
    const uint8_t *bytes = data;
    uint64_t sum = 0;
    if (data == NULL) len = 0;
    for (; len >= 2; len -= 2, bytes += 2) sum += (uint64_t) bytes[0] << 8 | bytes[1];
    if (len == 1) sum += (uint64_t) bytes[0] << 8; /* RFC 1071 4.1: an odd byte counts as if a zero followed */
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    uint16_t result = htons((uint16_t) ~sum);
    return result == 0 ? 0xffff : result;
}

int chitcp_socket_send(int socket, const void *buffer, int nbytes)
{
    int done = 0;
    if (nbytes < 0 || (buffer == NULL && nbytes > 0)) { errno = EINVAL; return -1; }
    while (done < nbytes) {
        ssize_t n = send(socket, (const char *) buffer + done, (size_t) (nbytes - done), MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) return -1;
        if (n > 0) done += (int) n;
    }
    return done;
}

int chitcp_socket_recv(int socket, void *buffer, int nbytes)
{
    int done = 0;
    if (nbytes < 0 || (buffer == NULL && nbytes > 0)) { errno = EINVAL; return -1; }
    while (done < nbytes) {
        ssize_t n = recv(socket, (char *) buffer + done, (size_t) (nbytes - done), 0);
        if (n == 0) break;
        if (n < 0 && errno != EINTR) return -1;
        if (n > 0) done += (int) n;
    }
    return done;
}

int set_thread_name(pthread_t thread, const char *name)
{
    char cut[16] = { 0 };
    if (name == NULL) return EINVAL;
    strncpy(cut, name, sizeof cut - 1);
    return pthread_setname_np(thread, cut);
}
