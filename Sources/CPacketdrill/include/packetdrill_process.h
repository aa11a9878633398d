/* What the plugin needs of its process and Swift cannot say: calls with variable arguments, threads' states, and the functions
 * that take the C library's place when the plugin is preloaded. */
#ifndef CHITCP_PACKETDRILL_PROCESS_H
#define CHITCP_PACKETDRILL_PROCESS_H

#include "packetdrill_interface.h"
#include <stdint.h>

/* Sets `fcntl` and `ioctl` of the table. Their last argument is passed on, whether there is one or not. */
void packetdrill_set_control_calls(struct packetdrill_interface *table,
                                   int (*fcntl)(void *userdata, int fd, int command, long argument),
                                   int (*ioctl)(void *userdata, int fd, unsigned long request, void *argument));

/* What the preloaded functions do with descriptors of the plugin. */
struct packetdrill_preloads {
    int (*getsockopt)(int fd, int level, int name, void *value, socklen_t *length);
    int (*close)(int fd);
    ssize_t (*sendfile)(int out, int in, off_t *offset, size_t count);
};
void packetdrill_set_preloads(struct packetdrill_preloads preloads);

/* A descriptor of the kernel's (of /dev/null) that stands in for one of the plugin's, so that its number is taken and can be
 * closed by anyone: the descriptor, or -1 with errno; and its end. */
int packetdrill_open_stand_in(void);
int packetdrill_close_stand_in(int fd);
/* No descriptor is the plugin's any more. The kernel's stay as they are. */
void packetdrill_forget_stand_ins(void);

/* The kernel's number of the calling thread. */
int packetdrill_thread(void);
/* 1 if a thread of this process sleeps in the kernel (state S), 0 if not, or if there is no such thread. */
int packetdrill_is_asleep(int thread);
/* 1 if it sleeps, and in futex(2), as far as the kernel tells: it waits for another thread, not for a process or a file. */
int packetdrill_waits_for_thread(int thread);

/* A control message of one int into `room` of `size` bytes. Returns how many of them it takes; 0: it does not fit. */
size_t packetdrill_put_int_message(void *room, size_t size, int level, int type, int value);

/* struct epoll_event is packed on some machines. */
uint64_t packetdrill_event_data(const struct epoll_event *event);
void packetdrill_set_event(struct epoll_event *events, int index, uint32_t what, uint64_t data);

/* read(2) at an offset, past any function that takes its place. */
ssize_t packetdrill_read_file(int fd, void *room, size_t count, off_t offset);

#endif
