/* Bytes: flags of the calls, timeouts, back-pressure, urgent data, ends of streams. */
#include "cases.h"
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/sendfile.h>

static void flags(void)
{
    int c, s;
    char room[64];
    connected(&c, &s);
    CHECK_ERROR(recv(s, room, 10, MSG_DONTWAIT), EAGAIN);
    CHECK(send(c, "0123456789", 10, 0) == 10);
    CHECK(events_of(s, POLLIN, 30000) == POLLIN);
    CHECK(recv(s, room, 4, MSG_PEEK) == 4 && memcmp(room, "0123", 4) == 0);
    int waiting = 0;
    CHECK(ioctl(s, FIONREAD, &waiting) == 0 && waiting == 10);
    /* MSG_TRUNC takes bytes and gives none. */
    CHECK(recv(s, NULL, 4, MSG_TRUNC) == 4);
    CHECK(recv(s, room, 64, 0) == 6 && memcmp(room, "456789", 6) == 0);
    /* MSG_WAITALL waits for what comes in pieces. */
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 8; i++) CHECK(usleep(20000) == 0 && send(c, "abcd", 4, 0) == 4);
        _exit(0);
    }
    CHECK(recv(s, room, 32, MSG_WAITALL) == 32 && memcmp(room + 28, "abcd", 4) == 0);
    wait_for_child(child);
    /* A destination means nothing on a connection. */
    struct name nowhere = name_of(host, 9), from = { .length = sizeof from.address };
    CHECK(sendto(c, "xyz", 3, 0, SA(&nowhere), nowhere.length) == 3);
    CHECK(recvfrom(s, room, 3, MSG_WAITALL, SA(&from), &from.length) == 3 && from.length == 0);
    struct iovec parts[2] = { { "ab", 2 }, { "cde", 3 } };
    struct msghdr message = { .msg_name = &nowhere.address, .msg_namelen = nowhere.length, .msg_iov = parts,
                              .msg_iovlen = 2 };
    CHECK(sendmsg(c, &message, 0) == 5);
    struct iovec into = { room, 5 };
    message = (struct msghdr) { .msg_name = &from.address, .msg_namelen = sizeof from.address, .msg_iov = &into,
                                .msg_iovlen = 1 };
    CHECK(recvmsg(s, &message, MSG_WAITALL) == 5 && message.msg_namelen == 0 && memcmp(room, "abcde", 5) == 0);
}

