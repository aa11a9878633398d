/* A debug handler that writes down each change of state with the variables of that moment, a list for each end. */
#ifndef STATES_H
#define STATES_H

#include "peers.h"

#define STATES_MAX 16

/* The changes one end went through, oldest first. */
struct states {
    int count;
    debug_socket_state_t seen[STATES_MAX];
};

extern struct states client_states, server_states;

/* Handlers for the client, and for the server and its connection. */
enum chitcpd_debug_response record_client(int sockfd, enum chitcpd_debug_event event, debug_socket_state_t *state,
    debug_socket_state_t *saved, int new_sockfd);
enum chitcpd_debug_response record_server(int sockfd, enum chitcpd_debug_event event, debug_socket_state_t *state,
    debug_socket_state_t *saved, int new_sockfd);

/* Sets both handlers for changes of state. */
void record_states(void);

/* Checks that `states` went through exactly `expected`, which LISTEN ends (no connection comes to be in it). */
void check_states(const char *who, const struct states *states, const tcp_state_t *expected);

#endif
