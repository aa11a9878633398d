/* Descriptors that are duplicated, inherited, passed on, closed by the dozen, and used by many threads. */
#include "cases.h"
#include <sys/un.h>
/* Here they pass descriptors over a socket of the kernel's, also where other calls are libchitcp's. */
#undef sendmsg
#undef recvmsg

static void duplicates(void)
{
    int c, s;
    char room[16];
    connected(&c, &s);
    int again = dup(c), third = fcntl(c, F_DUPFD, 100);
    CHECK(again >= 0 && third >= 100 && dup2(c, 77) == 77);
    CHECK(write(c, "a", 1) == 1 && close(c) == 0 && write(again, "b", 1) == 1 && close(again) == 0);
    CHECK(write(third, "c", 1) == 1 && close(third) == 0);
    CHECK(read_all(s, room, 3) == 3 && events_of(s, POLLIN, 100) == 0);
    CHECK(close(77) == 0 && read(s, room, 1) == 0);
}

static void forks(void)
{
    struct name at;
    char room[64];
    int l = listener(&at, 0), c = socket(at.address.ss_family, SOCK_STREAM, 0);
    /* Forked before connect and accept: the child does both, the parent uses one of them. */
    pid_t child = fork();
    if (child == 0) {
        CHECK(connect(c, SA(&at), at.length) == 0 && write(c, "child", 5) == 5);
        _exit(0);
    }
    wait_for_child(child);
    int s = accept(l, NULL, NULL);
    CHECK(s >= 0 && read_all(s, room, 5) == 5);
    CHECK(write(c, "parent", 6) == 6 && read_all(s, room, 6) == 6);
    struct name n = { .length = sizeof n.address };
    CHECK(getpeername(c, SA(&n), &n.length) == 0 && port_of(&n) == port_of(&at));
    /* Forked after accept: the stream ends when the last copy goes, and no byte is lost. */
    child = fork();
    if (child == 0) {
        CHECK(write(c, "more", 4) == 4);
        _exit(0);
    }
    CHECK(close(c) == 0 && read_all(s, room, 64) == 4);
    wait_for_child(child);
}

static void workers(void)
{
    enum { WORKERS = 4, CLIENTS = 200 };
    struct name at;
    int l = listener(&at, SOCK_NONBLOCK), report[2];
    pid_t children[WORKERS];
    CHECK(pipe(report) == 0);
    for (int i = 0; i < WORKERS; i++) {
        if ((children[i] = fork()) == 0) {
            int e = epoll_create1(0), count = 0;
            struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE }, got;
            CHECK(close(report[0]) == 0 && epoll_ctl(e, EPOLL_CTL_ADD, l, &event) == 0);
            while (epoll_wait(e, &got, 1, -1) == 1) {
                int s = accept4(l, NULL, NULL, SOCK_CLOEXEC);
                if (s < 0) {
                    CHECK(errno == EAGAIN || errno == EINVAL);
                    if (errno == EINVAL) break;
                    continue;
                }
                char byte;
                CHECK(read(s, &byte, 1) == 1 && write(s, &byte, 1) == 1 && close(s) == 0);
                count++;
            }
            CHECK(write(report[1], &count, sizeof count) == sizeof count);
            _exit(0);
        }
    }
    for (int i = 0; i < CLIENTS; i++) {
        int c = socket(at.address.ss_family, SOCK_STREAM, 0);
        char byte = (char) i, back;
        CHECK(connect(c, SA(&at), at.length) == 0 && write(c, &byte, 1) == 1);
        CHECK(read(c, &back, 1) == 1 && back == byte && close(c) == 0);
    }
    CHECK(shutdown(l, SHUT_RDWR) == 0);
    int total = 0, count;
    for (int i = 0; i < WORKERS; i++) {
        CHECK(read(report[0], &count, sizeof count) == sizeof count);
        total += count;
        wait_for_child(children[i]);
    }
    CHECK(total == CLIENTS);
}

static void executes(void)
{
    int c, s;
    char number[16], room[8];
    connected(&c, &s);
    pid_t child = fork();
    if (child == 0) {
        snprintf(number, sizeof number, "%d", c);
        execl(program, program, "child", "exec", number, (char *) NULL);
        _exit(127);
    }
    CHECK(close(c) == 0 && read_all(s, room, 8) == 4 && memcmp(room, "exec", 4) == 0);
    wait_for_child(child);
}

static void send_descriptor(int through, int fd)
{
    char byte = 'd';
    struct iovec iov = { &byte, 1 };
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } control = { { 0 } };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
                              .msg_controllen = sizeof control.space };
    control.header = (struct cmsghdr) { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET,
                                        .cmsg_type = SCM_RIGHTS };
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    CHECK(sendmsg(through, &message, 0) == 1);
}

