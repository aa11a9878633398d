/* The calls of a situation: NAME DESCRIPTOR ARGUMENTS [= RESULT], [-> NEW DESCRIPTOR]. Descriptors have names. */
#define _GNU_SOURCE
#include "player.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>

enum { name_count = 32 };
static struct { char name[16]; int number; } descriptors[name_count];
static uint8_t bytes[1 << 20];

void begin_calls(void) { memset(descriptors, 0, sizeof descriptors); }

static int descriptor(const char *name) {
    for (int i = 0; i < name_count; i++)
        if (!strcmp(descriptors[i].name, name)) return descriptors[i].number;
    return (int)number(name);
}

static void remember(const char *name, int fd) {
    for (int i = 0; i < name_count; i++)
        if (!*descriptors[i].name || !strcmp(descriptors[i].name, name)) {
            snprintf(descriptors[i].name, sizeof descriptors[i].name, "%s", name);
            descriptors[i].number = fd;
            return;
        }
    fail("too many descriptors");
}

static void forget(int fd) {
    for (int i = 0; i < name_count; i++)
        if (*descriptors[i].name && descriptors[i].number == fd) {
            strcpy(descriptors[i].name, "-");
            descriptors[i].number = -1;
        }
}

void close_everything(void) {
    for (int i = 0; i < name_count; i++)
        if (*descriptors[i].name && descriptors[i].number > 2) {
            /* The C library's close, not the plugin's. */
            if (close(descriptors[i].number)) fail("close: %s", strerror(errno));
            forget(descriptors[i].number);
        }
}

static const struct { const char *name; long value; } names[] = {
    { "EAGAIN", EAGAIN }, { "EINPROGRESS", EINPROGRESS }, { "EPIPE", EPIPE }, { "EFAULT", EFAULT },
    { "ETIMEDOUT", ETIMEDOUT }, { "ECONNREFUSED", ECONNREFUSED }, { "ECONNRESET", ECONNRESET },
    { "ENOTCONN", ENOTCONN }, { "EISCONN", EISCONN }, { "EALREADY", EALREADY }, { "EBADF", EBADF },
    { "EINVAL", EINVAL }, { "ENOTSOCK", ENOTSOCK }, { "EDEADLK", EDEADLK }, { "EHOSTUNREACH", EHOSTUNREACH },
    { "ENOPROTOOPT", ENOPROTOOPT }, { "EADDRINUSE", EADDRINUSE }, { "ECONNABORTED", ECONNABORTED },
    { "EMSGSIZE", EMSGSIZE }, { "EOPNOTSUPP", EOPNOTSUPP }, { "ENOENT", ENOENT }, { "EEXIST", EEXIST },
    { "PEEK", MSG_PEEK }, { "DONTWAIT", MSG_DONTWAIT }, { "WAITALL", MSG_WAITALL }, { "MORE", MSG_MORE },
    { "EOR", MSG_EOR }, { "TRUNC", MSG_TRUNC }, { "FASTOPEN", 0x20000000 },
    { "IN", EPOLLIN }, { "OUT", EPOLLOUT }, { "ERR", EPOLLERR }, { "HUP", EPOLLHUP }, { "RDHUP", EPOLLRDHUP },
    { "ET", (long)EPOLLET }, { "ONESHOT", EPOLLONESHOT },
    { "SOCKET", SOL_SOCKET }, { "TCP", IPPROTO_TCP }, { "IP", IPPROTO_IP },
    { "SO_SNDBUF", SO_SNDBUF }, { "SO_RCVBUF", SO_RCVBUF }, { "SO_ERROR", SO_ERROR }, { "SO_REUSEADDR", SO_REUSEADDR },
    { "SO_RCVLOWAT", SO_RCVLOWAT }, { "SO_KEEPALIVE", SO_KEEPALIVE }, { "TCP_NODELAY", 1 }, { "TCP_MAXSEG", 2 },
    { "TCP_CORK", 3 }, { "TCP_USER_TIMEOUT", 18 }, { "TCP_NOTSENT_LOWAT", 25 }, { "TCP_INQ", 36 }, { "IP_TOS", 1 },
    { "TCP_QUICKACK", 12 }, { "TCP_DEFER_ACCEPT", 9 }, { "TCP_SYNCNT", 7 },
    { "TCP_FASTOPEN", 23 }, { "TCP_FASTOPEN_CONNECT", 30 },
};

