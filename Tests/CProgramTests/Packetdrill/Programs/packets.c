/* Builds, injects and compares packets. */
#define _GNU_SOURCE
#include "player.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum { server_port = 8080, peer_sequence = 5000 };

struct packet {
    uint8_t bytes[66000];
    size_t length;
};

static uint16_t peer_port = 40000, host_port;
static uint32_t host_sequence, first_timestamp;
static bool knows_host, knows_timestamp;
/* The last cookie of Fast Open that was seen, and one that was kept. */
static char cookie[40], kept_cookie[40];
static struct in6_addr host6;
static struct in_addr host4;

static bool is_ipv6(void) { return family == 6; }

void begin_packets(void) {
    peer_port++;
    host_port = server_port;
    knows_host = knows_timestamp = false;
    host_sequence = 0;
    *cookie = *kept_cookie = 0;
    inet_pton(AF_INET, "192.168.0.1", &host4);
    inet_pton(AF_INET6, "fd3d:fa7b:d17d::1", &host6);
}

static void peer_bytes(uint8_t *room) {
    if (is_ipv6()) inet_pton(AF_INET6, "fd3d:fa7b:d17d:8888::1", room);
    else inet_pton(AF_INET, "192.0.2.1", room);
}

static socklen_t address(struct sockaddr_storage *room, const char *v4, const char *v6, const char *mapped) {
    memset(room, 0, sizeof *room);
    if (family == 4) {
        struct sockaddr_in *a = (struct sockaddr_in *)room;
        a->sin_family = AF_INET;
        a->sin_port = htons(server_port);
        inet_pton(AF_INET, v4, &a->sin_addr);
        return sizeof *a;
    }
    struct sockaddr_in6 *a = (struct sockaddr_in6 *)room;
    a->sin6_family = AF_INET6;
    a->sin6_port = htons(server_port);
    inet_pton(AF_INET6, family == 6 ? v6 : mapped, &a->sin6_addr);
    return sizeof *a;
}

socklen_t local_address(struct sockaddr_storage *room) {
    return address(room, "192.168.0.1", "fd3d:fa7b:d17d::1", "::ffff:192.168.0.1");
}

socklen_t remote_address(struct sockaddr_storage *room) {
    return address(room, "192.0.2.1", "fd3d:fa7b:d17d:8888::1", "::ffff:192.0.2.1");
}

bool peer_is_known(const struct sockaddr_storage *given) {
    struct sockaddr_storage peer;
    remote_address(&peer);
    if (family == 4) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)given, *b = (struct sockaddr_in *)&peer;
        return a->sin_family == AF_INET && a->sin_port == htons(peer_port) && a->sin_addr.s_addr == b->sin_addr.s_addr;
    }
    const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)given, *b = (struct sockaddr_in6 *)&peer;
    return a->sin6_family == AF_INET6 && a->sin6_port == htons(peer_port) &&
           !memcmp(&a->sin6_addr, &b->sin6_addr, sizeof a->sin6_addr);
}

/* RFC 1071, over big-endian words. */
static uint32_t add_words(uint32_t sum, const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i + 1 < count; i += 2) sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
    if (count & 1) sum += (uint32_t)bytes[count - 1] << 8;
    return sum;
}

static uint16_t fold(uint32_t sum) {
    while (sum >> 16) sum = (sum & 0xFFFF) + (sum >> 16);
    return (uint16_t)~sum;
}

static void put16(uint8_t *at, unsigned value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value) {
    put16(at, value >> 16);
    put16(at + 2, value & 0xFFFF);
}

static unsigned get16(const uint8_t *at) { return (unsigned)at[0] << 8 | at[1]; }
static uint32_t get32(const uint8_t *at) { return (uint32_t)get16(at) << 16 | get16(at + 2); }

/* Puts an IP header in front of `count` bytes at bytes + 40 or + 20, and the checksum into them. */
static void wrap(struct packet *p, size_t count, int protocol, size_t checksum_at) {
    uint8_t pseudo[40];
    size_t head = is_ipv6() ? 40 : 20, half = is_ipv6() ? 16 : 4;
    uint8_t *source = p->bytes + (is_ipv6() ? 8 : 12);
    memset(p->bytes, 0, head);
    peer_bytes(source);
    memcpy(source + half, is_ipv6() ? (void *)&host6 : (void *)&host4, half);
    if (is_ipv6()) {
        p->bytes[0] = 0x60;
        put16(p->bytes + 4, (unsigned)count);
        p->bytes[6] = (uint8_t)protocol;
        p->bytes[7] = 255;
    } else {
        p->bytes[0] = 0x45;
        put16(p->bytes + 2, (unsigned)(count + head));
        p->bytes[8] = 255;
        p->bytes[9] = (uint8_t)protocol;
        put16(p->bytes + 10, fold(add_words(0, p->bytes, head)));
    }
    memcpy(pseudo, source, 2 * half);
    put32(pseudo + 2 * half, (uint32_t)count);
    put32(pseudo + 2 * half + 4, (uint32_t)protocol);
    uint32_t sum = protocol == 1 ? 0 : add_words(0, pseudo, 2 * half + 8);
    put16(p->bytes + head + checksum_at, 0);
    put16(p->bytes + head + checksum_at, fold(add_words(sum, p->bytes + head, count)));
    p->length = head + count;
}

