/* What the cases with a server and a client share: a tester taken through its steps, and transfers whose bytes differ from
 * place to place. */
#ifndef PEERS_H
#define PEERS_H

#include "acceptance.h"

#include <chitcp/tester.h>

extern chitcp_tester_t tester;

/* Initialises the tester; set handlers and functions between this and peers_connect. */
void peers_init(void);
/* Starts both and connects them; without waiting, or until both are in ESTABLISHED. */
void peers_start_connecting(void);
void peers_connect(void);
/* Runs both functions. */
void peers_run(void);
/* Waits for the end of both and frees the tester. */
void peers_done(void);
/* The client closes first, then the server; waits until both are in CLOSED. */
void peers_close_in_turn(void);

/* Functions of a peer; `args` is an int *, how many bytes. */
int send_pattern(int sockfd, void *args);
int receive_pattern(int sockfd, void *args);
/* Sends and gets the same back. */
int send_and_receive_pattern(int sockfd, void *args);
/* Sends back what comes. */
int echo_pattern(int sockfd, void *args);

/* A transfer from start to end: the functions run on a new connection. */
void transfer(chitcp_tester_runnable client, chitcp_tester_runnable server, int bytes);

#endif