/* A number, a name, or several names with bars between. */
static long value_of(char *word) {
    long all = 0;
    char copy[128];
    snprintf(copy, sizeof copy, "%s", word);
    for (char *save = NULL, *each = strtok_r(copy, "|", &save); each; each = strtok_r(NULL, "|", &save)) {
        size_t i = 0;
        while (i < sizeof names / sizeof *names && strcmp(names[i].name, each)) i++;
        all |= i < sizeof names / sizeof *names ? names[i].value : number(each);
    }
    return all;
}

/* Fields of TCP_INFO by Linux's offsets. */
static const struct { const char *name; size_t at, size; } fields[] = {
    { "state", 0, 1 }, { "ca_state", 1, 1 }, { "retransmits", 2, 1 }, { "options", 5, 1 }, { "rto", 8, 4 },
    { "snd_mss", 16, 4 }, { "unacked", 24, 4 }, { "sacked", 28, 4 }, { "lost", 32, 4 }, { "retrans", 36, 4 },
    { "rtt", 68, 4 }, { "ssthresh", 76, 4 }, { "cwnd", 80, 4 }, { "total_retrans", 100, 4 }, { "delivered", 192, 4 },
    { "snd_wnd", 228, 4 }, { "probes", 3, 1 }, { "backoff", 4, 1 }, { "last_data_recv", 52, 4 }, { "advmss", 84, 4 }, { "reordering", 88, 4 },
    { "min_rtt", 148, 4 }, { "busy_time", 168, 8 }, { "rwnd_limited", 176, 8 }, { "sndbuf_limited", 184, 8 },
    { "reord_seen", 220, 4 },
};

/* As packetdrill's assertions about TCP_INFO: by the C library's getsockopt, which only a preloaded plugin answers. */
static long info(int fd, const char *name) {
    uint8_t room[280];
    socklen_t length = sizeof room;
    if (getsockopt(fd, IPPROTO_TCP, 11, room, &length)) fail("TCP_INFO: %s", strerror(errno));
    if (length != sizeof room) fail("TCP_INFO has %u bytes", length);
    length = 20;
    if (getsockopt(fd, IPPROTO_TCP, 26, room + 0, (socklen_t[]){ 0 })) fail("TCP_CC_INFO: %s", strerror(errno));
    uint32_t memory[9];
    length = sizeof memory;
    if (getsockopt(fd, SOL_SOCKET, 55, memory, &length) || length != sizeof memory) fail("SO_MEMINFO");
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (!strcmp(fields[i].name, name)) {
            uint64_t value = 0;
            memcpy(&value, room + fields[i].at, fields[i].size);
            return (long)value;
        }
    fail("%s is no field", name);
}

static long receive_message(int fd, long count, long flags, char **rest) {
    uint8_t control[64];
    struct iovec piece = { bytes, (size_t)count };
    memset(control, 0xEE, sizeof control);
    struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    long result = plugin.recvmsg(plugin.userdata, fd, &message, (int)flags);
    if (!strncmp(*rest, "inq ", 4)) {
        next_word(rest);
        long expected = number(need_word(rest));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        int told;
        if (!head || head->cmsg_level != IPPROTO_TCP || head->cmsg_type != 36) fail("TCP_INQ tells nothing");
        memcpy(&told, CMSG_DATA(head), sizeof told);
        if (told != expected) fail("TCP_INQ tells %d", told);
    } else if (message.msg_controllen) {
        fail("control messages that nobody asked for");
    }
    return result;
}

