/* The circular buffer: bytes, numbers, waiting, and closing. */
#include "acceptance.h"

#include <chitcp/buffer.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static uint8_t letters[] = "abcdefghijklmnopqrstuvwxyz";

/* A buffer for eight bytes whose first one has number 1000. */
static circular_buffer_t buffer;

static void open_buffer(uint32_t first)
{
    CHECK(circular_buffer_init(&buffer, 8) == CHITCP_OK, "init");
    CHECK(circular_buffer_set_seq_initial(&buffer, first) == CHITCP_OK, "set_seq_initial");
}

static void write_bytes(int from, int count)
{
    int result = circular_buffer_write(&buffer, letters + from, (uint32_t) count, BUFFER_NONBLOCKING);
    CHECK(result == count, "wrote %d of %d", result, count);
}

/* Reads up to `most` bytes and expects those from `from` to `to`. */
static void read_bytes(int most, int from, int to)
{
    uint8_t bytes[32];
    int result = circular_buffer_read(&buffer, bytes, (uint32_t) most, BUFFER_NONBLOCKING);
    CHECK(result == to - from, "read %d, not %d", result, to - from);
    CHECK(memcmp(bytes, letters + from, (size_t) (to - from)) == 0, "other bytes than %d to %d", from, to);
}

static void close_buffer(void) { CHECK(circular_buffer_free(&buffer) == CHITCP_OK, "free"); }

static void exact(void)
{
    open_buffer(1000);
    write_bytes(0, 3);
    CHECK(circular_buffer_count(&buffer) == 3, "count");
    read_bytes(3, 0, 3);
    CHECK(circular_buffer_count(&buffer) == 0, "count");
    close_buffer();
}

static void read_more(void)
{
    open_buffer(1000);
    write_bytes(0, 3);
    read_bytes(20, 0, 3);
    close_buffer();
}

static void peek(void)
{
    uint8_t bytes[32];
    open_buffer(1000);
    write_bytes(0, 5);
    CHECK(circular_buffer_peek(&buffer, bytes, 3, BUFFER_NONBLOCKING) == 3 && memcmp(bytes, letters, 3) == 0, "3");
    CHECK(circular_buffer_peek(&buffer, bytes, 20, BUFFER_NONBLOCKING) == 5 && memcmp(bytes, letters, 5) == 0, "all");
    CHECK(circular_buffer_count(&buffer) == 5, "they stay");
    read_bytes(5, 0, 5);
    close_buffer();
}

static void peek_at(void)
{
    uint8_t bytes[32];
    open_buffer(1000);
    CHECK(circular_buffer_peek_at(&buffer, bytes, 1000, 1) == CHITCP_EINVAL, "empty");
    CHECK(circular_buffer_peek_at(&buffer, bytes, 1000, 0) == CHITCP_EINVAL, "empty, no bytes");
    write_bytes(0, 6);
    CHECK(circular_buffer_peek_at(&buffer, bytes, 1000, 3) == 3 && memcmp(bytes, letters, 3) == 0, "the first");
    CHECK(circular_buffer_peek_at(&buffer, bytes, 1003, 20) == 3 && memcmp(bytes, letters + 3, 3) == 0, "the rest");
    CHECK(circular_buffer_peek_at(&buffer, bytes, 999, 3) == CHITCP_EINVAL, "before the first");
    CHECK(circular_buffer_peek_at(&buffer, bytes, 1006, 3) == CHITCP_EINVAL, "behind the last");
    read_bytes(2, 0, 2);
    CHECK(circular_buffer_peek_at(&buffer, bytes, 1001, 1) == CHITCP_EINVAL, "already read");
    CHECK(circular_buffer_peek_at(&buffer, bytes, 1002, 1) == 1 && bytes[0] == 'c', "the first left");
    CHECK(circular_buffer_count(&buffer) == 4, "they stay");
    close_buffer();
}

static void several_writes(void)
{
    open_buffer(1000);
    write_bytes(0, 3);
    write_bytes(3, 3);
    read_bytes(2, 0, 2);
    read_bytes(4, 2, 6);
    close_buffer();
}

