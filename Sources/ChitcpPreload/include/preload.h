/* What the files of libchitcp-preload.so share. The library is loaded in front of an unmodified program by `chitcp run`
 * and answers the socket calls of its TCP sockets with the TCP of chitcpd.
 *
 * It keeps no table of sockets: a chisocket is recognised by its abstract name, in whatever process holds it. It takes no
 * lock, allocates nothing and prints nothing, so its calls may be made where the C library's may. */
#ifndef CHITCP_PRELOAD_H
#define CHITCP_PRELOAD_H

#include <control_records.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

/* Everything is hidden but the calls that take the C library's place. */
#define CHITCP_EXPORT __attribute__((visibility("default")))

#pragma GCC visibility push(hidden)

/* The definitions that this library stands in front of. */
struct next_calls {
    int (*socket)(int, int, int);
    int (*bind)(int, const struct sockaddr *, socklen_t);
    int (*listen)(int, int);
    int (*connect)(int, const struct sockaddr *, socklen_t);
    int (*accept)(int, struct sockaddr *, socklen_t *);
    int (*accept4)(int, struct sockaddr *, socklen_t *, int);
    int (*shutdown)(int, int);
    int (*getsockname)(int, struct sockaddr *, socklen_t *);
    int (*getpeername)(int, struct sockaddr *, socklen_t *);
    int (*getsockopt)(int, int, int, void *, socklen_t *);
    int (*setsockopt)(int, int, int, const void *, socklen_t);
    ssize_t (*send)(int, const void *, size_t, int);
    ssize_t (*sendto)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
    ssize_t (*sendmsg)(int, const struct msghdr *, int);
    ssize_t (*recv)(int, void *, size_t, int);
    ssize_t (*recvfrom)(int, void *, size_t, int, struct sockaddr *, socklen_t *);
    ssize_t (*recvmsg)(int, struct msghdr *, int);
    int (*ioctl)(int, unsigned long, ...);
};

/* next_calls.c */
const struct next_calls *next(void);

/* identity.c: which chisocket a descriptor is. */
struct identity {
    uint64_t daemon;
    uint64_t socket;
};

/* 1 and the identity if `fd` is a chisocket, else 0; errno stays. */
int identify(int fd, struct identity *identity);

/* roles.c: what is known of chisockets, so that the daemon need not be asked again. */
enum role { ROLE_UNKNOWN = 0, ROLE_LISTENING = 1, ROLE_CONNECTED = 2 };
enum role known_role(const struct identity *identity);
void note_role(const struct identity *identity, enum role role);

/* addresses.c */
/* The address a program gave, as records hold it: 0, or -1 with errno. */
int address_from_program(const struct sockaddr *address, socklen_t length, struct chitcp_address *out);
/* Copies an address out as accept(2) does: cut to the room there is, with its full length in *length. */
void address_to_program(const struct chitcp_address *address, struct sockaddr *room, socklen_t *length);
/* The same as a struct sockaddr; returns its length. */
socklen_t address_as_sockaddr(const struct chitcp_address *address, struct sockaddr_storage *out);

/* exclusions.c: CHITCP_RUN_ONLY and CHITCP_RUN_EXCEPT. */
/* 1 if connections to this address are the kernel's. The unspecified address never is excluded. */
int is_excluded(const struct chitcp_address *address);

/* control.c: requests to the daemon. */
/* Sends a request about `identity` (NULL: about none), with the descriptor `attached` unless it is -1, and waits for the
 * response, at most `milliseconds` unless that is negative (then errno is ETIMEDOUT, and the daemon goes on).
 * Returns the response's result; if that is -1, errno is the daemon's, or what kept us from asking it.
 * A descriptor that came along is in *received (-1: none), close-on-exec; where `received` is NULL it is closed. */
int ask(struct chitcp_request *request, const struct identity *identity, int attached, int milliseconds,
        struct chitcp_response *response, int *received);
/* A blank request. */
void begin_request(struct chitcp_request *request, enum chitcp_operation operation);

/* kernel_sockets.c */
/* Turns the unconnected chisocket `fd` into a kernel socket, with its options and its local address. 0, or -1 with errno. */
int become_kernel_socket(int fd, const struct identity *identity);

/* options.c */
/* 1 if the option belongs to the descriptor and the kernel answers it. */
int is_descriptor_option(int level, int name);

#pragma GCC visibility pop

#endif
