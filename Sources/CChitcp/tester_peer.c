/* One peer of a tester: its thread, the steps that wait for it, and its sockets. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tester_peer.h"
#include "chitcp/addr.h"
#include "chitcp/socket.h"
#include "chitcp/utils.h"
#include "chitcp_internal/numbers.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TESTER_PORT 7

/* A step that waits; `func` and `args` are those of the moment it was handed over. */
struct waiting_step {
    enum tester_step step;
    chitcp_tester_runnable func;
    void *args;
    struct waiting_step *next;
};

/* A chisocket: its descriptor, and the daemon's number of it, which outlives the descriptor. Both -1 if there is none. */
struct socket {
    int descriptor;
    int number;
};

struct chitcp_tester_peer {
    bool is_server;
    pthread_t thread;

    /* All below is guarded by the lock. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum { NOT_STARTED, STARTING, RUNNING, ENDED } life;
    int start_result;               /* what the thread found when it began */
    bool has_failed;                /* a step failed */
    int accepts_waiting;            /* steps STEP_ACCEPT handed over and not yet taken */
    struct waiting_step *first, **end;
    struct socket own;              /* what socket() gave: the server's listens, the client's connects */
    struct socket connection;       /* the client's own, or the server's last accepted */
    debug_event_handler handler;
    int event_flags;
    chitcp_tester_runnable func;
    void *args;
};

static const struct socket no_socket = { .descriptor = -1, .number = -1 };

/* MARK: The steps, on the peer's thread */

static int fail(chitcp_tester_peer_t *peer, const char *what)
{
    int code = errno;
    fprintf(stderr, "chitcp tester: the %s cannot %s: %s\n", peer->is_server ? "server" : "client", what, strerror(code));
    pthread_mutex_lock(&peer->lock);
    peer->has_failed = true;
    pthread_mutex_unlock(&peer->lock);
    return CHITCP_ESOCKET;
}

/* A new socket with its breakpoints, before any other call on it. */
static int make_socket(chitcp_tester_peer_t *peer)
{
    struct socket made = { .descriptor = chisocket_socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) };
    if (made.descriptor < 0) return fail(peer, "create a socket");
    made.number = chitcp_socket_number(made.descriptor);
    pthread_mutex_lock(&peer->lock);
    peer->own = made;
    if (!peer->is_server) peer->connection = made;
    debug_event_handler handler = peer->handler;
    int event_flags = peer->event_flags;
    pthread_mutex_unlock(&peer->lock);
    if (made.number < 0) return fail(peer, "ask for the number of its socket");
    if (handler != NULL && chitcpd_debug(made.descriptor, event_flags, handler) < 0) {
        fail(peer, "set its debug handler");
        return CHITCP_EINIT;
    }
    return CHITCP_OK;
}

static void do_listen(chitcp_tester_peer_t *peer)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(TESTER_PORT) };
    int listener = peer->own.descriptor, on = 1;
    if (listener < 0) return;
    /* Connections of an earlier run may still be in TIME-WAIT. */
    chisocket_setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (chisocket_bind(listener, (struct sockaddr *) &address, sizeof address) < 0)
        fail(peer, "bind to port 7");
    else if (chisocket_listen(listener, 5) < 0)
        fail(peer, "listen on port 7");
}

static void do_accept(chitcp_tester_peer_t *peer)
{
    struct socket accepted = no_socket;
    if (peer->own.descriptor >= 0) {
        do accepted.descriptor = chisocket_accept(peer->own.descriptor, NULL, NULL);
        while (accepted.descriptor < 0 && errno == EINTR);
        if (accepted.descriptor < 0) fail(peer, "accept a connection");
    }
    if (accepted.descriptor >= 0) accepted.number = chitcp_socket_number(accepted.descriptor);
    pthread_mutex_lock(&peer->lock);
    struct socket former = peer->connection;
    if (accepted.descriptor >= 0) peer->connection = accepted;
    peer->accepts_waiting--;
    pthread_cond_broadcast(&peer->changed);
    pthread_mutex_unlock(&peer->lock);
    if (accepted.descriptor >= 0 && former.descriptor >= 0) chisocket_close(former.descriptor);
}