/* Bytes go round the end of the memory wherever it lies. */
static void round_the_end(void)
{
    open_buffer(1000);
    for (int shift = 0; shift < 20; shift++) {
        uint8_t bytes[8];
        write_bytes(0, 7);
        read_bytes(2, 0, 2);
        write_bytes(7, 3);
        uint32_t first = (uint32_t) circular_buffer_first(&buffer);
        CHECK(circular_buffer_peek_at(&buffer, bytes, first + 3, 5) == 5 && memcmp(bytes, letters + 5, 5) == 0, "peek");
        read_bytes(8, 2, 10);
    }
    close_buffer();
}

static void numbers(void)
{
    open_buffer(1000);
    CHECK(circular_buffer_first(&buffer) == 1000 && circular_buffer_next(&buffer) == 1000, "empty");
    write_bytes(0, 6);
    CHECK(circular_buffer_first(&buffer) == 1000 && circular_buffer_next(&buffer) == 1006, "written");
    read_bytes(4, 0, 4);
    CHECK(circular_buffer_first(&buffer) == 1004 && circular_buffer_next(&buffer) == 1006, "read");
    CHECK(circular_buffer_capacity(&buffer) == 8, "capacity");
    CHECK(circular_buffer_count(&buffer) == 2 && circular_buffer_available(&buffer) == 6, "count and available");
    CHECK(circular_buffer_set_seq_initial(&buffer, 5) == CHITCP_EINVAL, "renumbering what is there");
    close_buffer();
}

/* Numbers wrap at 2^32. */
static void wrapping_numbers(void)
{
    uint8_t bytes[8];
    open_buffer(0xfffffffe);
    write_bytes(0, 6);
    CHECK((uint32_t) circular_buffer_first(&buffer) == 0xfffffffe, "first");
    CHECK((uint32_t) circular_buffer_next(&buffer) == 4, "next");
    CHECK(circular_buffer_peek_at(&buffer, bytes, 1, 8) == 3 && memcmp(bytes, letters + 3, 3) == 0, "behind the wrap");
    CHECK(circular_buffer_peek_at(&buffer, bytes, 0xfffffffd, 1) == CHITCP_EINVAL, "before the first");
    read_bytes(4, 0, 4);
    CHECK(circular_buffer_first(&buffer) == 2, "first");
    close_buffer();
}

static void without_waiting(void)
{
    uint8_t bytes[8];
    open_buffer(1000);
    CHECK(circular_buffer_read(&buffer, bytes, 1, BUFFER_NONBLOCKING) == CHITCP_EWOULDBLOCK, "read");
    CHECK(circular_buffer_peek(&buffer, bytes, 1, BUFFER_NONBLOCKING) == CHITCP_EWOULDBLOCK, "peek");
    write_bytes(0, 6);
    CHECK(circular_buffer_write(&buffer, letters, 3, BUFFER_NONBLOCKING) == CHITCP_EWOULDBLOCK, "no room for all");
    CHECK(circular_buffer_count(&buffer) == 6, "nothing was written");
    write_bytes(6, 2);
    CHECK(circular_buffer_available(&buffer) == 0, "full");
    CHECK(circular_buffer_write(&buffer, letters, 1, BUFFER_NONBLOCKING) == CHITCP_EWOULDBLOCK, "full");
    CHECK(circular_buffer_read(&buffer, bytes, 0, BUFFER_BLOCKING) == 0, "no bytes wanted");
    read_bytes(8, 0, 8);
    close_buffer();
}

static void bad_arguments(void)
{
    circular_buffer_t other;
    CHECK(circular_buffer_init(NULL, 8) == CHITCP_EINVAL, "no buffer");
    CHECK(circular_buffer_init(&other, 0) == CHITCP_EINVAL, "no room");
    CHECK(circular_buffer_init(&other, 1u << 31) == CHITCP_EINVAL, "more than an int counts");
    open_buffer(1000);
    CHECK(circular_buffer_read(&buffer, NULL, 1, BUFFER_NONBLOCKING) == CHITCP_EINVAL, "read to nowhere");
    CHECK(circular_buffer_write(&buffer, NULL, 1, BUFFER_NONBLOCKING) == CHITCP_EINVAL, "write from nowhere");
    CHECK(circular_buffer_dump(&buffer) == CHITCP_OK, "dump");
    close_buffer();
}

/* A writer of 26 letters and a reader of 26, through eight bytes. */
static void *write_letters(void *unused)
{
    (void) unused;
    int written = circular_buffer_write(&buffer, letters, 26, BUFFER_BLOCKING);
    CHECK(written == 26, "wrote %d", written);
    return NULL;
}

