/* chitcp/buffer.h: the circular buffer with sequence numbers. */
#include "chitcp/buffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int circular_buffer_init(circular_buffer_t *buf, uint32_t maxsize)
{
    if (buf == NULL || maxsize == 0 || maxsize > INT32_MAX) return CHITCP_EINVAL;
    memset(buf, 0, sizeof *buf);
    buf->data = malloc(maxsize);
    if (buf->data == NULL) return CHITCP_ENOMEM;
    buf->maxsize = maxsize;
    if (pthread_mutex_init(&buf->lock, NULL) != 0) goto no_lock;
    if (pthread_cond_init(&buf->cv_notfull, NULL) != 0) goto no_notfull;
    if (pthread_cond_init(&buf->cv_notempty, NULL) != 0) goto no_notempty;
    return CHITCP_OK;

no_notempty:
    pthread_cond_destroy(&buf->cv_notfull);
no_notfull:
    pthread_mutex_destroy(&buf->lock);
no_lock:
    free(buf->data);
    buf->data = NULL;
    return CHITCP_EINIT;
}

int circular_buffer_free(circular_buffer_t *buf)
{
    if (buf == NULL || buf->data == NULL) return CHITCP_EINVAL;
    pthread_cond_destroy(&buf->cv_notempty);
    pthread_cond_destroy(&buf->cv_notfull);
    pthread_mutex_destroy(&buf->lock);
    free(buf->data);
    buf->data = NULL;
    return CHITCP_OK;
}

int circular_buffer_set_seq_initial(circular_buffer_t *buf, uint32_t seq_initial)
{
    if (buf == NULL) return CHITCP_EINVAL;
    pthread_mutex_lock(&buf->lock);
    int result = buf->count == 0 ? CHITCP_OK : CHITCP_EINVAL;
    if (result == CHITCP_OK) buf->seq_initial = buf->seq_start = buf->seq_end = seq_initial;
    pthread_mutex_unlock(&buf->lock);
    return result;
}

/* Copies `len` bytes from `offset` bytes behind the first one; the caller knows that they are there. */
static void copy_out(const circular_buffer_t *buf, uint8_t *dst, uint32_t offset, uint32_t len)
{
    /* start < maxsize and offset <= count <= maxsize < 2^31: the sum does not overflow. */
    uint32_t from = (buf->start + offset) % buf->maxsize;
    uint32_t until_wrap = MIN(len, buf->maxsize - from);
    memcpy(dst, buf->data + from, until_wrap);
    memcpy(dst + until_wrap, buf->data, len - until_wrap);
}

/* Waits for a byte if `blocking`. With the lock held: bytes to copy, 0 at the end of a closed buffer, or an error. */
static int await_bytes(circular_buffer_t *buf, uint32_t len, bool_t blocking)
{
    while (buf->count == 0 && !buf->closed) {
        if (!blocking) return CHITCP_EWOULDBLOCK;
        pthread_cond_wait(&buf->cv_notempty, &buf->lock);
    }
    return (int) MIN(len, buf->count);
}

int circular_buffer_read(circular_buffer_t *buf, uint8_t *dst, uint32_t len, bool_t blocking)
{
    if (buf == NULL || (dst == NULL && len > 0)) return CHITCP_EINVAL;
    if (len == 0) return 0;
    pthread_mutex_lock(&buf->lock);
    int count = await_bytes(buf, len, blocking);
    if (count > 0) {
        copy_out(buf, dst, 0, (uint32_t) count);
        buf->start = (buf->start + (uint32_t) count) % buf->maxsize;
        buf->seq_start += (uint32_t) count;
        buf->count -= (uint32_t) count;
        pthread_cond_broadcast(&buf->cv_notfull);
    }
    pthread_mutex_unlock(&buf->lock);
    return count;
}

int circular_buffer_peek(circular_buffer_t *buf, uint8_t *dst, uint32_t len, bool_t blocking)
{
    if (buf == NULL || (dst == NULL && len > 0)) return CHITCP_EINVAL;
    if (len == 0) return 0;
    pthread_mutex_lock(&buf->lock);
    int count = await_bytes(buf, len, blocking);
    if (count > 0) copy_out(buf, dst, 0, (uint32_t) count);
    pthread_mutex_unlock(&buf->lock);
    return count;
}

