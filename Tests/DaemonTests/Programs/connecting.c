/* Names, connect in all its ways, listeners, and their errors. */
#include "cases.h"

static int same(const struct name *a, const struct name *b)
{
    return a->length == b->length && port_of(a) == port_of(b)
           && (a->address.ss_family == AF_INET
                   ? memcmp(&((const struct sockaddr_in *) &a->address)->sin_addr,
                            &((const struct sockaddr_in *) &b->address)->sin_addr, 4) == 0
                   : memcmp(&((const struct sockaddr_in6 *) &a->address)->sin6_addr,
                            &((const struct sockaddr_in6 *) &b->address)->sin6_addr, 16) == 0);
}

static void names(void)
{
    struct name at, peer = { .length = sizeof peer.address }, n = { .length = sizeof n.address };
    int l = listener(&at, 0), c = socket(at.address.ss_family, SOCK_STREAM, 0);
    CHECK(getsockname(c, SA(&n), &n.length) == 0);
    CHECK(n.address.ss_family == at.address.ss_family && port_of(&n) == 0);
    CHECK_ERROR(getpeername(c, SA(&n), &n.length), ENOTCONN);
    CHECK(connect(c, SA(&at), at.length) == 0);
    int s = accept(l, SA(&peer), &peer.length);
    CHECK(s >= 0);
    n.length = sizeof n.address;
    CHECK(getsockname(c, SA(&n), &n.length) == 0 && same(&n, &peer));
    n.length = sizeof n.address;
    CHECK(getpeername(c, SA(&n), &n.length) == 0 && same(&n, &at));
    n.length = sizeof n.address;
    CHECK(getsockname(s, SA(&n), &n.length) == 0 && same(&n, &at));
    n.length = sizeof n.address;
    CHECK(getpeername(s, SA(&n), &n.length) == 0 && same(&n, &peer));
    /* Cut to the room there is, with the full length told. */
    memset(&n, 0x55, sizeof n);
    n.length = 4;
    CHECK(getpeername(s, SA(&n), &n.length) == 0 && n.length == at.length && port_of(&n) == port_of(&peer));
    CHECK(((unsigned char *) &n.address)[4] == 0x55);
    CHECK_ERROR(getsockname(s, NULL, &n.length), EFAULT);
}