static const char letters[] = "FSRP.UEWA";

static unsigned bits_of(const char *word) {
    unsigned bits = 0;
    if (!strcmp(word, "-")) return 0;
    for (; *word; word++) {
        const char *found = strchr(letters, *word);
        if (!found) fail("%c is no control bit", *word);
        bits |= 1u << (found - letters);
    }
    return bits;
}

void keep_cookie(void) { strcpy(kept_cookie, cookie); }

bool cookie_is_kept(void) { return !strcmp(kept_cookie, cookie); }

/* Options as text, e.g. "mss 1460,nop,wscale 8,TS val 100 ecr 0,sack 1:2": to bytes. Returns their length. */
static size_t put_options(char *text, uint8_t *room, bool is_syn) {
    size_t length = 0;
    for (char *save = NULL, *each = strtok_r(text, ",", &save); each; each = strtok_r(NULL, ",", &save)) {
        unsigned a, b;
        while (*each == ' ') each++;
        if (!strcmp(each, "nop")) room[length++] = 1;
        else if (!strcmp(each, "eol")) room[length++] = 0;
        else if (!strcmp(each, "sackOK")) { room[length++] = 4; room[length++] = 2; }
        else if (!strncmp(each, "FO", 2)) {
            size_t begin = length;
            room[length++] = 34;
            length++;
            const char *text = !strcmp(each, "FO *") ? cookie : !strcmp(each, "FO kept") ? kept_cookie : each + 2 + !!each[2];
            for (const char *hex = text; sscanf(hex, "%2x", &a) == 1; hex += 2) room[length++] = (uint8_t)a;
            room[begin + 1] = (uint8_t)(length - begin);
        }
        else if (sscanf(each, "mss %u", &a) == 1) { room[length++] = 2; room[length++] = 4; put16(room + length, a); length += 2; }
        else if (sscanf(each, "wscale %u", &a) == 1) { room[length++] = 3; room[length++] = 3; room[length++] = (uint8_t)a; }
        else if (sscanf(each, "TS val %u ecr %u", &a, &b) == 2) {
            room[length++] = 8;
            room[length++] = 10;
            put32(room + length, a);
            put32(room + length + 4, is_syn && !knows_timestamp ? b : first_timestamp + b);
            length += 8;
        } else if (!strncmp(each, "sack ", 5)) {
            size_t begin = length;
            char *rest = each + 5;
            room[length++] = 5;
            length++;
            for (char *block; (block = next_word(&rest)) != NULL;) {
                if (sscanf(block, "%u:%u", &a, &b) != 2) fail("%s is no block", block);
                put32(room + length, host_sequence + a);
                put32(room + length + 4, host_sequence + b);
                length += 8;
            }
            room[begin + 1] = (uint8_t)(length - begin);
        } else fail("%s is no option", each);
        if (length > 36) break;
    }
    while (length & 3) room[length++] = 1;
    return length;
}

static void send_packet(struct packet *p) {
    if (plugin.netdev_send(plugin.userdata, p->bytes, p->length)) fail("netdev_send failed");
}

void inject(char *words) {
    static struct packet p;
    char *rest = words, *word = need_word(&rest);
    size_t head = is_ipv6() ? 40 : 20, options = 0;
    unsigned bits = bits_of(word), begin, end;
    word = need_word(&rest);
    int found = sscanf(word, "%u:%u", &begin, &end);
    if (found < 1) fail("%s is no number", word);
    if (found == 1) end = begin;
    uint8_t *tcp = p.bytes + head;
    memset(p.bytes, 0, sizeof p.bytes);
    put16(tcp, peer_port);
    put16(tcp + 2, host_port);
    put32(tcp + 4, peer_sequence + begin);
    put16(tcp + 14, 65535);
    while ((word = next_word(&rest)) != NULL) {
        if (!strcmp(word, "ack")) put32(tcp + 8, host_sequence + (uint32_t)number(need_word(&rest)));
        else if (!strcmp(word, "win")) put16(tcp + 14, (unsigned)number(need_word(&rest)));
        else if (!strcmp(word, "port")) { peer_port = (uint16_t)number(need_word(&rest)); put16(tcp, peer_port); }
        else if (*word == '<') { word[strlen(word) - 1] = 0; options = put_options(word + 1, tcp + 20, bits & 2); }
        else fail("%s is not understood", word);
    }
    put16(tcp + 12, (unsigned)((20 + options) / 4) << 12 | bits);
    wrap(&p, 20 + options + (end - begin), IPPROTO_TCP, 16);
    say("%lld < %s", elapsed(), words);
    send_packet(&p);
}

