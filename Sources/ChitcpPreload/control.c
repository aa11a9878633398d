/* Requests to the daemon: each thread has a connection of its own, opened when it is first needed. */
#define _GNU_SOURCE
#include "preload.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct connection {
    int fd;
    /* What it was when it was opened: another process, or another file behind the number, means that it is gone. */
    pid_t process;
    dev_t device;
    ino_t inode;
    uint64_t daemon;
    uint64_t last_call;
    /* A signal handler that interrupts a call must not take its response: it opens a connection for the moment. */
    int is_busy;
};

static __thread struct connection of_thread __attribute__((tls_model("initial-exec"))) = { .fd = -1 };
static struct sockaddr_un daemon_address;
static pthread_key_t end_of_thread;
static int has_end_of_thread;

static int is_open(const struct connection *c)
{
    struct stat status;
    return c->fd >= 0 && fstat(c->fd, &status) == 0 && status.st_dev == c->device && status.st_ino == c->inode;
}

static void let_go(struct connection *c)
{
    if (is_open(c)) close(c->fd);
    c->fd = -1;
}

static void thread_ends(void *c) { let_go(c); }

__attribute__((constructor)) static void find_daemon(void)
{
    const char *path = getenv("CHITCPD_SOCK");
    daemon_address.sun_family = AF_UNIX;
    if (path == NULL || strlen(path) + sizeof CHITCP_CONTROL_SUFFIX > sizeof daemon_address.sun_path) path = "";
    strcpy(daemon_address.sun_path, path);
    strcat(daemon_address.sun_path, CHITCP_CONTROL_SUFFIX);
    has_end_of_thread = pthread_key_create(&end_of_thread, thread_ends) == 0;
}

/* Programs count on low numbers (select, dup2): the connection takes one of the top 64 of the usual limit. */
static int move_up(int low)
{
    struct rlimit limit;
    long most = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 1024 ? (long) limit.rlim_cur : 1024;
    long spare = most / 4 < 64 ? most / 4 : 64;
    long floor = most - (spare < 1 ? 1 : spare);
    int high = fcntl(low, F_DUPFD_CLOEXEC, (int) (floor < 3 ? 3 : floor));
    if (high < 0) return low;
    close(low);
    return high;
}

static ssize_t send_record(int fd, const struct chitcp_request *request, int attached)
{
    struct iovec iov = { .iov_base = (void *) request, .iov_len = sizeof *request };
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } control;
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
    if (attached >= 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.space;
        message.msg_controllen = sizeof control.space;
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &attached, sizeof(int));
    }
    return next()->sendmsg(fd, &message, MSG_NOSIGNAL);
}

static ssize_t receive_record(int fd, struct chitcp_response *response, int *received)
{
    struct iovec iov = { .iov_base = response, .iov_len = sizeof *response };
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } control;
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space,
                              .msg_controllen = sizeof control.space };
    *received = -1;
    ssize_t n = next()->recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (n < 0) return n;
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(received, CMSG_DATA(c), sizeof(int));
    return n;
}

static int exchange(struct connection *c, struct chitcp_request *request, int attached, int milliseconds,
                    struct chitcp_response *response, int *received)
{
    request->magic = CHITCP_CONTROL_MAGIC;
    request->call = ++c->last_call;
    ssize_t n;
    while ((n = send_record(c->fd, request, attached)) < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    for (;;) {
        if (milliseconds >= 0) {
            /* The whole time again after a response to an older call: those are rare. */
            struct pollfd waiting = { .fd = c->fd, .events = POLLIN };
            int ready = poll(&waiting, 1, milliseconds);
            if (ready == 0) errno = ETIMEDOUT;
            if (ready <= 0) return -1;
        }
        n = receive_record(c->fd, response, received);
        if (n < 0) return -1;
        if (n == sizeof *response && response->magic == CHITCP_CONTROL_MAGIC && response->call == request->call) return 0;
        if (*received >= 0) close(*received);
        if (n != sizeof *response || response->magic != CHITCP_CONTROL_MAGIC) {
            errno = n == 0 ? ECONNRESET : EPROTO;
            return -1;
        }
        /* The response to a call that a signal or its time limit ended. */
    }
}

static int open_connection(struct connection *c)
{
    int low = next()->socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (low < 0) return -1;
    int result;
    while ((result = next()->connect(low, (struct sockaddr *) &daemon_address, sizeof daemon_address)) < 0
           && errno == EINTR) continue;
    c->fd = result < 0 ? low : move_up(low);
    struct stat status;
    if (result < 0 || fstat(c->fd, &status) < 0) {
        int error = errno;
        close(c->fd);
        c->fd = -1;
        errno = error;
        return -1;
    }
    c->process = getpid();
    c->device = status.st_dev;
    c->inode = status.st_ino;
    struct chitcp_request hello;
    struct chitcp_response response;
    int received;
    begin_request(&hello, CHITCP_OP_HELLO);
    int failed = exchange(c, &hello, -1, -1, &response, &received);
    if (failed == 0 && response.result < 0) {
        errno = response.error;
        failed = -1;
    }
    if (failed < 0) {
        int error = errno;
        let_go(c);
        errno = error;
        return -1;
    }
    c->daemon = response.value;
    return 0;
}

void begin_request(struct chitcp_request *request, enum chitcp_operation operation)
{
    memset(request, 0, sizeof *request);
    request->operation = operation;
}

int ask(struct chitcp_request *request, const struct identity *identity, int attached, int milliseconds,
        struct chitcp_response *response, int *received)
{
    struct connection for_the_moment = { .fd = -1 };
    struct connection *c = of_thread.is_busy ? &for_the_moment : &of_thread;
    int before = errno, passed = -1;
    c->is_busy = 1;
    if (c->process != getpid() || !is_open(c)) {
        /* After a fork this closes the child's copy only. */
        let_go(c);
        if (open_connection(c) < 0) {
            c->is_busy = 0;
            return -1;
        }
        if (c == &of_thread && has_end_of_thread) pthread_setspecific(end_of_thread, c);
    }
    int result = -1;
    if (identity != NULL && identity->daemon != c->daemon) {
        /* A socket of a daemon that is gone: its connections are too. */
        errno = ECONNRESET;
    } else {
        request->socket_id = identity == NULL ? 0 : identity->socket;
        if (exchange(c, request, attached, milliseconds, response, &passed) == 0) {
            result = response->result;
            errno = result < 0 ? (response->error == 0 ? EPROTO : response->error) : before;
        } else if (errno != EINTR && errno != ETIMEDOUT) {
            int error = errno;
            let_go(c);
            errno = error;
        }
    }
    if (c == &for_the_moment) {
        int error = errno;
        let_go(c);
        errno = error;
    }
    c->is_busy = 0;
    if (received != NULL) *received = passed;
    else if (passed >= 0) close(passed);
    return result;
}
