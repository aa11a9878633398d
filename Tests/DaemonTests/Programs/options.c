/* getsockopt and setsockopt. */
#include "cases.h"
#include <linux/tcp.h>

static void round_trips(void)
{
    static const struct { int level, name, value; } set[] = {
        { SOL_SOCKET, SO_REUSEADDR, 1 }, { SOL_SOCKET, SO_REUSEPORT, 1 }, { SOL_SOCKET, SO_KEEPALIVE, 1 },
        { SOL_SOCKET, SO_OOBINLINE, 1 }, { SOL_SOCKET, SO_RCVLOWAT, 7 }, { SOL_SOCKET, SO_PRIORITY, 3 },
        { IPPROTO_TCP, TCP_NODELAY, 1 }, { IPPROTO_TCP, TCP_KEEPIDLE, 11 }, { IPPROTO_TCP, TCP_KEEPINTVL, 12 },
        { IPPROTO_TCP, TCP_KEEPCNT, 13 }, { IPPROTO_TCP, TCP_USER_TIMEOUT, 14000 }, { IPPROTO_TCP, TCP_SYNCNT, 4 },
        { IPPROTO_TCP, TCP_LINGER2, 17 }, { IPPROTO_TCP, TCP_CORK, 1 }, { IPPROTO_TCP, TCP_NOTSENT_LOWAT, 20000 },
        { IPPROTO_IP, IP_TOS, 16 }, { IPPROTO_IP, IP_TTL, 33 },
    };
    struct name any = name_of(host, 0);
    int c = socket(any.address.ss_family, SOCK_STREAM, 0);
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++) {
        CHECK(option_int(c, set[i].level, set[i].name) != set[i].value);
        set_int(c, set[i].level, set[i].name, set[i].value);
        CHECK(option_int(c, set[i].level, set[i].name) == set[i].value);
    }
    /* Linux keeps twice of what is asked for. */
    set_int(c, SOL_SOCKET, SO_SNDBUF, 30000);
    set_int(c, SOL_SOCKET, SO_RCVBUF, 40000);
    CHECK(option_int(c, SOL_SOCKET, SO_SNDBUF) == 60000 && option_int(c, SOL_SOCKET, SO_RCVBUF) == 80000);
    struct linger linger = { 1, 5 }, got = { 0, 0 };
    socklen_t length = sizeof got;
    CHECK(setsockopt(c, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
    CHECK(getsockopt(c, SOL_SOCKET, SO_LINGER, &got, &length) == 0 && length == 8 && got.l_onoff == 1 && got.l_linger == 5);
    CHECK(setsockopt(c, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0);
    char name[16] = "";
    length = sizeof name;
    CHECK(getsockopt(c, IPPROTO_TCP, TCP_CONGESTION, name, &length) == 0 && strcmp(name, "reno") == 0);
    CHECK_ERROR(setsockopt(c, IPPROTO_TCP, TCP_CONGESTION, "nonsense", 8), ENOENT);
}

static void inquiries(void)
{
    struct name at;
    int l = listener(&at, 0), c, s;
    connected(&c, &s);
    CHECK(option_int(l, SOL_SOCKET, SO_ACCEPTCONN) == 1 && option_int(c, SOL_SOCKET, SO_ACCEPTCONN) == 0);
    CHECK(option_int(c, SOL_SOCKET, SO_TYPE) == SOCK_STREAM && option_int(c, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP);
    CHECK(option_int(c, SOL_SOCKET, SO_DOMAIN) == at.address.ss_family && option_int(c, SOL_SOCKET, SO_ERROR) == 0);
    CHECK(option_int(c, IPPROTO_TCP, TCP_MAXSEG) >= 536);
    static char bytes[50000], room[50000];
    CHECK(send(c, bytes, sizeof bytes, 0) == sizeof bytes && read_all(s, room, sizeof room) == sizeof room);
    struct tcp_info info;
    memset(&info, 0, sizeof info);
    socklen_t length = sizeof info;
    CHECK(getsockopt(s, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && length >= 104);
    CHECK(info.tcpi_state == 1 /* ESTABLISHED */ && info.tcpi_snd_mss >= 536 && info.tcpi_snd_cwnd > 0);
    CHECK(info.tcpi_bytes_received == sizeof bytes && info.tcpi_segs_in > 0 && info.tcpi_rto >= 200000);
    CHECK(getsockopt(l, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_state == 10 /* LISTEN */);
    /* Cut to the room there is. */
    length = 1;
    CHECK(getsockopt(c, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && length == 1);
}

static void refusals(void)
{
    int c, s, one = 1;
    struct name any = name_of(host, 0);
    socklen_t length = sizeof one;
    connected(&c, &s);
    CHECK_ERROR(setsockopt(c, IPPROTO_TCP, 999, &one, sizeof one), ENOPROTOOPT);
    CHECK_ERROR(getsockopt(c, SOL_SOCKET, 999, &one, &length), ENOPROTOOPT);
    CHECK_ERROR(setsockopt(c, SOL_SOCKET, SO_KEEPALIVE, &one, 1), EINVAL);
    CHECK_ERROR(setsockopt(c, SOL_SOCKET, SO_TYPE, &one, sizeof one), ENOPROTOOPT);
    one = 0;
    CHECK_ERROR(setsockopt(c, IPPROTO_TCP, TCP_KEEPIDLE, &one, sizeof one), EINVAL);
    CHECK_ERROR(setsockopt(c, IPPROTO_TCP, TCP_KEEPCNT, &one, sizeof one), EINVAL);
    one = 40000;
    CHECK_ERROR(setsockopt(c, IPPROTO_TCP, TCP_KEEPINTVL, &one, sizeof one), EINVAL);
    int v6 = socket(AF_INET6, SOCK_STREAM, 0);
    struct name any6 = name_of("::", 0);
    CHECK(bind(v6, SA(&any6), any6.length) == 0);
    CHECK_ERROR(setsockopt(v6, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one), EINVAL);
    if (any.address.ss_family == AF_INET) CHECK_ERROR(setsockopt(c, IPPROTO_IPV6, IPV6_TCLASS, &one, sizeof one), ENOPROTOOPT);
}

static void inherited(void)
{
    /* An accepted connection has its listener's options. */
    struct name at = name_of(host, 0);
    int l = socket(at.address.ss_family, SOCK_STREAM, 0);
    set_int(l, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(l, IPPROTO_TCP, TCP_KEEPIDLE, 99);
    set_int(l, IPPROTO_TCP, TCP_NODELAY, 1);
    CHECK(bind(l, SA(&at), at.length) == 0 && listen(l, 8) == 0 && getsockname(l, SA(&at), &at.length) == 0);
    set_int(l, IPPROTO_TCP, TCP_KEEPCNT, 3);
    int c = socket(at.address.ss_family, SOCK_STREAM, 0);
    CHECK(connect(c, SA(&at), at.length) == 0);
    int s = accept(l, NULL, NULL);
    CHECK(option_int(s, SOL_SOCKET, SO_KEEPALIVE) == 1 && option_int(s, IPPROTO_TCP, TCP_KEEPIDLE) == 99);
    CHECK(option_int(s, IPPROTO_TCP, TCP_NODELAY) == 1 && option_int(s, IPPROTO_TCP, TCP_KEEPCNT) == 3);
    set_int(s, IPPROTO_TCP, TCP_KEEPIDLE, 98);
    CHECK(option_int(l, IPPROTO_TCP, TCP_KEEPIDLE) == 99);
}

const struct test_case option_cases[] = {
    { "round-trips", round_trips }, { "inquiries", inquiries }, { "refusals", refusals }, { "inherited", inherited },
    { NULL, NULL },
};
