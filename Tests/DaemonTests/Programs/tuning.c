/* Options that change how a connection is opened and how it sends. */
#include "cases.h"
#include <linux/tcp.h>

static struct tcp_info information(int fd)
{
    struct tcp_info info;
    memset(&info, 0, sizeof info);
    socklen_t length = sizeof info;
    CHECK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0);
    return info;
}

/* There and back over a new connection whose client end is `c`; both ends are closed. */
static void exchange(int l, int c, int with_syn)
{
    char room[8];
    int s = accept(l, NULL, NULL);
    CHECK(s >= 0 && read_all(s, room, 5) == 5 && memcmp(room, "hello", 5) == 0);
    CHECK(send(s, "you", 3, 0) == 3 && read_all(c, room, 3) == 3 && memcmp(room, "you", 3) == 0);
    int data_with_syn = TCPI_OPT_SYN_DATA;
    if (with_syn) CHECK(information(c).tcpi_options & information(s).tcpi_options & data_with_syn);
    CHECK(close(c) == 0 && close(s) == 0);
}

/* Where a server grants cookies (EXPECT_SYN_DATA), the second connection's data goes with the SYN. */
static void fast_open(void)
{
    struct name at;
    int l = listener(&at, 0);
    int grants = getenv("EXPECT_SYN_DATA") != NULL;
    set_int(l, IPPROTO_TCP, TCP_FASTOPEN, 5);
    CHECK(option_int(l, IPPROTO_TCP, TCP_FASTOPEN) == 5);
    int minus = -1;
    CHECK_ERROR(setsockopt(l, IPPROTO_TCP, TCP_FASTOPEN, &minus, sizeof minus), EINVAL);
    for (int i = 0; i < 3; i++) {
        int c = socket(at.address.ss_family, SOCK_STREAM, 0);
        CHECK(sendto(c, "hello", 5, MSG_FASTOPEN, SA(&at), at.length) == 5);
        exchange(l, c, grants && i > 0);
        c = socket(at.address.ss_family, SOCK_STREAM, 0);
        struct iovec piece = { "hello", 5 };
        struct msghdr message = { .msg_name = SA(&at), .msg_namelen = at.length, .msg_iov = &piece, .msg_iovlen = 1 };
        CHECK(sendmsg(c, &message, MSG_FASTOPEN) == 5);
        CHECK_ERROR(sendto(c, "x", 1, MSG_FASTOPEN, SA(&at), at.length), EISCONN);
        exchange(l, c, grants);
    }
}

