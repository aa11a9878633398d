/* Arbitrary packets and calls in arbitrary order: nothing may trap, and nothing may hang. */
#define _GNU_SOURCE
#include "player.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;

static unsigned draw(unsigned limit) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 33) % limit;
}

static void draw_segment(void) {
    static const char *const options[] = {
        "", "<mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7>", "<mss 1>", "<mss 0,nop,wscale 255>", "<nop,nop,TS val 9 ecr 9>",
        "<nop,nop,sack 1:1000>", "<nop,nop,sack 5:1 9000:4>", "<eol,nop,sackOK>",
    };
    static const char letters[] = "FSRP.UEWA";
    char words[256], bits[16];
    size_t used = 0;
    for (size_t i = 0; i < 9; i++)
        if (draw(4) == 0 || (i == 4 && draw(4))) bits[used++] = letters[i];
    if (!used) bits[used++] = '-';
    bits[used] = 0;
    unsigned begin = draw(3) ? draw(3) : draw(100000), count = draw(3) ? 0 : draw(3) ? draw(3000) : draw(60000);
    snprintf(words, sizeof words, "%s %u:%u ack %u win %u %s", bits, begin, begin + count, draw(2) ? 1 : draw(100000), draw(65536),
             options[draw(8)]);
    inject(words);
}

static void draw_bytes(void) {
    char hex[401];
    size_t count = draw(200);
    for (size_t i = 0; i < count; i++) snprintf(hex + 2 * i, 3, "%02x", draw(256));
    /* Often something that begins like a packet. */
    if (count > 4 && draw(2)) memcpy(hex, draw(2) ? "4500" : "6000", 4);
    hex[2 * count] = 0;
    inject_bytes(hex);
}

static void draw_call(int *open, int *count) {
    static uint8_t room[70000];
    void *u = plugin.userdata;
    struct sockaddr_storage address;
    socklen_t length = local_address(&address);
    int fd = *count ? open[draw((unsigned)*count)] : -1, made = -1, value = (int)draw(100000) - 10;
    size_t size = draw(2) ? draw(100) : draw(sizeof room);
    void *memory = draw(20) ? room : NULL;
    struct epoll_event event = { .events = draw(2) ? draw(0x4000) : draw(0x4000) | EPOLLET };
    struct pollfd entry = { fd, (short)draw(0x4000), 0 };
    struct linger linger = { 1, (int)draw(3) };
    loff_t none = 0;
    int ends[2];
    switch (draw(26)) {
    case 0: made = plugin.socket(u, family == 4 ? AF_INET : AF_INET6, SOCK_STREAM, 0); break;
    case 1: plugin.bind(u, fd, (struct sockaddr *)&address, length); break;
    case 2: plugin.listen(u, fd, (int)draw(5) - 1); break;
    case 3: made = plugin.accept(u, fd, (struct sockaddr *)&address, &length); break;
    case 4: length = remote_address(&address); plugin.connect(u, fd, (struct sockaddr *)&address, length); break;
    case 5: case 6: plugin.read(u, fd, memory, size); break;
    case 7: case 8: plugin.write(u, fd, memory, size); break;
    case 9: plugin.recv(u, fd, memory, size, (int)draw(0x10000)); break;
    case 10: plugin.send(u, fd, memory, size, (int)draw(0x10000)); break;
    case 11: plugin.shutdown(u, fd, (int)draw(4)); break;
    case 12: plugin.setsockopt(u, fd, (int)draw(8), (int)draw(60), &value, draw(8)); break;
    case 13: length = draw(300); plugin.getsockopt(u, fd, (int)draw(8), (int)draw(60), room, &length); break;
    case 14: plugin.fcntl(u, fd, F_SETFL, draw(3) ? O_NONBLOCK : 0); break;
    case 15: plugin.ioctl(u, fd, draw(2) ? 0x541B : 0x5411, &value); break;
    case 16: plugin.poll(u, &entry, 1, (int)draw(1000)); break;
    case 17: made = plugin.epoll_create(u, 1); break;
    case 18: plugin.epoll_ctl(u, fd, (int)draw(4), *count ? open[draw((unsigned)*count)] : 3, &event); break;
    case 19: plugin.epoll_wait(u, fd, &event, 1, (int)draw(1000)); break;
    case 20: if (!plugin.pipe(u, ends) && *count < 60) { open[(*count)++] = ends[0]; open[(*count)++] = ends[1]; } break;
    case 21: plugin.splice(u, fd, &none, *count ? open[draw((unsigned)*count)] : 3, &none, size, draw(4)); break;
    case 22: plugin.setsockopt(u, fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger); break;
    case 23: memset(&address, 0, sizeof address); plugin.connect(u, fd, (struct sockaddr *)&address, 16); break;
    case 24: plugin.setsockopt(u, fd, SOL_SOCKET, draw(2) ? SO_SNDBUF : SO_RCVBUF, &value, sizeof value); break;
    default:
        if (fd >= 0 && *count) {
            plugin.close(u, fd);
            for (int i = 0; i < *count; i++)
                if (open[i] == fd) open[i--] = open[--*count];
        }
    }
    if (made >= 0) {
        if (*count < 60) open[(*count)++] = made;
        else plugin.close(u, made);
    }
}

void lay_siege(unsigned seed, int rounds) {
    int open[64], count = 0;
    state = seed * 0x9E3779B97F4A7C15u + 1;
    for (int i = 0; i < rounds; i++) {
        switch (draw(5)) {
        case 0: draw_segment(); break;
        case 1: draw(8) ? draw_segment() : draw_bytes(); break;
        case 2: plugin.usleep(plugin.userdata, draw(10) ? draw(100000) : draw(4000000)); break;
        case 3: if (!draw(10)) sniff_all(); break;
        default: draw_call(open, &count);
        }
    }
    while (count > 0) plugin.close(plugin.userdata, open[--count]);
}