static void nonblocking_connect(void)
{
    struct name at;
    int l = listener(&at, 0), c = socket(at.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK_ERROR(connect(c, SA(&at), at.length), EINPROGRESS);
    CHECK(events_of(c, POLLOUT, 30000) == POLLOUT);
    CHECK(option_int(c, SOL_SOCKET, SO_ERROR) == 0);
    CHECK(connect(c, SA(&at), at.length) == 0);
    CHECK_ERROR(connect(c, SA(&at), at.length), EISCONN);
    int s = accept(l, NULL, NULL);
    CHECK(s >= 0 && write(c, "x", 1) == 1);
    char byte;
    CHECK(read(s, &byte, 1) == 1 && byte == 'x');
    CHECK_ERROR(read(c, &byte, 1), EAGAIN);
}

static void epoll_connect(void)
{
    for (int edge = 0; edge < 2; edge++) {
        struct name at;
        int l = listener(&at, 0), c = socket(at.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
        int e = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | (edge ? EPOLLET : 0) }, got;
        CHECK(connect(c, SA(&at), at.length) == -1 && errno == EINPROGRESS);
        CHECK(epoll_ctl(e, EPOLL_CTL_ADD, c, &event) == 0);
        do CHECK(epoll_wait(e, &got, 1, 30000) == 1); while (got.events != EPOLLOUT);
        int s = accept(l, NULL, NULL);
        CHECK(write(s, "hello", 5) == 5);
        do CHECK(epoll_wait(e, &got, 1, 30000) == 1); while (!(got.events & EPOLLIN));
        if (edge) {
            /* Nothing new: no event. What comes is one again. */
            CHECK(epoll_wait(e, &got, 1, 100) == 0);
            CHECK(write(s, "more", 4) == 4);
            CHECK(epoll_wait(e, &got, 1, 30000) == 1 && got.events & EPOLLIN);
        }
        char room[16];
        size_t wanted = edge ? 9 : 5;
        CHECK(read_all(c, room, wanted) == wanted);
        CHECK(shutdown(s, SHUT_WR) == 0);
        do CHECK(epoll_wait(e, &got, 1, 30000) == 1); while (!(got.events & EPOLLIN));
        CHECK(read(c, room, 1) == 0);
    }
}

static void refused(void)
{
    struct name at;
    CHECK(close(listener(&at, 0)) == 0);
    int c = socket(at.address.ss_family, SOCK_STREAM, 0);
    CHECK_ERROR(connect(c, SA(&at), at.length), ECONNREFUSED);
    CHECK(option_int(c, SOL_SOCKET, SO_ERROR) == 0);
    /* The same descriptor once more, where somebody listens. */
    struct name there;
    int l = listener(&there, 0);
    CHECK(connect(c, SA(&there), there.length) == 0);
    CHECK(accept(l, NULL, NULL) >= 0);

    int n = socket(at.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK(connect(n, SA(&at), at.length) == -1 && (errno == EINPROGRESS || errno == ECONNREFUSED));
    if (errno == EINPROGRESS) {
        int events = events_of(n, POLLIN | POLLOUT, 30000);
        CHECK((events & (POLLERR | POLLHUP)) == (POLLERR | POLLHUP) && events & POLLOUT && events & POLLIN);
        fd_set reading, writing;
        FD_ZERO(&reading);
        FD_ZERO(&writing);
        FD_SET(n, &reading);
        FD_SET(n, &writing);
        CHECK(select(n + 1, &reading, &writing, NULL, NULL) == 2);
        CHECK(option_int(n, SOL_SOCKET, SO_ERROR) == ECONNREFUSED);
        CHECK(option_int(n, SOL_SOCKET, SO_ERROR) == 0);
    }
    CHECK_ERROR(send(n, "x", 1, MSG_NOSIGNAL), EPIPE);
}

static void errors(void)
{
    struct name at, any = name_of(host, 0), n = { .length = sizeof n.address };
    int family = any.address.ss_family, l = listener(&at, 0), c = socket(family, SOCK_STREAM, 0);
    CHECK_ERROR(bind(c, SA(&at), at.length), EADDRINUSE);
    CHECK(bind(c, SA(&any), any.length) == 0);
    CHECK_ERROR(bind(c, SA(&any), any.length), EINVAL);
    CHECK_ERROR(bind(c, SA(&any), 3), EINVAL);
    CHECK_ERROR(accept(c, NULL, NULL), EINVAL);
    CHECK_ERROR(shutdown(c, SHUT_RDWR), ENOTCONN);
    CHECK_ERROR(shutdown(c, 7), EINVAL);
    CHECK(connect(c, SA(&at), at.length) == 0);
    CHECK_ERROR(connect(c, SA(&at), at.length), EISCONN);
    CHECK_ERROR(listen(c, 1), EINVAL);
    CHECK_ERROR(connect(l, SA(&at), at.length), EISCONN);
    CHECK(listen(l, 3) == 0);
    struct sockaddr_un { sa_family_t family; char path[108]; } foreign = { .family = AF_UNIX, .path = "/nowhere" };
    int other = socket(family, SOCK_STREAM, 0);
    CHECK(connect(other, (struct sockaddr *) &foreign, sizeof foreign) == -1);
    CHECK_ERROR(accept4(l, NULL, NULL, 0x10), EINVAL);
    int s = accept4(l, SA(&n), &n.length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    CHECK(s >= 0 && fcntl(s, F_GETFL) & O_NONBLOCK && fcntl(s, F_GETFD) == FD_CLOEXEC);
    int plain = socket(family, SOCK_STREAM, IPPROTO_TCP), flags = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fcntl(plain, F_GETFD) == 0 && fcntl(flags, F_GETFD) == FD_CLOEXEC);
}

static void other_kinds(void)
{
    /* Other kinds of sockets are not touched. */
    int datagram = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(datagram >= 0 && option_int(datagram, SOL_SOCKET, SO_TYPE) == SOCK_DGRAM);
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && write(pair[0], "x", 1) == 1);
}

static void listener_shutdown(void)
{
    struct name at;
    int l = listener(&at, 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK_ERROR(accept(l, NULL, NULL), EINVAL);
        _exit(0);
    }
    /* Once with somebody waiting (most likely), once without. */
    CHECK(usleep(100000) == 0 && shutdown(l, SHUT_RDWR) == 0);
    wait_for_child(child);
    CHECK_ERROR(accept(l, NULL, NULL), EINVAL);
    int c = socket(at.address.ss_family, SOCK_STREAM, 0);
    CHECK_ERROR(connect(c, SA(&at), at.length), ECONNREFUSED);
}

static void shared_port(void)
{
    struct name at = name_of(host, 0);
    int l[2];
    for (int i = 0; i < 2; i++) {
        l[i] = socket(at.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
        set_int(l[i], SOL_SOCKET, SO_REUSEPORT, 1);
        CHECK(bind(l[i], SA(&at), at.length) == 0 && listen(l[i], 200) == 0);
        CHECK(getsockname(l[i], SA(&at), &at.length) == 0);
    }
    int alone = socket(at.address.ss_family, SOCK_STREAM, 0);
    CHECK_ERROR(bind(alone, SA(&at), at.length), EADDRINUSE);
    int count[2] = { 0, 0 };
    for (int i = 0; i < 100; i++) CHECK(connect(socket(at.address.ss_family, SOCK_STREAM, 0), SA(&at), at.length) == 0);
    while (count[0] + count[1] < 100) {
        struct pollfd both[2] = { { .fd = l[0], .events = POLLIN }, { .fd = l[1], .events = POLLIN } };
        CHECK(poll(both, 2, 30000) > 0);
        for (int i = 0; i < 2; i++) while (accept(l[i], NULL, NULL) >= 0) count[i]++;
    }
    CHECK(count[0] >= 20 && count[1] >= 20);
}

static void mapped(void)
{
    /* `::` takes IPv4 as mapped addresses; with IPV6_V6ONLY it does not, and leaves the port to IPv4. */
    struct name any = name_of("::", 0), v4 = name_of(host, 0), n = { .length = sizeof n.address };
    int l = socket(AF_INET6, SOCK_STREAM, 0);
    CHECK(bind(l, SA(&any), any.length) == 0 && listen(l, 8) == 0 && getsockname(l, SA(&any), &any.length) == 0);
    v4 = name_of(host, port_of(&any));
    int taken = socket(AF_INET, SOCK_STREAM, 0);
    struct name any4 = name_of("0.0.0.0", port_of(&any));
    CHECK_ERROR(bind(taken, SA(&any4), any4.length), EADDRINUSE);
    int c = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(c, SA(&v4), v4.length) == 0);
    int s = accept(l, SA(&n), &n.length);
    char text[INET6_ADDRSTRLEN];
    CHECK(s >= 0 && n.address.ss_family == AF_INET6 && n.length == sizeof(struct sockaddr_in6));
    CHECK(inet_ntop(AF_INET6, &((struct sockaddr_in6 *) &n.address)->sin6_addr, text, sizeof text) != NULL);
    CHECK(strncmp(text, "::ffff:127.", 11) == 0);
    CHECK(option_int(s, SOL_SOCKET, SO_DOMAIN) == AF_INET6 && option_int(c, SOL_SOCKET, SO_DOMAIN) == AF_INET);
    /* A mapped address to connect to. */
    char there[64] = "::ffff:";
    strcat(there, host);
    struct name through = name_of(there, port_of(&any));
    int m = socket(AF_INET6, SOCK_STREAM, 0);
    CHECK(connect(m, SA(&through), through.length) == 0);
    n.length = sizeof n.address;
    CHECK(getpeername(m, SA(&n), &n.length) == 0 && n.address.ss_family == AF_INET6);

    int only = socket(AF_INET6, SOCK_STREAM, 0);
    struct name v6 = name_of("::", 0);
    CHECK(option_int(only, IPPROTO_IPV6, IPV6_V6ONLY) == 0);
    set_int(only, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    CHECK(bind(only, SA(&v6), v6.length) == 0 && listen(only, 8) == 0 && getsockname(only, SA(&v6), &v6.length) == 0);
    v4 = name_of(host, port_of(&v6));
    CHECK_ERROR(connect(socket(AF_INET, SOCK_STREAM, 0), SA(&v4), v4.length), ECONNREFUSED);
    int beside = socket(AF_INET, SOCK_STREAM, 0);
    any4 = name_of("0.0.0.0", port_of(&v6));
    CHECK(bind(beside, SA(&any4), any4.length) == 0);
}

/* A port is free as soon as close(2) of its socket, or of its listener, has returned. */
static void freed_port(void)
{
    struct name at = name_of(host, 0);
    int first = socket(at.address.ss_family, SOCK_STREAM, 0);
    CHECK(bind(first, SA(&at), at.length) == 0 && getsockname(first, SA(&at), &at.length) == 0);
    CHECK(close(first) == 0);
    for (int i = 0; i < 100; i++) {
        int s = socket(at.address.ss_family, SOCK_STREAM, 0);
        CHECK(bind(s, SA(&at), at.length) == 0);
        if (i % 2) CHECK(listen(s, 1) == 0);
        CHECK(close(s) == 0);
    }
}

const struct test_case connecting_cases[] = {
    { "names", names }, { "nonblocking-connect", nonblocking_connect }, { "epoll-connect", epoll_connect },
    { "refused", refused }, { "errors", errors }, { "other-kinds", other_kinds }, { "listener-shutdown", listener_shutdown },
    { "shared-port", shared_port }, { "freed-port", freed_port }, { "mapped", mapped }, { NULL, NULL },
};