static void requests(void)
{
    int c, s, left = 1;
    connected(&c, &s);
    CHECK(send(c, "0123456789", 10, 0) == 10);
    for (int i = 0; i < 3000 && left != 0; i++) CHECK(ioctl(c, SIOCOUTQ, &left) == 0 && usleep(10000) == 0);
    CHECK(left == 0);
    struct ifreq loopback = { .ifr_name = "lo" };
    CHECK(ioctl(c, SIOCGIFFLAGS, &loopback) == 0 && loopback.ifr_flags & IFF_LOOPBACK);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static void timeouts(void)
{
    int c, s;
    char room[65536] = { 0 };
    connected(&c, &s);
    struct timeval limit = { .tv_usec = 200000 }, got;
    socklen_t length = sizeof got;
    CHECK(setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    CHECK(setsockopt(c, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
    CHECK(getsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &got, &length) == 0 && got.tv_sec == 0 && got.tv_usec / 10000 == 20);
    double before = now();
    CHECK_ERROR(read(c, room, 1), EAGAIN);
    CHECK(now() - before >= 0.19);
    ssize_t n;
    while ((n = write(c, room, sizeof room)) > 0) continue;
    CHECK(n == -1 && errno == EAGAIN);
    /* accept has the limit of its listener. */
    struct name at;
    int l = listener(&at, 0);
    CHECK(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    CHECK_ERROR(accept(l, NULL, NULL), EAGAIN);
}

/* Writes until nothing goes any more for a while; returns how much went. */
static size_t fill(int fd)
{
    static char bytes[4096];
    size_t total = 0;
    while (events_of(fd, POLLOUT, 500) & POLLOUT) {
        ssize_t n = send(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) continue;
        CHECK(n > 0);
        total += (size_t) n;
        CHECK(total < 64u << 20);
    }
    return total;
}

static void back_pressure(void)
{
    /* A small receive buffer, inherited from the listener, and a small send buffer: little fits on the way. */
    struct name at = name_of(host, 0);
    int l = socket(at.address.ss_family, SOCK_STREAM, 0), limited;
    set_int(l, SOL_SOCKET, SO_RCVBUF, 16384);
    CHECK(bind(l, SA(&at), at.length) == 0 && listen(l, 8) == 0 && getsockname(l, SA(&at), &at.length) == 0);
    for (int kind = 0; kind < 3; kind++) {
        int c = socket(at.address.ss_family, SOCK_STREAM, 0);
        if (kind == 0) set_int(c, SOL_SOCKET, SO_SNDBUF, 16384);
        if (kind == 1) set_int(c, IPPROTO_TCP, 25 /* TCP_NOTSENT_LOWAT */, 16384);
        CHECK(connect(c, SA(&at), at.length) == 0);
        /* The third sets it on a connection that stands. */
        if (kind == 2) set_int(c, SOL_SOCKET, SO_SNDBUF, 16384);
        int s = accept(l, NULL, NULL);
        CHECK(option_int(s, SOL_SOCKET, SO_RCVBUF) == 32768);
        size_t written = fill(c);
        fprintf(stderr, "kind %d: %zu bytes\n", kind, written);
        CHECK(written >= 4096 && written <= 200000);
        /* It goes on when the reader reads, and everything arrives. */
        size_t read_bytes = 0;
        char room[65536];
        CHECK(shutdown(c, SHUT_WR) == 0);
        while ((limited = (int) read(s, room, sizeof room)) > 0) read_bytes += (size_t) limited;
        CHECK(limited == 0 && read_bytes == written);
        CHECK(close(c) == 0 && close(s) == 0);
    }
}

static volatile sig_atomic_t urgent_signals;
static void note_urgent(int number) { (void) number; urgent_signals++; }

static void urgent(void)
{
    int c, s, mark = -1;
    char room[32];
    connected(&c, &s);
    signal(SIGURG, note_urgent);
    CHECK(fcntl(s, F_SETOWN, getpid()) == 0);
    CHECK(send(c, "abc", 3, 0) == 3 && send(c, "xd", 2, MSG_OOB) == 2);
    CHECK(events_of(s, POLLPRI, 30000) & POLLPRI);
    CHECK(send(c, "efg", 3, 0) == 3);
    CHECK(urgent_signals > 0);
    /* A read stops in front of the mark; the urgent byte is apart. */
    CHECK(read_all(s, room, 4) == 4 && memcmp(room, "abcx", 4) == 0);
    CHECK(ioctl(s, SIOCATMARK, &mark) == 0 && mark == 1);
    CHECK(recv(s, room, 1, MSG_OOB) == 1 && room[0] == 'd');
    CHECK(read_all(s, room, 3) == 3 && memcmp(room, "efg", 3) == 0);
    CHECK_ERROR(recv(s, room, 1, MSG_OOB), EINVAL);
    /* In line, for those who want it so. */
    set_int(s, SOL_SOCKET, SO_OOBINLINE, 1);
    CHECK(send(c, "1", 1, 0) == 1 && send(c, "!", 1, MSG_OOB) == 1);
    CHECK(events_of(s, POLLPRI, 30000) & POLLPRI);
    CHECK(send(c, "2", 1, 0) == 1);
    CHECK(read_all(s, room, 3) == 3 && memcmp(room, "1!2", 3) == 0);
    for (int i = 0; i < 50; i++) CHECK(send(c, "u", 1, MSG_OOB) == 1 && send(c, "n", 1, 0) == 1);
    for (int i = 0; i < 50; i++) CHECK(read_all(s, room, 2) == 2 && memcmp(room, "un", 2) == 0);
}

static void ends(void)
{
    int c, s;
    char room[16];
    connected(&c, &s);
    CHECK(write(c, "last", 4) == 4 && shutdown(c, SHUT_WR) == 0);
    CHECK_ERROR(send(c, "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK(read_all(s, room, 16) == 4 && read(s, room, 1) == 0);
    CHECK(events_of(s, POLLIN | POLLOUT | POLLRDHUP, 1000) == (POLLIN | POLLOUT | POLLRDHUP));
    CHECK(write(s, "answer", 6) == 6 && close(s) == 0);
    CHECK(read_all(c, room, 16) == 6);
    /* Nobody reads any more: what comes is discarded, and the reader sees the end. */
    connected(&c, &s);
    CHECK(shutdown(s, SHUT_RD) == 0 && read(s, room, 16) == 0);
    CHECK(write(c, "x", 1) == 1 && write(s, "y", 1) == 1 && read(c, room, 1) == 1);
}

static void resets(void)
{
    struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
    char room[16];
    for (int way = 0; way < 2; way++) {
        int c, s;
        connected(&c, &s);
        CHECK(write(c, "unread", 6) == 6 && events_of(s, POLLIN, 30000) == POLLIN);
        /* SO_LINGER, or bytes that nobody has read. */
        if (way == 0) CHECK(recv(s, room, 6, 0) == 6 && setsockopt(s, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
        CHECK(close(s) == 0);
        CHECK(events_of(c, POLLIN, 30000) & POLLHUP);
        CHECK_ERROR(read(c, room, 1), ECONNRESET);
        CHECK(read(c, room, 1) == 0 || errno == ECONNRESET);
        CHECK_ERROR(send(c, "x", 1, MSG_NOSIGNAL), EPIPE);
        CHECK(close(c) == 0);
        connected(&c, &s);
        CHECK(setsockopt(s, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0 && close(s) == 0);
        CHECK(events_of(c, POLLIN, 30000) & POLLERR);
        CHECK(option_int(c, SOL_SOCKET, SO_ERROR) == ECONNRESET);
        CHECK(option_int(c, SOL_SOCKET, SO_ERROR) == 0);
    }
}

static void files(void)
{
    /* sendfile into a connection, splice out of one through a pipe. */
    int c, s, ends_[2], in = memfd_create("in", 0), out = memfd_create("out", 0);
    static char bytes[300000], back[300000];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (char) (i * 31 + (i >> 8));
    CHECK(write(in, bytes, sizeof bytes) == sizeof bytes);
    connected(&c, &s);
    CHECK(pipe(ends_) == 0);
    pid_t child = fork();
    if (child == 0) {
        off_t at = 0;
        while (at < (off_t) sizeof bytes) CHECK(sendfile(c, in, &at, sizeof bytes - (size_t) at) > 0);
        _exit(0);
    }
    CHECK(close(c) == 0);
    ssize_t n;
    while ((n = splice(s, NULL, ends_[1], NULL, 65536, 0)) > 0)
        while (n > 0) {
            ssize_t moved = splice(ends_[0], NULL, out, NULL, (size_t) n, 0);
            CHECK(moved > 0);
            n -= moved;
        }
    CHECK(n == 0);
    wait_for_child(child);
    CHECK(pread(out, back, sizeof back, 0) == sizeof back && memcmp(back, bytes, sizeof bytes) == 0);
}

const struct test_case data_cases[] = {
    { "flags", flags }, { "requests", requests }, { "timeouts", timeouts }, { "back-pressure", back_pressure }, { "urgent", urgent },
    { "ends", ends }, { "resets", resets }, { "files", files }, { NULL, NULL },
};
