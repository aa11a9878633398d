/* The definitions this library stands in front of, looked up once. */
#define _GNU_SOURCE
#include "preload.h"
#include <dlfcn.h>
#include <stdatomic.h>

static struct next_calls found;
static atomic_int is_ready;

static void look_up(void)
{
    /* Threads that come here at the same time store the same values. */
    *(void **) &found.socket = dlsym(RTLD_NEXT, "socket");
    *(void **) &found.bind = dlsym(RTLD_NEXT, "bind");
    *(void **) &found.listen = dlsym(RTLD_NEXT, "listen");
    *(void **) &found.connect = dlsym(RTLD_NEXT, "connect");
    *(void **) &found.accept = dlsym(RTLD_NEXT, "accept");
    *(void **) &found.accept4 = dlsym(RTLD_NEXT, "accept4");
    *(void **) &found.shutdown = dlsym(RTLD_NEXT, "shutdown");
    *(void **) &found.getsockname = dlsym(RTLD_NEXT, "getsockname");
    *(void **) &found.getpeername = dlsym(RTLD_NEXT, "getpeername");
    *(void **) &found.getsockopt = dlsym(RTLD_NEXT, "getsockopt");
    *(void **) &found.setsockopt = dlsym(RTLD_NEXT, "setsockopt");
    *(void **) &found.send = dlsym(RTLD_NEXT, "send");
    *(void **) &found.sendto = dlsym(RTLD_NEXT, "sendto");
    *(void **) &found.sendmsg = dlsym(RTLD_NEXT, "sendmsg");
    *(void **) &found.recv = dlsym(RTLD_NEXT, "recv");
    *(void **) &found.recvfrom = dlsym(RTLD_NEXT, "recvfrom");
    *(void **) &found.recvmsg = dlsym(RTLD_NEXT, "recvmsg");
    *(void **) &found.ioctl = dlsym(RTLD_NEXT, "ioctl");
    atomic_store_explicit(&is_ready, 1, memory_order_release);
}

/* Looked up before main; only another library's constructor can come earlier and look them up itself. */
__attribute__((constructor)) static void look_up_early(void) { (void) next(); }

const struct next_calls *next(void)
{
    if (!atomic_load_explicit(&is_ready, memory_order_acquire)) look_up();
    return &found;
}