static void do_connect(chitcp_tester_peer_t *peer)
{
    const char *host = getenv("CHITCP_TESTER_ADDRESS");
    struct sockaddr_in address;
    if (peer->own.descriptor < 0) return;
    if (chitcp_addr_construct(host != NULL && *host != '\0' ? host : "127.0.0.1", "7", &address) < 0) {
        errno = EINVAL;
        fail(peer, "find the address in CHITCP_TESTER_ADDRESS");
    } else if (chisocket_connect(peer->own.descriptor, (struct sockaddr *) &address, sizeof address) < 0) {
        fail(peer, "connect to port 7");
    }
}

/* Closes the connection if there is one, else what socket() gave. The numbers stay known, for those that wait. */
static void do_close(chitcp_tester_peer_t *peer)
{
    pthread_mutex_lock(&peer->lock);
    int descriptor = peer->connection.descriptor >= 0 ? peer->connection.descriptor : peer->own.descriptor;
    if (peer->own.descriptor == descriptor) peer->own.descriptor = -1;
    if (peer->connection.descriptor == descriptor) peer->connection.descriptor = -1;
    pthread_mutex_unlock(&peer->lock);
    if (descriptor >= 0 && chisocket_close(descriptor) < 0) fail(peer, "close its socket");
}

static void take(chitcp_tester_peer_t *peer, const struct waiting_step *waiting)
{
    switch (waiting->step) {
    case STEP_LISTEN: do_listen(peer); break;
    case STEP_ACCEPT: do_accept(peer); break;
    case STEP_CONNECT: do_connect(peer); break;
    case STEP_RUN:
        if (waiting->func != NULL && peer->connection.descriptor >= 0)
            waiting->func(peer->connection.descriptor, waiting->args);
        break;
    case STEP_CLOSE: do_close(peer); break;
    case STEP_EXIT: break;
    }
}

/* Takes the next step off the queue, waiting for one. */
static struct waiting_step next_step(chitcp_tester_peer_t *peer)
{
    pthread_mutex_lock(&peer->lock);
    while (peer->first == NULL) pthread_cond_wait(&peer->changed, &peer->lock);
    struct waiting_step *waiting = peer->first, taken = *waiting;
    peer->first = waiting->next;
    if (peer->first == NULL) peer->end = &peer->first;
    pthread_mutex_unlock(&peer->lock);
    free(waiting);
    return taken;
}

static void *live(void *argument)
{
    chitcp_tester_peer_t *peer = argument;
    int result = make_socket(peer);
    pthread_mutex_lock(&peer->lock);
    peer->start_result = result;
    peer->life = RUNNING;
    pthread_cond_broadcast(&peer->changed);
    pthread_mutex_unlock(&peer->lock);
    for (;;) {
        struct waiting_step waiting = next_step(peer);
        take(peer, &waiting);
        if (waiting.step == STEP_EXIT) break;
    }
    while (peer->connection.descriptor >= 0 || peer->own.descriptor >= 0) do_close(peer);
    return NULL;
}

/* MARK: The calls, on other threads */

chitcp_tester_peer_t *tester_peer_create(bool is_server)
{
    chitcp_tester_peer_t *peer = calloc(1, sizeof *peer);
    if (peer == NULL) return NULL;
    peer->is_server = is_server;
    peer->end = &peer->first;
    peer->own = peer->connection = no_socket;
    if (pthread_mutex_init(&peer->lock, NULL) != 0) {
        free(peer);
        return NULL;
    }
    if (pthread_cond_init(&peer->changed, NULL) != 0) {
        pthread_mutex_destroy(&peer->lock);
        free(peer);
        return NULL;
    }
    return peer;
}

void tester_peer_destroy(chitcp_tester_peer_t *peer)
{
    if (peer == NULL) return;
    if (peer->life == RUNNING) tester_peer_exit(peer);
    pthread_cond_destroy(&peer->changed);
    pthread_mutex_destroy(&peer->lock);
    free(peer);
}

