/* What Swift's Glibc module does not show of Linux: epoll, eventfd, accept4, UNIX-socket inquiries, and the control
 * message macros for passing a descriptor. */
#ifndef CHITCP_CLINUX_H
#define CHITCP_CLINUX_H
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>

/* Adds `fd` with `events`; `token` comes back in the event. */
int clinux_epoll_add(int epfd, int fd, uint32_t events, uint64_t token);

/* The same for a descriptor that is there already. */
int clinux_epoll_modify(int epfd, int fd, uint32_t events, uint64_t token);

uint64_t clinux_epoll_token(const struct epoll_event *e);

/* Unread bytes of a socket, or -1 with errno. */
int clinux_unread(int fd);

/* Bytes (for UNIX sockets: of socket memory) written and not yet read by the peer, or -1 with errno. */
int clinux_unsent(int fd);

/* 1 if the next byte to read is an urgent one, else 0. */
int clinux_is_at_mark(int fd);

/* Sends `length` bytes with descriptor `passed` attached (-1: none). */
ssize_t clinux_send_descriptor(int fd, const void *bytes, size_t length, int passed, int flags);

/* Receives at most `length` bytes; *received is the first descriptor that came along (close-on-exec), or -1. Any further
 * descriptors are closed. */
ssize_t clinux_receive_descriptor(int fd, void *bytes, size_t length, int *received, int flags);

/* The credentials of a UNIX socket's peer; 0 or -1 with errno. */
int clinux_peer_credentials(int fd, int *pid, unsigned *uid, unsigned *gid);

/* The supplementary groups of a UNIX socket's peer: how many of them (at most `count`), or -1. */
int clinux_peer_groups(int fd, unsigned *groups, int count);

/* accept4, non-blocking and close-on-exec. */
int clinux_accept(int fd, struct sockaddr *address, socklen_t *length);
/* A pipe, non-blocking and close-on-exec. */
int clinux_pipe(int ends[2]);
/* An epoll descriptor, and an eventfd. */
int clinux_epoll_create(void);
int clinux_eventfd(void);
/* A timer of CLOCK_MONOTONIC as a descriptor, and the moment at which it fires next. */
int clinux_timer(void);
int clinux_timer_set(int fd, int64_t nanoseconds);
/* poll(2) with a limit in nanoseconds, none if it is negative. */
struct pollfd;
int clinux_poll(struct pollfd *entries, int count, int64_t nanoseconds);
/* A pair of UNIX stream sockets, blocking, close-on-exec. */
int clinux_socketpair(int ends[2]);
/* Makes number `to` mean what `from` means, close-on-exec; the new descriptor, or -1 with errno. */
int clinux_dup_onto(int from, int to);
/* Names the calling thread, for debuggers; cut to 15 characters. */
void clinux_name_thread(const char *name);
/* The cores a thread may run on, as a bit mask of 1,024 cores (pid 0: the calling thread); 0 or -1 with errno. */
int clinux_get_affinity(pid_t pid, uint64_t mask[16]);
int clinux_set_affinity(pid_t pid, const uint64_t mask[16]);
/* Has the kernel send this process `signal` when the thread that started it ends; 0 or -1 with errno. */
int clinux_signal_at_parents_end(int signal);
/* Opens the TUN device `name` (made if it does not exist and the process may), non-blocking and close-on-exec. Every packet
 * has a struct virtio_net_hdr in front, its two bytes of buffer count left out. *offload: whether the kernel hands over
 * and takes large packets without checksums. The descriptor, or -1 with errno. */
int clinux_tun_open(const char *name, int *offload);
/* Whether the kernel hands over large packets without checksums; 0 or -1 with errno. */
int clinux_tun_offload(int fd, int on);
/* Moves the calling thread into the network namespace of descriptor `fd`; 0 or -1 with errno. */
int clinux_enter_network(int fd);
/* Sets the MTU of an interface and brings it up, as far as it is not so already; 0 or -1 with errno. */
int clinux_interface_up(const char *name, int mtu);
/* Bytes of the heap block at `p`. */
size_t clinux_allocation_size(const void *p);
/* 1 if the file gives capabilities to whoever runs it. */
int clinux_has_capabilities(const char *path);
#endif