static long call(const char *name, char **rest) {
    void *u = plugin.userdata;
    struct sockaddr_storage address;
    socklen_t length;
    if (!strcmp(name, "socket")) return plugin.socket(u, family == 4 ? AF_INET : AF_INET6, SOCK_STREAM, IPPROTO_TCP);
    if (!strcmp(name, "keep_cookie")) return keep_cookie(), 0;
    if (!strcmp(name, "cookie_is_kept")) return cookie_is_kept();
    if (!strcmp(name, "epoll")) return plugin.epoll_create(u, 1);
    int fd = descriptor(need_word(rest));
    if (!strcmp(name, "bind")) { length = local_address(&address); return plugin.bind(u, fd, (struct sockaddr *)&address, length); }
    if (!strcmp(name, "listen")) return plugin.listen(u, fd, 1);
    if (!strcmp(name, "accept")) {
        length = sizeof address;
        int made = plugin.accept(u, fd, (struct sockaddr *)&address, &length);
        if (made >= 0 && !peer_is_known(&address)) fail("accept tells another peer");
        return made;
    }
    if (!strcmp(name, "connect")) { length = remote_address(&address); return plugin.connect(u, fd, (struct sockaddr *)&address, length); }
    if (!strcmp(name, "disconnect")) {
        memset(&address, 0, sizeof address);
        return plugin.connect(u, fd, (struct sockaddr *)&address, sizeof(struct sockaddr_in));
    }
    if (!strcmp(name, "close")) { forget(fd); return plugin.close(u, fd); }
    if (!strcmp(name, "shutdown")) return plugin.shutdown(u, fd, (int)number(need_word(rest)));
    if (!strcmp(name, "nonblock")) {
        int flags = plugin.fcntl(u, fd, F_GETFL);
        if (flags != O_RDWR) fail("F_GETFL gives %d", flags);
        if (plugin.fcntl(u, fd, F_SETFL, flags | O_NONBLOCK)) return -1;
        return plugin.fcntl(u, fd, F_GETFL) == (O_RDWR | O_NONBLOCK) ? 0 : -1;
    }
    if (!strcmp(name, "set")) {
        int level = (int)value_of(need_word(rest)), option = (int)value_of(need_word(rest));
        int value = (int)number(need_word(rest));
        return plugin.setsockopt(u, fd, level, option, &value, sizeof value);
    }
    if (!strcmp(name, "key")) {
        /* TCP_FASTOPEN_KEY: bytes in hexadecimal. */
        uint8_t key[64];
        unsigned byte;
        length = 0;
        for (const char *hex = need_word(rest); length < sizeof key && sscanf(hex, "%2x", &byte) == 1; hex += 2)
            key[length++] = (uint8_t)byte;
        return plugin.setsockopt(u, fd, IPPROTO_TCP, 33, key, length);
    }
    if (!strcmp(name, "get")) {
        int level = (int)value_of(need_word(rest)), option = (int)value_of(need_word(rest)), value = -1;
        length = sizeof value;
        if (plugin.getsockopt(u, fd, level, option, &value, &length)) return -1;
        if (length != sizeof value) fail("the option has %u bytes", length);
        return value;
    }
    if (!strcmp(name, "linger")) {
        struct linger value = { 1, (int)number(need_word(rest)) };
        return plugin.setsockopt(u, fd, SOL_SOCKET, SO_LINGER, &value, sizeof value);
    }
    if (!strcmp(name, "inq") || !strcmp(name, "outq")) {
        int value = -1;
        if (plugin.ioctl(u, fd, *name == 'i' ? 0x541B : 0x5411, &value)) return -1;
        return value;
    }
    if (!strcmp(name, "info")) return info(fd, need_word(rest));
    if (!strcmp(name, "poll")) {
        struct pollfd entry = { fd, (short)value_of(need_word(rest)), 0x7FFF };
        int timeout = (int)number(need_word(rest)), found = plugin.poll(u, &entry, 1, timeout);
        if (found != (entry.revents ? 1 : 0)) fail("poll gives %d with events %x", found, entry.revents);
        return entry.revents;
    }
    if (!strncmp(name, "epoll_", 6) && strcmp(name, "epoll_wait")) {
        struct epoll_event event = { 0 };
        int target = descriptor(need_word(rest)), operation = EPOLL_CTL_DEL;
        if (strcmp(name, "epoll_del")) {
            operation = strcmp(name, "epoll_add") ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
            event.events = (uint32_t)value_of(need_word(rest));
            event.data.u64 = (uint64_t)target;
        }
        return plugin.epoll_ctl(u, fd, operation, target, &event);
    }
    if (!strcmp(name, "epoll_wait")) {
        struct epoll_event event = { 0 };
        int found = plugin.epoll_wait(u, fd, &event, 1, (int)number(need_word(rest)));
        if (found < 0) return found;
        if (!found && event.events) fail("an event beside the result 0");
        return event.events;
    }
    if (!strcmp(name, "splice")) {
        int target = descriptor(need_word(rest));
        loff_t none = 0;
        return plugin.splice(u, fd, &none, target, &none, (size_t)number(need_word(rest)), 0);
    }
    /* What is left moves bytes. */
    char *word = need_word(rest);
    if (!strcmp(word, "null")) {
        long count = number(need_word(rest));
        return *name == 'r' ? plugin.read(u, fd, NULL, (size_t)count) : plugin.write(u, fd, NULL, (size_t)count);
    }
    long count = number(word), flags = 0;
    if (count > (long)sizeof bytes) fail("too many bytes");
    struct iovec pieces[2] = { { bytes, (size_t)count / 2 }, { bytes + count / 2, (size_t)(count - count / 2) } };
    if (!strcmp(name, "read")) return plugin.read(u, fd, bytes, (size_t)count);
    if (!strcmp(name, "write")) return plugin.write(u, fd, bytes, (size_t)count);
    if (!strcmp(name, "readv")) return plugin.readv(u, fd, pieces, 2);
    if (!strcmp(name, "writev")) return plugin.writev(u, fd, pieces, 2);
    if (!strcmp(name, "recvmsg")) return receive_message(fd, count, 0, rest);
    if (!strcmp(name, "sendmsg")) {
        struct msghdr message = { .msg_iov = pieces, .msg_iovlen = 2 };
        return plugin.sendmsg(u, fd, &message, 0);
    }
    if (!strcmp(name, "sendfile")) {
        int file = open("/proc/self/exe", O_RDONLY);
        off_t offset = 0;
        long sent = sendfile(fd, file, &offset, (size_t)count);
        close(file);
        return sent;
    }
    if (*rest[0] && *rest[0] != '=' && *rest[0] != '-') flags = value_of(need_word(rest));
    if (!strcmp(name, "send")) return plugin.send(u, fd, bytes, (size_t)count, (int)flags);
    if (!strcmp(name, "sendto")) {
        length = flags & 0x20000000 ? remote_address(&address) : 0;
        return plugin.sendto(u, fd, bytes, (size_t)count, (int)flags, length ? (struct sockaddr *)&address : NULL, length);
    }
    if (!strcmp(name, "recv")) return plugin.recv(u, fd, bytes, (size_t)count, (int)flags);
    if (!strcmp(name, "recvfrom")) {
        length = sizeof address;
        return plugin.recvfrom(u, fd, bytes, (size_t)count, (int)flags, (struct sockaddr *)&address, &length);
    }
    fail("%s is no call", name);
}

