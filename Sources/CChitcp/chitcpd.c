/* chitcp/chitcpd.h: the environment's answer to where the daemon is. */
#include "chitcp/chitcpd.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* The port in CHITCPD_PORT, or 0 if that is unset or not a port. */
static uint16_t port_of_environment(void)
{
    const char *text = getenv("CHITCPD_PORT");
    if (text == NULL || *text == '\0') return 0;
    char *end;
    errno = 0;
    long port = strtol(text, &end, 10);
    return errno != 0 || *end != '\0' || port < 1 || port > 65535 ? 0 : (uint16_t) port;
}

uint16_t chitcp_daemon_port(void)
{
    uint16_t port = port_of_environment();
    return port == 0 ? DEFAULT_CHITCPD_PORT : port;
}

const char *chitcp_daemon_port_string(void)
{
    return port_of_environment() == 0 ? DEFAULT_CHITCPD_PORT_STRING : getenv("CHITCPD_PORT");
}

int chitcp_unix_socket(char *buf, int len)
{
    static const char standard[] = "/tmp/chitcpd.socket";
    char login[256];
    const char *path = getenv("CHITCPD_SOCK");
    int by_login = 0;
    if (path == NULL || *path == '\0') {
        path = standard;
        by_login = getlogin_r(login, sizeof login) == 0 && login[0] != '\0';
    }
    size_t length = strlen(path), extra = by_login ? strlen(login) + 1 : 0;
    if (buf == NULL || len <= 0 || length + extra + 1 > (size_t) len) return -1;
    memcpy(buf, path, length + 1);
    if (by_login) {
        buf[length] = '.';
        memcpy(buf + length + 1, login, extra);
    }
    return 0;
}
