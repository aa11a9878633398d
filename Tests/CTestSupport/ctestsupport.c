#define _GNU_SOURCE
#include "ctestsupport.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/socket.h>

int ctest_leave_network(void) { return unshare(CLONE_NEWNET); }

int ctest_tcp_options(int fd, uint32_t *options)
{
    struct tcp_info info;
    socklen_t length = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0) return -1;
    *options = info.tcpi_options;
    return 0;
}