static void producer_and_consumer(void)
{
    pthread_t writer;
    uint8_t bytes[26];
    int received = 0;
    open_buffer(1000);
    CHECK(pthread_create(&writer, NULL, write_letters, NULL) == 0, "a thread");
    while (received < 26) {
        int n = circular_buffer_read(&buffer, bytes + received, 5, BUFFER_BLOCKING);
        CHECK(n > 0 && n <= 5, "read %d", n);
        if (n <= 0) break;
        received += n;
    }
    pthread_join(writer, NULL);
    CHECK(memcmp(bytes, letters, 26) == 0, "other letters");
    CHECK(circular_buffer_next(&buffer) == 1026 && circular_buffer_first(&buffer) == 1026, "the numbers");
    close_buffer();
}

/* Closing ends the wait of a reader and of a writer. */
static atomic_int result_of_wait, has_returned;

static void *read_one(void *unused)
{
    uint8_t byte;
    (void) unused;
    result_of_wait = circular_buffer_read(&buffer, &byte, 1, BUFFER_BLOCKING);
    has_returned = 1;
    return NULL;
}

static void *write_ten(void *unused)
{
    (void) unused;
    result_of_wait = circular_buffer_write(&buffer, letters, 10, BUFFER_BLOCKING);
    has_returned = 1;
    return NULL;
}

static bool is_full(void *unused)
{
    (void) unused;
    return circular_buffer_available(&buffer) == 0;
}

static void close_wakes_reader(void)
{
    pthread_t reader;
    open_buffer(1000);
    CHECK(pthread_create(&reader, NULL, read_one, NULL) == 0, "a thread");
    pause_milliseconds(20);
    CHECK(!has_returned, "the reader waits");
    CHECK(circular_buffer_close(&buffer) == CHITCP_OK, "close");
    pthread_join(reader, NULL);
    CHECK(result_of_wait == 0, "read %d", result_of_wait);
    close_buffer();
}

static void close_wakes_writer(void)
{
    pthread_t writer;
    open_buffer(1000);
    CHECK(pthread_create(&writer, NULL, write_ten, NULL) == 0, "a thread");
    wait_until("a full buffer", is_full, NULL);
    CHECK(!has_returned, "the writer waits");
    CHECK(circular_buffer_close(&buffer) == CHITCP_OK, "close");
    pthread_join(writer, NULL);
    CHECK(result_of_wait == 8, "wrote %d", result_of_wait);
    read_bytes(8, 0, 8);
    close_buffer();
}

static void closed(void)
{
    uint8_t byte;
    open_buffer(1000);
    write_bytes(0, 3);
    CHECK(circular_buffer_close(&buffer) == CHITCP_OK, "close");
    CHECK(circular_buffer_write(&buffer, letters, 1, BUFFER_BLOCKING) == 0, "no more writes");
    CHECK(circular_buffer_write(&buffer, letters, 1, BUFFER_NONBLOCKING) == 0, "no more writes");
    read_bytes(8, 0, 3);
    CHECK(circular_buffer_read(&buffer, &byte, 1, BUFFER_BLOCKING) == 0, "the end");
    CHECK(circular_buffer_read(&buffer, &byte, 1, BUFFER_NONBLOCKING) == 0, "the end");
    CHECK(circular_buffer_peek(&buffer, &byte, 1, BUFFER_BLOCKING) == 0, "the end");
    close_buffer();
}

const struct acceptance_case buffer_cases[] = {
    { "buffer: what was written is read", NULL, exact },
    { "buffer: reading more than there is", NULL, read_more },
    { "buffer: peek", NULL, peek },
    { "buffer: peek at a number", NULL, peek_at },
    { "buffer: several writes", NULL, several_writes },
    { "buffer: round the end", NULL, round_the_end },
    { "buffer: numbers", NULL, numbers },
    { "buffer: numbers that wrap", NULL, wrapping_numbers },
    { "buffer: without waiting", NULL, without_waiting },
    { "buffer: arguments that make no sense", NULL, bad_arguments },
    { "buffer: a writer and a reader", NULL, producer_and_consumer },
    { "buffer: close wakes a reader", NULL, close_wakes_reader },
    { "buffer: close wakes a writer", NULL, close_wakes_writer },
    { "buffer: after close", NULL, closed },
    { NULL, NULL, NULL },
};