int circular_buffer_peek_at(circular_buffer_t *buf, uint8_t *dst, uint32_t at, uint32_t len)
{
    if (buf == NULL || (dst == NULL && len > 0)) return CHITCP_EINVAL;
    int count = CHITCP_EINVAL;
    pthread_mutex_lock(&buf->lock);
    /* Numbers wrap, so a byte before the first one is far behind it. */
    uint32_t offset = at - buf->seq_start;
    if (offset < buf->count) {
        count = (int) MIN(len, buf->count - offset);
        if (count > 0) copy_out(buf, dst, offset, (uint32_t) count);
    }
    pthread_mutex_unlock(&buf->lock);
    return count;
}

/* Appends `len` bytes, for which there is room. */
static void copy_in(circular_buffer_t *buf, const uint8_t *data, uint32_t len)
{
    uint32_t until_wrap = MIN(len, buf->maxsize - buf->end);
    memcpy(buf->data + buf->end, data, until_wrap);
    memcpy(buf->data, data + until_wrap, len - until_wrap);
    buf->end = (buf->end + len) % buf->maxsize;
    buf->seq_end += len;
    buf->count += len;
    pthread_cond_broadcast(&buf->cv_notempty);
}

int circular_buffer_write(circular_buffer_t *buf, uint8_t *data, uint32_t len, bool_t blocking)
{
    if (buf == NULL || (data == NULL && len > 0) || len > INT32_MAX) return CHITCP_EINVAL;
    uint32_t written = 0;
    int result = 0;
    pthread_mutex_lock(&buf->lock);
    if (!blocking && !buf->closed && buf->maxsize - buf->count < len) result = CHITCP_EWOULDBLOCK;
    while (result == 0 && written < len && !buf->closed) {
        uint32_t piece = MIN(len - written, buf->maxsize - buf->count);
        if (piece == 0) {
            pthread_cond_wait(&buf->cv_notfull, &buf->lock);
            continue;
        }
        copy_in(buf, data + written, piece);
        written += piece;
    }
    pthread_mutex_unlock(&buf->lock);
    return result == 0 ? (int) written : result;
}

/* One field, read with the lock held. */
static int value(circular_buffer_t *buf, const uint32_t *field)
{
    pthread_mutex_lock(&buf->lock);
    uint32_t result = *field;
    pthread_mutex_unlock(&buf->lock);
    return (int) result;
}

int circular_buffer_first(circular_buffer_t *buf) { return value(buf, &buf->seq_start); }
int circular_buffer_next(circular_buffer_t *buf) { return value(buf, &buf->seq_end); }
int circular_buffer_capacity(circular_buffer_t *buf) { return value(buf, &buf->maxsize); }
int circular_buffer_count(circular_buffer_t *buf) { return value(buf, &buf->count); }
int circular_buffer_available(circular_buffer_t *buf) { return (int) buf->maxsize - value(buf, &buf->count); }

int circular_buffer_close(circular_buffer_t *buf)
{
    if (buf == NULL) return CHITCP_EINVAL;
    pthread_mutex_lock(&buf->lock);
    buf->closed = TRUE;
    pthread_cond_broadcast(&buf->cv_notfull);
    pthread_cond_broadcast(&buf->cv_notempty);
    pthread_mutex_unlock(&buf->lock);
    return CHITCP_OK;
}

int circular_buffer_dump(circular_buffer_t *buf)
{
    if (buf == NULL) return CHITCP_EINVAL;
    pthread_mutex_lock(&buf->lock);
    printf("circular buffer: capacity %u, %u bytes, first %u, next %u%s\n", buf->maxsize, buf->count, buf->seq_start,
        buf->seq_end, buf->closed ? ", closed" : "");
    for (uint32_t i = 0; i < buf->count; i++) {
        uint32_t place = (buf->start + i) % buf->maxsize;
        printf("  [%u] #%u %02x\n", place, buf->seq_start + i, buf->data[place]);
    }
    pthread_mutex_unlock(&buf->lock);
    return CHITCP_OK;
}