/* icmp unreachable SEQ | rejected SEQ | toobig MTU SEQ */
void inject_icmp(char *words) {
    static struct packet p;
    char *rest = words, *kind = need_word(&rest);
    size_t head = is_ipv6() ? 40 : 20;
    uint8_t *icmp = p.bytes + head, *quoted = icmp + 8;
    memset(p.bytes, 0, sizeof p.bytes);
    if (!strcmp(kind, "toobig")) {
        icmp[0] = is_ipv6() ? 2 : 3;
        icmp[1] = is_ipv6() ? 0 : 4;
        put32(icmp + 4, (uint32_t)number(need_word(&rest)));
    } else {
        icmp[0] = is_ipv6() ? 1 : 3;
        icmp[1] = !strcmp(kind, "rejected") ? (is_ipv6() ? 4 : 3) : (is_ipv6() ? 0 : 1);
    }
    long sequence = number(need_word(&rest));
    if (is_ipv6()) {
        quoted[0] = 0x60;
        quoted[6] = IPPROTO_TCP;
        memcpy(quoted + 8, &host6, 16);
        peer_bytes(quoted + 24);
    } else {
        quoted[0] = 0x45;
        quoted[9] = IPPROTO_TCP;
        memcpy(quoted + 12, &host4, 4);
        peer_bytes(quoted + 16);
    }
    put16(quoted + head, host_port);
    put16(quoted + head + 2, host_port == server_port ? peer_port : server_port);
    put32(quoted + head + 4, host_sequence + (uint32_t)sequence);
    wrap(&p, 8 + head + 20, is_ipv6() ? IPPROTO_ICMPV6 : IPPROTO_ICMP, 2);
    say("%lld < icmp", elapsed());
    send_packet(&p);
}

void inject_bytes(const char *hex) {
    static struct packet p;
    p.length = 0;
    for (unsigned byte; sscanf(hex, "%2x", &byte) == 1 && p.length < 1000; hex += 2) p.bytes[p.length++] = (uint8_t)byte;
    send_packet(&p);
}

void inject_reset(void) {
    char words[64] = "R 1 win 0";
    if (knows_host) inject(words);
}

/* The options of a segment as `put_options` reads them. */
static void describe_options(const uint8_t *at, size_t length, char *room, size_t size) {
    size_t used = 0;
    *room = 0;
#define ADD(...) used += (size_t)snprintf(room + used, size - used, __VA_ARGS__)
    for (size_t i = 0; i < length;) {
        size_t count = at[i] > 1 && i + 1 < length ? at[i + 1] : 1;
        if (i) ADD(",");
        if (!count || i + count > length) { ADD("broken"); return; }
        switch (at[i]) {
        case 0: ADD("eol"); break;
        case 1: ADD("nop"); break;
        case 2: ADD("mss %u", get16(at + i + 2)); break;
        case 3: ADD("wscale %u", at[i + 2]); break;
        case 4: ADD("sackOK"); break;
        case 8: ADD("TS val %u ecr %u", get32(at + i + 2) - first_timestamp, get32(at + i + 6)); break;
        case 5:
            ADD("sack");
            for (size_t j = 2; j + 8 <= count; j += 8)
                ADD(" %u:%u", get32(at + i + j) - peer_sequence, get32(at + i + j + 4) - peer_sequence);
            break;
        case 34:
            ADD(count > 2 ? "FO " : "FO");
            for (size_t j = 2; j < count; j++) ADD("%02x", at[i + j]);
            for (size_t j = 2; j < count && j < 18; j++) snprintf(cookie + 2 * (j - 2), 3, "%02x", at[i + j]);
            break;
        default: ADD("kind %u", at[i]);
        }
        i += count;
    }
#undef ADD
}

/* A sniffed segment, in words and numbers. */
struct seen {
    char text[400], options[256];
    unsigned bits, window;
    uint32_t begin, end, ack;
    long long time;
};

