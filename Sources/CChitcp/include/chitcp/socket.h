/* The chisocket calls: the POSIX socket calls, answered by the TCP in chitcpd. Link with -lchitcp.
 *
 * A chisocket is a real file descriptor: read, write, poll, dup, fork and sendfile work on it. Each call returns -1 and
 * sets errno where its POSIX namesake does. If no daemon runs, the call returns -1 with the errno of connect(2) and one
 * line on standard error names the UNIX socket that was tried. */
#ifndef CHITCP_SOCKET_H
#define CHITCP_SOCKET_H

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* chiTCP's calls. domain is AF_INET or AF_INET6, type SOCK_STREAM (with SOCK_CLOEXEC and SOCK_NONBLOCK as in Linux). */
int chisocket_socket(int domain, int type, int protocol);
int chisocket_bind(int sockfd, const struct sockaddr *addr, socklen_t addrlen);
int chisocket_listen(int sockfd, int backlog);
int chisocket_connect(int sockfd, const struct sockaddr *addr, socklen_t addrlen);
int chisocket_accept(int sockfd, struct sockaddr *addr, socklen_t *addrlen);
int chisocket_close(int sockfd);
ssize_t chisocket_recv(int sockfd, void *buffer, size_t length, int flags);
ssize_t chisocket_send(int sockfd, const void *buffer, size_t length, int flags);

/* This project's additions, each like the POSIX call of that name. */
int chisocket_shutdown(int sockfd, int how);
int chisocket_getsockname(int sockfd, struct sockaddr *addr, socklen_t *addrlen);
int chisocket_getpeername(int sockfd, struct sockaddr *addr, socklen_t *addrlen);
int chisocket_getsockopt(int sockfd, int level, int name, void *value, socklen_t *length);
int chisocket_setsockopt(int sockfd, int level, int name, const void *value, socklen_t length);
int chisocket_accept4(int sockfd, struct sockaddr *addr, socklen_t *addrlen, int flags);
ssize_t chisocket_sendto(int sockfd, const void *buffer, size_t length, int flags, const struct sockaddr *to,
                         socklen_t tolen);
ssize_t chisocket_recvfrom(int sockfd, void *buffer, size_t length, int flags, struct sockaddr *from,
                           socklen_t *fromlen);
ssize_t chisocket_sendmsg(int sockfd, const struct msghdr *message, int flags);
ssize_t chisocket_recvmsg(int sockfd, struct msghdr *message, int flags);

/* What ioctl(2) says of a kernel socket for SIOCOUTQ and SIOCOUTQNSD: bytes the peer has not acknowledged, and those of them
 * that were never sent. Either pointer may be NULL. All other requests, and poll(2), fcntl(2), read(2), write(2), sendfile(2)
 * and dup(2), work on a chisocket as they are. */
int chisocket_queued(int sockfd, int *unacknowledged, int *unsent);

#ifdef __cplusplus
}
#endif
#endif
