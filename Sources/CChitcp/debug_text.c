/* chitcp/debug_api.h: events and states as text. */
#include "chitcp/debug_api.h"

#include <stdio.h>

char *dbg_evt_str(enum chitcpd_debug_event event)
{
    switch (event) {
    case DBG_EVT_TCP_STATE_CHANGE: return "DBG_EVT_TCP_STATE_CHANGE";
    case DBG_EVT_INCOMING_PACKET: return "DBG_EVT_INCOMING_PACKET";
    case DBG_EVT_OUTGOING_PACKET: return "DBG_EVT_OUTGOING_PACKET";
    case DBG_EVT_PENDING_CONNECTION: return "DBG_EVT_PENDING_CONNECTION";
    case DBG_EVT_KILL: return "DBG_EVT_KILL";
    }
    return "UNKNOWN";
}

static void dump_bytes(const char *name, const uint8_t *bytes, int count)
{
    printf("  %s: %d bytes\n", name, bytes == NULL ? 0 : count);
    for (int at = 0; bytes != NULL && at < count; at += 16) {
        printf("    %04x ", (unsigned) at);
        for (int i = at; i < at + 16 && i < count; i++) printf(" %02x", bytes[i]);
        putchar('\n');
    }
}

void dump_socket_state(debug_socket_state_t *state, bool_t include_buffers)
{
    if (state == NULL) return;
    flockfile(stdout);
    printf("%s\n", tcp_str(state->tcp_state));
    printf("  ISS     %10u  IRS     %10u\n", state->ISS, state->IRS);
    printf("  SND.UNA %10u  RCV.NXT %10u\n", state->SND_UNA, state->RCV_NXT);
    printf("  SND.NXT %10u  RCV.WND %10u\n", state->SND_NXT, state->RCV_WND);
    printf("  SND.WND %10u\n", state->SND_WND);
    if (include_buffers) {
        dump_bytes("send", state->send, state->send_len);
        dump_bytes("recv", state->recv, state->recv_len);
    }
    fflush(stdout);
    funlockfile(stdout);
}
