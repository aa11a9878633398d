/* Log lines: which are printed, and what they say. */
#include "acceptance.h"

#include <chitcp/addr.h>
#include <chitcp/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Runs `body` with standard output into a file; returns what it printed, until the next call. */
static const char *printed_by(void (*body)(void))
{
    static char text[16384];
    char path[] = "/tmp/chitcp-log-XXXXXX";
    int file = mkstemp(path), saved = dup(STDOUT_FILENO);
    CHECK(file >= 0 && saved >= 0, "a file");
    unlink(path);
    fflush(stdout);
    dup2(file, STDOUT_FILENO);
    body();
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    ssize_t count = pread(file, text, sizeof text - 1, 0);
    text[count < 0 ? 0 : count] = '\0';
    close(file);
    close(saved);
    return text;
}

static int lines(const char *text)
{
    int count = 0;
    for (; *text != '\0'; text++) count += *text == '\n';
    return count;
}

static loglevel_t level;

static void log_at_all_levels(void)
{
    static const loglevel_t all[] = { CRITICAL, ERROR, WARNING, MINIMAL, INFO, DEBUG, TRACE };
    chitcp_setloglevel(level);
    for (int i = 0; i < 7; i++) chilog(all[i], "number %d", all[i]);
}

static void levels(void)
{
    for (int most = 10; most <= 70; most += 10) {
        level = (loglevel_t) most;
        const char *text = printed_by(log_at_all_levels);
        CHECK(lines(text) == most / 10, "%d lines at level %d", lines(text), most);
        CHECK(strstr(text, "CRITICAL number 10") != NULL, "the text: %s", text);
    }
}

static void log_bytes(void)
{
    chitcp_setloglevel(INFO);
    chilog_hex(INFO, "0123456789abcdef\x01~", 18);
    chilog_hex(DEBUG, "not printed", 11);
    chilog_hex(INFO, NULL, 5);
}

static void hex(void)
{
    const char *text = printed_by(log_bytes);
    CHECK(lines(text) == 2, "%s", text);
    CHECK(strstr(text, "30 31 32 33") != NULL && strstr(text, "0123456789abcdef") != NULL, "%s", text);
    CHECK(strstr(text, "0010  01 7e") != NULL && strstr(text, ".~") != NULL, "%s", text);
}

static tcp_packet_t packet;

static void make_packet(void)
{
    chitcp_tcp_packet_init(&packet, (const uint8_t *) "payload", 7);
    tcphdr_t *header = TCP_PACKET_HEADER(&packet);
    header->source = chitcp_htons(50000);
    header->dest = chitcp_htons(7);
    header->seq = chitcp_htonl(1000);
    header->ack_seq = chitcp_htonl(2000);
    header->psh = header->ack = 1;
    header->win = chitcp_htons(4096);
}

static void log_packet(void)
{
    chitcp_setloglevel(TRACE);
    chilog_tcp(TRACE, &packet, LOG_OUTBOUND);
    size_t whole = packet.length;
    packet.length = 19;
    chilog_tcp(TRACE, &packet, LOG_INBOUND);
    packet.length = whole;
}

static void tcp(void)
{
    make_packet();
    const char *text = printed_by(log_packet);
    CHECK(strstr(text, "50000") != NULL && strstr(text, "seq 1000") != NULL, "%s", text);
    CHECK(strstr(text, "P.") != NULL && strstr(text, "payload 7 bytes") != NULL, "%s", text);
    CHECK(strstr(text, "> 0000  70 61 79") != NULL, "%s", text);
    CHECK(strstr(text, "< not a whole TCP segment") != NULL, "%s", text);
    chitcp_tcp_packet_free(&packet);
}

static void log_minimal(void)
{
    struct sockaddr_in from, to;
    chitcp_addr_construct("127.0.0.1", "50000", &from);
    chitcp_addr_construct("127.0.0.2", "7", &to);
    chitcp_setloglevel(MINIMAL);
    chilog_tcp_minimal((struct sockaddr *) &from, (struct sockaddr *) &to, 3, &packet, MINLOG_SEND);
    chitcp_setloglevel(WARNING);
    chilog_tcp_minimal((struct sockaddr *) &from, (struct sockaddr *) &to, 3, &packet, MINLOG_RCVD);
}

static void minimal(void)
{
    make_packet();
    const char *text = printed_by(log_minimal);
    CHECK(lines(text) == 1, "%s", text);
    CHECK(strstr(text, " [S3] SENT 127.0.0.1.50000 > 127.0.0.2.7 [P.] seq=1000 ack=2000 win=4096 len=7\n") != NULL,
        "%s", text);
    chitcp_tcp_packet_free(&packet);
}

static void log_frame(void)
{
    uint8_t frame[16] = { 0, 27, CHITCP_PROTO_TCP };
    chitcp_setloglevel(DEBUG);
    chilog_chitcp(DEBUG, frame, LOG_NO_DIRECTION);
}

static void frame(void)
{
    const char *text = printed_by(log_frame);
    CHECK(lines(text) == 1 && strstr(text, "| chiTCP payload 27 bytes  protocol 1 (TCP)") != NULL, "%s", text);
}

const struct acceptance_case log_cases[] = {
    { "log: levels", NULL, levels },
    { "log: bytes", NULL, hex },
    { "log: a segment", NULL, tcp },
    { "log: a segment in one line", NULL, minimal },
    { "log: a frame", NULL, frame },
    { NULL, NULL, NULL },
};