static void fast_open_connect(void)
{
    struct name at;
    int l = listener(&at, 0);
    int grants = getenv("EXPECT_SYN_DATA") != NULL;
    set_int(l, IPPROTO_TCP, TCP_FASTOPEN, 5);
    for (int i = 0; i < 3; i++) {
        int c = socket(at.address.ss_family, SOCK_STREAM, 0);
        set_int(c, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
        CHECK(option_int(c, IPPROTO_TCP, TCP_FASTOPEN_CONNECT) == 1);
        CHECK(connect(c, SA(&at), at.length) == 0);
        CHECK(events_of(c, POLLOUT, 10000) == POLLOUT);
        CHECK(send(c, "hello", 5, 0) == 5);
        exchange(l, c, grants && i > 0);
    }
    /* Once there is a connection it is too late. */
    int c, s, one = 1;
    connected(&c, &s);
    CHECK_ERROR(setsockopt(c, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof one), EINVAL);
}

static void fast_open_key(void)
{
    struct name at;
    int l = listener(&at, 0);
    unsigned char keys[32], got[32];
    for (int i = 0; i < 32; i++) keys[i] = (unsigned char) (7 * i + 1);
    CHECK_ERROR(setsockopt(l, IPPROTO_TCP, TCP_FASTOPEN_KEY, keys, 15), EINVAL);
    CHECK(setsockopt(l, IPPROTO_TCP, TCP_FASTOPEN_KEY, keys, 32) == 0);
    socklen_t length = sizeof got;
    CHECK(getsockopt(l, IPPROTO_TCP, TCP_FASTOPEN_KEY, got, &length) == 0 && length == 32 && memcmp(got, keys, 32) == 0);
    int c = socket(at.address.ss_family, SOCK_STREAM, 0);
    CHECK(connect(c, SA(&at), at.length) == 0 && send(c, "hello", 5, 0) == 5);
    exchange(l, c, 0);
}

static void cork(void)
{
    static char bytes[30000], room[30000];
    int c, s;
    connected(&c, &s);
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (char) i;
    set_int(c, IPPROTO_TCP, TCP_CORK, 1);
    for (size_t i = 0; i < sizeof bytes; i += 100) CHECK(send(c, bytes + i, 100, 0) == 100);
    set_int(c, IPPROTO_TCP, TCP_CORK, 0);
    CHECK(read_all(s, room, sizeof room) == sizeof room && memcmp(bytes, room, sizeof room) == 0);
    /* What nobody uncorks leaves by itself; and so does what somebody says is not all. */
    set_int(c, IPPROTO_TCP, TCP_CORK, 1);
    CHECK(send(c, "one", 3, 0) == 3 && read_all(s, room, 3) == 3);
    set_int(c, IPPROTO_TCP, TCP_CORK, 0);
    CHECK(send(c, "two", 3, MSG_MORE) == 3 && read_all(s, room, 3) == 3);
    set_int(c, IPPROTO_TCP, TCP_CORK, 1);
    CHECK(send(c, "three", 5, 0) == 5 && shutdown(c, SHUT_WR) == 0 && read_all(s, room, 10) == 5);
}

static void segment_size(void)
{
    struct name at;
    int l = listener(&at, 0), one = 87;
    int c = socket(at.address.ss_family, SOCK_STREAM, 0);
    CHECK_ERROR(setsockopt(c, IPPROTO_TCP, TCP_MAXSEG, &one, sizeof one), EINVAL);
    one = 32768;
    CHECK_ERROR(setsockopt(c, IPPROTO_TCP, TCP_MAXSEG, &one, sizeof one), EINVAL);
    set_int(c, IPPROTO_TCP, TCP_MAXSEG, 600);
    CHECK(option_int(c, IPPROTO_TCP, TCP_MAXSEG) == 600);
    CHECK(connect(c, SA(&at), at.length) == 0);
    int s = accept(l, NULL, NULL);
    /* Less the timestamps. */
    CHECK(option_int(c, IPPROTO_TCP, TCP_MAXSEG) == 588 && option_int(s, IPPROTO_TCP, TCP_MAXSEG) == 588);
    static char bytes[50000], room[50000];
    CHECK(send(c, bytes, sizeof bytes, 0) == sizeof bytes && read_all(s, room, sizeof room) == sizeof room);
    CHECK(information(s).tcpi_segs_in >= sizeof bytes / 588);
}

static void deferred_accept(void)
{
    struct name at;
    int l = listener(&at, 0);
    char room[8];
    /* Counted in retransmissions: 1, 2 and 4 seconds. */
    set_int(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, 5);
    CHECK(option_int(l, IPPROTO_TCP, TCP_DEFER_ACCEPT) == 7);
    set_int(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, 60);
    CHECK(option_int(l, IPPROTO_TCP, TCP_DEFER_ACCEPT) == 63);
    set_nonblocking(l);
    int c = socket(at.address.ss_family, SOCK_STREAM, 0);
    CHECK(connect(c, SA(&at), at.length) == 0);
    CHECK(events_of(l, POLLIN, 100) == 0);
    CHECK_ERROR(accept(l, NULL, NULL), EAGAIN);
    CHECK(send(c, "data", 4, 0) == 4);
    CHECK(events_of(l, POLLIN, 30000) == POLLIN);
    int s = accept(l, NULL, NULL);
    CHECK(s >= 0 && read_all(s, room, 4) == 4 && memcmp(room, "data", 4) == 0);
    set_int(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0);
    CHECK(option_int(l, IPPROTO_TCP, TCP_DEFER_ACCEPT) == 0);
}

static void quick_acks(void)
{
    int c, s;
    connected(&c, &s);
    set_int(c, IPPROTO_TCP, TCP_QUICKACK, 0);
    CHECK(option_int(c, IPPROTO_TCP, TCP_QUICKACK) == 0);
    set_int(c, IPPROTO_TCP, TCP_QUICKACK, 1);
    CHECK(option_int(c, IPPROTO_TCP, TCP_QUICKACK) == 1);
}

enum { PACED = 4000000 };

static void *read_paced(void *argument)
{
    char room[16384];
    size_t done = 0;
    while (done < PACED) {
        ssize_t n = recv(*(int *) argument, room, sizeof room, 0);
        CHECK(n > 0);
        done += (size_t) n;
    }
    return NULL;
}

static void pacing_rate(void)
{
    static char bytes[PACED];
    int c, s;
    unsigned int rate = 20000000;
    connected(&c, &s);
    CHECK(setsockopt(c, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof rate) == 0);
    CHECK(option_int(c, SOL_SOCKET, SO_MAX_PACING_RATE) == 20000000);
    CHECK(information(c).tcpi_max_pacing_rate == rate);
    struct timespec before, after;
    pthread_t reader;
    CHECK(pthread_create(&reader, NULL, read_paced, &s) == 0);
    clock_gettime(CLOCK_MONOTONIC, &before);
    for (size_t done = 0; done < PACED;) {
        ssize_t n = send(c, bytes + done, PACED - done, 0);
        CHECK(n > 0);
        done += (size_t) n;
    }
    CHECK(pthread_join(reader, NULL) == 0);
    clock_gettime(CLOCK_MONOTONIC, &after);
    /* A fifth of a second, less what leaves before the pace is kept. */
    CHECK((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 >= 80);
    rate = ~0U;
    CHECK(setsockopt(c, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof rate) == 0);
    CHECK(option_int(c, SOL_SOCKET, SO_MAX_PACING_RATE) == -1 && information(c).tcpi_max_pacing_rate == ~0ULL);
}

static void window_clamp(void)
{
    static char bytes[100000], room[100000];
    struct name at;
    int l = listener(&at, 0);
    int c = socket(at.address.ss_family, SOCK_STREAM, 0);
    set_int(c, IPPROTO_TCP, TCP_WINDOW_CLAMP, 100);
    CHECK(option_int(c, IPPROTO_TCP, TCP_WINDOW_CLAMP) == 1152);
    set_int(c, IPPROTO_TCP, TCP_WINDOW_CLAMP, 20000);
    CHECK(option_int(c, IPPROTO_TCP, TCP_WINDOW_CLAMP) == 20000);
    CHECK(connect(c, SA(&at), at.length) == 0);
    int s = accept(l, NULL, NULL);
    CHECK(information(s).tcpi_snd_wnd <= 20000);
    CHECK(send(s, bytes, sizeof bytes, 0) == sizeof bytes && read_all(c, room, sizeof room) == sizeof room);
}

const struct test_case tuning_cases[] = {
    { "fast-open", fast_open }, { "fast-open-connect", fast_open_connect }, { "fast-open-key", fast_open_key },
    { "cork", cork }, { "segment-size", segment_size }, { "deferred-accept", deferred_accept },
    { "quick-acks", quick_acks }, { "pacing-rate", pacing_rate }, { "window-clamp", window_clamp },
    { NULL, NULL },
};
