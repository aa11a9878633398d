/* main: `cases NAME ADDRESS` runs one case, `cases` lists them. */
#include "cases.h"

const char *host;
char *program;

struct name name_of(const char *text, uint16_t port)
{
    struct name n = { .length = 0 };
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
        memcpy(&n.address, &v4, sizeof v4);
        n.length = sizeof v4;
    } else {
        CHECK(inet_pton(AF_INET6, text, &v6.sin6_addr) == 1);
        memcpy(&n.address, &v6, sizeof v6);
        n.length = sizeof v6;
    }
    return n;
}

uint16_t port_of(const struct name *name)
{
    return ntohs(name->address.ss_family == AF_INET ? ((const struct sockaddr_in *) &name->address)->sin_port
                                                    : ((const struct sockaddr_in6 *) &name->address)->sin6_port);
}

int listener(struct name *at, int flags)
{
    *at = name_of(host, 0);
    int fd = socket(at->address.ss_family, SOCK_STREAM | flags, 0);
    CHECK(fd >= 0);
    CHECK(bind(fd, SA(at), at->length) == 0);
    CHECK(listen(fd, 128) == 0);
    CHECK(getsockname(fd, SA(at), &at->length) == 0);
    return fd;
}

void connected(int *client, int *server)
{
    struct name at;
    int l = listener(&at, 0);
    *client = socket(at.address.ss_family, SOCK_STREAM, 0);
    CHECK(connect(*client, SA(&at), at.length) == 0);
    *server = accept(l, NULL, NULL);
    CHECK(*server >= 0);
    CHECK(close(l) == 0);
}

int events_of(int fd, int wanted, int milliseconds)
{
    struct pollfd entry = { .fd = fd, .events = (short) wanted };
    int n = poll(&entry, 1, milliseconds);
    CHECK(n >= 0);
    return n == 0 ? 0 : entry.revents;
}

void set_nonblocking(int fd) { CHECK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0); }

size_t read_all(int fd, void *room, size_t count)
{
    size_t done = 0;
    while (done < count) {
        ssize_t n = read(fd, (char *) room + done, count - done);
        CHECK(n >= 0);
        if (n == 0) break;
        done += (size_t) n;
    }
    return done;
}

void wait_for_child(pid_t child)
{
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int option_int(int fd, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;
    CHECK(getsockopt(fd, level, name, &value, &length) == 0);
    return value;
}

void set_int(int fd, int level, int name, int value) { CHECK(setsockopt(fd, level, name, &value, sizeof value) == 0); }

int main(int count, char **arguments)
{
    static const struct test_case *const groups[] = { connecting_cases, data_cases, process_cases, option_cases, tuning_cases };
    program = arguments[0];
    alarm(100);
    if (count > 2 && strcmp(arguments[1], "child") == 0) return child_case(count - 2, arguments + 2);
    if (count == 3) host = arguments[2];
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
        for (const struct test_case *c = groups[g]; c->name != NULL; c++) {
            if (count == 1) puts(c->name);
            else if (count == 3 && strcmp(c->name, arguments[1]) == 0) {
                c->run();
                return 0;
            }
        }
    }
    return count == 1 ? 0 : 2;
}