static int receive_descriptor(int through)
{
    char byte;
    struct iovec iov = { &byte, 1 };
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } control;
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
                              .msg_controllen = sizeof control.space };
    CHECK(recvmsg(through, &message, 0) == 1);
    int fd;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

static void passes_on(void)
{
    /* A process that was there before the connection gets its descriptor, and knows the names. */
    int pair[2], c, s;
    char room[8];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct name n = { .length = sizeof n.address };
        int fd = receive_descriptor(pair[1]);
        CHECK(getpeername(fd, SA(&n), &n.length) == 0 && port_of(&n) != 0);
        CHECK(write(fd, "passed", 6) == 6);
        _exit(0);
    }
    connected(&c, &s);
    send_descriptor(pair[0], c);
    CHECK(close(c) == 0 && read_all(s, room, 8) == 6);
    wait_for_child(child);
}

static void closes_all(void)
{
    /* A program that closes what it does not know, and then uses the numbers for files of its own. */
    int c, s;
    connected(&c, &s);
    CHECK(dup2(c, 3) == 3 && dup2(s, 4) == 4);
    CHECK(close_range(5, ~0u, 0) == 0);
    struct name n = { .length = sizeof n.address };
    CHECK(getsockname(3, SA(&n), &n.length) == 0 && port_of(&n) != 0);
    CHECK(close_range(5, ~0u, 0) == 0);
    int file = memfd_create("file", 0);
    for (int number = 900; number < 1024; number++) CHECK(dup2(file, number) == number);
    CHECK(getpeername(3, SA(&n), &n.length) == 0 && port_of(&n) != 0);
    set_int(3, IPPROTO_TCP, 1 /* TCP_NODELAY */, 1);
    CHECK(lseek(file, 0, SEEK_END) == 0);
    for (int number = 900; number < 1024; number++) CHECK(fcntl(number, F_GETFD) >= 0);
    char room[4];
    CHECK(write(3, "word", 4) == 4 && read_all(4, room, 4) == 4);
}

static struct name meeting;

static void *many_connections(void *argument)
{
    (void) argument;
    for (int i = 0; i < 20; i++) {
        int c = socket(meeting.address.ss_family, SOCK_STREAM, 0);
        char byte = (char) i, back;
        CHECK(c >= 0 && connect(c, SA(&meeting), meeting.length) == 0);
        set_int(c, IPPROTO_TCP, 1, 1);
        CHECK(write(c, &byte, 1) == 1 && read(c, &back, 1) == 1 && back == byte && close(c) == 0);
    }
    return NULL;
}

static void threads(void)
{
    pthread_t makers[16];
    int l = listener(&meeting, 0);
    for (int i = 0; i < 16; i++) CHECK(pthread_create(&makers[i], NULL, many_connections, NULL) == 0);
    for (int i = 0; i < 16 * 20; i++) {
        int s = accept(l, NULL, NULL);
        char byte;
        CHECK(s >= 0 && read(s, &byte, 1) == 1 && write(s, &byte, 1) == 1 && close(s) == 0);
    }
    for (int i = 0; i < 16; i++) CHECK(pthread_join(makers[i], NULL) == 0);
}

/* Not on the kernel's TCP, which does not go: see RunCommandTests. */
static void daemon_goes(void)
{
    int c, s;
    char byte;
    connected(&c, &s);
    CHECK_ERROR(read(s, &byte, 1), ECONNRESET);
    CHECK(events_of(c, POLLIN, 30000) & POLLHUP);
    CHECK_ERROR(send(c, "x", 1, MSG_NOSIGNAL), EPIPE);
    struct name n = { .length = sizeof n.address };
    CHECK(getpeername(c, SA(&n), &n.length) == -1);
    CHECK(option_int(s, SOL_SOCKET, SO_ERROR) == 0);
    CHECK(socket(AF_INET, SOCK_STREAM, 0) == -1 && (errno == ENOENT || errno == ECONNREFUSED));
}

int child_case(int count, char **arguments)
{
    if (count == 2 && strcmp(arguments[0], "daemon-goes") == 0) {
        host = arguments[1];
        daemon_goes();
        return 0;
    }
    if (count < 2 || strcmp(arguments[0], "exec") != 0) return 2;
    int fd = atoi(arguments[1]);
    struct name n = { .length = sizeof n.address };
    CHECK(getpeername(fd, SA(&n), &n.length) == 0 && n.address.ss_family != AF_UNIX && port_of(&n) != 0);
    CHECK(write(fd, "exec", 4) == 4);
    return 0;
}

const struct test_case process_cases[] = {
    { "duplicates", duplicates }, { "forks", forks }, { "workers", workers }, { "executes", executes },
    { "passes-on", passes_on }, { "closes-all", closes_all }, { "threads", threads }, { NULL, NULL },
};
