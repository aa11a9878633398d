/* The same programs with libchitcp's calls: included before anything else, after the C library's own declarations. */
#define _GNU_SOURCE
#include <chitcp/socket.h>

#define socket(domain, type, protocol) chisocket_socket(domain, type, protocol)
#define bind chisocket_bind
#define listen chisocket_listen
#define connect chisocket_connect
#define accept chisocket_accept
#define accept4 chisocket_accept4
#define shutdown chisocket_shutdown
#define getsockname chisocket_getsockname
#define getpeername chisocket_getpeername
#define getsockopt chisocket_getsockopt
#define setsockopt chisocket_setsockopt
#define send chisocket_send
#define recv chisocket_recv
#define sendto chisocket_sendto
#define recvfrom chisocket_recvfrom
#define sendmsg chisocket_sendmsg
#define recvmsg chisocket_recvmsg