static void make_pipe(char **rest) {
    int ends[2];
    if (plugin.pipe(plugin.userdata, ends)) fail("pipe: %s", strerror(errno));
    need_word(rest);
    remember(need_word(rest), ends[0]);
    remember(need_word(rest), ends[1]);
}

void make_call(char *words, bool on_main) {
    char copy[1024], *rest = words, *name;
    snprintf(copy, sizeof copy, "%s", words);
    name = need_word(&rest);
    if (!strcmp(name, "pipe")) {
        make_pipe(&rest);
        return;
    }
    errno = 0;
    long result = call(name, &rest);
    int error = errno;
    char *word = next_word(&rest);
    char line[1200];
    snprintf(line, sizeof line, "%s => %ld%s%s", copy, result, result < 0 ? " " : "", result < 0 ? strerror(error) : "");
    if (on_main) say("%s", line);
    else report_later(line);
    if (word && !strcmp(word, "->")) {
        if (result < 0) fail("%s: %s", copy, strerror(error));
        if (fcntl((int)result, F_GETFD) < 0) fail("descriptor %ld is none of the kernel's", result);
        if (!on_main) pthread_mutex_lock(&big_lock);
        remember(need_word(&rest), (int)result);
        if (!on_main) pthread_mutex_unlock(&big_lock);
        return;
    }
    long expected = 0;
    bool is_error = false;
    if (word) {
        if (strcmp(word, "=")) fail("%s is not understood", word);
        word = need_word(&rest);
        expected = value_of(word);
        is_error = *word == 'E' && strcmp(word, "ERR") && strcmp(name, "get");
    }
    if (is_error ? result != -1 || error != expected : result != expected)
        fail("%s: %ld %s", copy, result, result < 0 ? strerror(error) : "");
}