static bool sniff(struct seen *s) {
    static struct packet p;
    long long time = 0;
    p.length = sizeof p.bytes;
    if (plugin.netdev_receive(plugin.userdata, p.bytes, &p.length, &time)) fail("netdev_receive failed");
    if (!p.length) return false;
    size_t head = is_ipv6() ? 40 : 20;
    if (p.length < head + 20 || p.bytes[0] >> 4 != (is_ipv6() ? 6 : 4)) fail("a packet of another version, or a short one");
    uint8_t *tcp = p.bytes + head, pseudo[40];
    size_t length = p.length - head, half = is_ipv6() ? 16 : 4, offset = (size_t)(tcp[12] >> 4) * 4;
    memcpy(pseudo, p.bytes + (is_ipv6() ? 8 : 12), 2 * half);
    put32(pseudo + 2 * half, (uint32_t)length);
    put32(pseudo + 2 * half + 4, IPPROTO_TCP);
    if (fold(add_words(add_words(0, pseudo, 2 * half + 8), tcp, length))) fail("a segment with a wrong checksum");
    if (!is_ipv6() && fold(add_words(0, p.bytes, head))) fail("an IP header with a wrong checksum");
    if (offset < 20 || offset > length) fail("a data offset of %zu", offset);
    s->bits = get16(tcp + 12) & 0x1FF;
    if (s->bits & 2 && (!knows_host || get32(tcp + 4) != host_sequence)) {
        knows_host = true;
        host_sequence = get32(tcp + 4);
        if (!(s->bits & 16)) {
            /* The plugin's own SYN tells its ends. */
            host_port = (uint16_t)get16(tcp);
            peer_port = (uint16_t)get16(tcp + 2);
            memcpy(is_ipv6() ? (void *)&host6 : (void *)&host4, pseudo, half);
        }
    }
    for (size_t i = 20; i + 9 < offset; i += tcp[i] > 1 && tcp[i + 1] ? tcp[i + 1] : 1)
        if (tcp[i] == 8 && !knows_timestamp) {
            knows_timestamp = true;
            first_timestamp = get32(tcp + i + 2);
        }
    s->begin = get32(tcp + 4) - host_sequence;
    s->end = s->begin + (uint32_t)(length - offset);
    s->ack = s->bits & 16 ? get32(tcp + 8) - peer_sequence : 0;
    s->window = get16(tcp + 14);
    struct timeval now;
    plugin.gettimeofday(plugin.userdata, &now, NULL);
    s->time = time - (now.tv_sec * 1000000LL + now.tv_usec) + elapsed();
    describe_options(tcp + 20, offset - 20, s->options, sizeof s->options);
    char bits[16];
    size_t used = 0;
    for (size_t i = 0; i < 9; i++)
        if (s->bits >> i & 1) bits[used++] = letters[i];
    if (!used) bits[used++] = '-';
    bits[used] = 0;
    snprintf(s->text, sizeof s->text, "%s %u:%u ack %u win %u <%s>", bits, s->begin, s->end, s->ack, s->window, s->options);
    say("%lld > %s", s->time, s->text);
    return true;
}

void sniff_all(void) {
    struct seen s;
    sniff(&s);
}

void expect(char *words, long long time) {
    struct seen s;
    char *rest = words;
    unsigned bits = bits_of(need_word(&rest)), begin, end;
    char *word = need_word(&rest);
    int found = sscanf(word, "%u:%u", &begin, &end);
    if (found < 1) fail("%s is no number", word);
    if (found == 1) end = begin;
    if (!sniff(&s)) fail("expected a segment, and none came");
    /* What was sent in several segments counts as one, with the last one's bits and time. */
    while (s.begin != s.end && s.end - s.begin < end - begin && s.begin == begin) {
        struct seen next;
        if (!sniff(&next)) fail("expected more than %s", s.text);
        if (next.begin != s.end || next.ack != s.ack || next.window != s.window || strcmp(next.options, s.options))
            fail("%s does not continue %s", next.text, s.text);
        next.begin = s.begin;
        s = next;
    }
    check_time(s.text, time, s.time);
    if (s.bits != bits || s.begin != begin || s.end != end) fail("expected other bits or numbers than %s", s.text);
    bool any_options = false, options = false;
    while ((word = next_word(&rest)) != NULL) {
        if (!strcmp(word, "ack")) {
            if (s.ack != (uint32_t)number(need_word(&rest))) fail("another ACK was expected than in %s", s.text);
        } else if (!strcmp(word, "win")) {
            if (s.window != (unsigned)number(need_word(&rest))) fail("another window was expected than in %s", s.text);
        } else if (!strcmp(word, "<...>")) {
            any_options = true;
        } else if (*word == '<') {
            options = true;
            word[strlen(word) - 1] = 0;
            char wanted[256];
            const char *any = strstr(word + 1, "FO *");
            if (any)
                snprintf(wanted, sizeof wanted, "%.*sFO %s%s", (int)(any - word - 1), word + 1, cookie, any + 4);
            else
                snprintf(wanted, sizeof wanted, "%s", word + 1);
            if (strcmp(wanted, s.options)) fail("expected <%s> in %s", wanted, s.text);
        } else fail("%s is not understood", word);
    }
    if (!any_options && !options && *s.options) fail("no options were expected in %s", s.text);
}