int tester_peer_start(chitcp_tester_peer_t *peer)
{
    pthread_mutex_lock(&peer->lock);
    int result = peer->life == NOT_STARTED ? CHITCP_OK : CHITCP_EINIT;
    if (result == CHITCP_OK) {
        peer->life = STARTING;
        if (pthread_create(&peer->thread, NULL, live, peer) != 0) {
            peer->life = NOT_STARTED;
            result = CHITCP_ETHREAD;
        } else {
            set_thread_name(peer->thread, peer->is_server ? "tester-server" : "tester-client");
            while (peer->life == STARTING) pthread_cond_wait(&peer->changed, &peer->lock);
            result = peer->start_result;
        }
    }
    pthread_mutex_unlock(&peer->lock);
    return result;
}

int tester_peer_set_debug(chitcp_tester_peer_t *peer, debug_event_handler handler, int event_flags)
{
    if (peer == NULL || handler == NULL || event_flags <= 0 || event_flags >= DBG_EVT_KILL) return CHITCP_EINVAL;
    pthread_mutex_lock(&peer->lock);
    peer->handler = handler;
    peer->event_flags = event_flags;
    int descriptor = peer->life == RUNNING ? peer->own.descriptor : -1;
    pthread_mutex_unlock(&peer->lock);
    return descriptor >= 0 && chitcpd_debug(descriptor, event_flags, handler) < 0 ? CHITCP_EINVAL : CHITCP_OK;
}

int tester_peer_wait_for_state(chitcp_tester_peer_t *peer, tcp_state_t tcp_state)
{
    if (peer == NULL || !IS_VALID_TCP_STATE(tcp_state)) return CHITCP_EINVAL;
    pthread_mutex_lock(&peer->lock);
    struct socket awaited = peer->own;
    if (peer->is_server && tcp_state != LISTEN) {
        /* A connection may be on its way in: it is the one that is meant. */
        bool is_coming = peer->accepts_waiting > 0;
        while (peer->accepts_waiting > 0) pthread_cond_wait(&peer->changed, &peer->lock);
        if (is_coming || peer->connection.number >= 0) awaited = peer->connection;
    }
    pthread_mutex_unlock(&peer->lock);
    if (awaited.number < 0) return CHITCP_EINVAL;
    return chitcp_wait_for_state_of_number(awaited.number, tcp_state) < 0 ? CHITCP_EINVAL : CHITCP_OK;
}

int tester_peer_run_set(chitcp_tester_peer_t *peer, chitcp_tester_runnable func, void *args)
{
    if (peer == NULL) return CHITCP_EINVAL;
    pthread_mutex_lock(&peer->lock);
    peer->func = func;
    peer->args = args;
    pthread_mutex_unlock(&peer->lock);
    return CHITCP_OK;
}

int tester_peer_do(chitcp_tester_peer_t *peer, enum tester_step step)
{
    if (peer == NULL) return CHITCP_EINVAL;
    struct waiting_step *waiting = calloc(1, sizeof *waiting);
    if (waiting == NULL) return CHITCP_ENOMEM;
    pthread_mutex_lock(&peer->lock);
    bool is_running = peer->life == RUNNING;
    if (is_running) {
        *waiting = (struct waiting_step) { .step = step, .func = peer->func, .args = peer->args };
        *peer->end = waiting;
        peer->end = &waiting->next;
        if (step == STEP_ACCEPT) peer->accepts_waiting++;
        if (step == STEP_EXIT) peer->life = ENDED;
        pthread_cond_broadcast(&peer->changed);
    }
    pthread_mutex_unlock(&peer->lock);
    if (!is_running) free(waiting);
    return is_running ? CHITCP_OK : CHITCP_ESYNC;
}

int tester_peer_exit(chitcp_tester_peer_t *peer)
{
    int result = tester_peer_do(peer, STEP_EXIT);
    if (result != CHITCP_OK) return result;
    pthread_join(peer->thread, NULL);
    return peer->has_failed ? CHITCP_ESOCKET : CHITCP_OK;
}
