/* The Internet checksum, and sending and receiving a whole buffer. */
#ifndef CHITCP_UTILS_H
#define CHITCP_UTILS_H

#include <pthread.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The Internet checksum (RFC 1071) of len bytes, in network order; 0 is given as 0xffff. */
uint16_t cksum(const void *data, int len);

/* Sends all nbytes over a kernel or UNIX socket, or a chisocket. Returns nbytes, or -1 with errno. */
int chitcp_socket_send(int socket, const void *buffer, int nbytes);
/* Receives exactly nbytes, or fewer if the stream ends before. Returns how many, or -1 with errno. */
int chitcp_socket_recv(int socket, void *buffer, int nbytes);

/* Names a thread, for debuggers; the name is cut to the 15 characters Linux keeps. 0 or an errno. */
int set_thread_name(pthread_t thread, const char *name);

#ifdef __cplusplus
}
#endif
#endif
