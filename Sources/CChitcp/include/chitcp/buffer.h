/* A circular buffer whose bytes have sequence numbers, as a send or receive buffer of TCP has them. Bytes are written
 * behind the last one and read from the first one. Any number of threads may use a buffer at once, except while it is
 * initialised or freed. */
#ifndef CHITCP_BUFFER_H
#define CHITCP_BUFFER_H

#include "chitcp/types.h"

#include <pthread.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The `blocking` argument of read, peek and write. */
#define BUFFER_NONBLOCKING 0
#define BUFFER_BLOCKING    1

typedef struct circular_buffer {
    uint8_t *data;
    uint32_t maxsize;           /* capacity */
    uint32_t seq_initial;       /* number of the first byte ever written */
    uint32_t seq_start;         /* number of the first byte in the buffer */
    uint32_t seq_end;           /* number of the byte to be written next */
    uint32_t start;             /* where in data the first byte is */
    uint32_t end;               /* where in data the next byte goes */
    uint32_t count;             /* bytes in the buffer */
    bool_t closed;
    pthread_mutex_t lock;
    pthread_cond_t cv_notfull;
    pthread_cond_t cv_notempty;
} circular_buffer_t;

/* Makes an empty buffer for `maxsize` bytes (1 to 2^31 - 1). CHITCP_OK, CHITCP_EINVAL, CHITCP_ENOMEM or CHITCP_EINIT. */
int circular_buffer_init(circular_buffer_t *buf, uint32_t maxsize);

/* Numbers the byte that will be written first. CHITCP_OK, or CHITCP_EINVAL once bytes are in the buffer. */
int circular_buffer_set_seq_initial(circular_buffer_t *buf, uint32_t seq_initial);

/* Takes up to `len` bytes from the front, as many as there are, into `dst`. On an empty buffer, waits for the first byte
 * if `blocking`, else answers CHITCP_EWOULDBLOCK. Returns how many; 0 if the buffer is empty and closed, or `len` is 0. */
int circular_buffer_read(circular_buffer_t *buf, uint8_t *dst, uint32_t len, bool_t blocking);

/* Like read, but the bytes stay. */
int circular_buffer_peek(circular_buffer_t *buf, uint8_t *dst, uint32_t len, bool_t blocking);

/* Copies up to `len` bytes from the one numbered `at` on; they stay, and the call never waits. CHITCP_EINVAL if that byte
 * is not in the buffer, so also if the buffer is empty. */
int circular_buffer_peek_at(circular_buffer_t *buf, uint8_t *dst, uint32_t at, uint32_t len);

/* Appends `len` bytes. With `blocking`, waits for room whenever the buffer is full until all are in; without, writes all
 * of them or, if there is not room for all, none and answers CHITCP_EWOULDBLOCK. Returns how many were written: fewer, or
 * 0, if the buffer is or gets closed. */
int circular_buffer_write(circular_buffer_t *buf, uint8_t *data, uint32_t len, bool_t blocking);

/* The number of the first byte in the buffer, and of the byte that will be written next (cast to uint32_t). */
int circular_buffer_first(circular_buffer_t *buf);
int circular_buffer_next(circular_buffer_t *buf);

/* How many bytes fit in all, are in the buffer, and would still fit. */
int circular_buffer_capacity(circular_buffer_t *buf);
int circular_buffer_count(circular_buffer_t *buf);
int circular_buffer_available(circular_buffer_t *buf);

/* Ends writing: waiting writes return what they had written, further ones 0; reads get what is left, then 0. CHITCP_OK. */
int circular_buffer_close(circular_buffer_t *buf);

/* Frees what the buffer holds; nobody may be using it. CHITCP_OK. */
int circular_buffer_free(circular_buffer_t *buf);

/* Prints the numbers and the bytes on standard output. CHITCP_OK. */
int circular_buffer_dump(circular_buffer_t *buf);

#ifdef __cplusplus
}
#endif
#endif
