/* Where the daemon is: its port on the network, and its UNIX socket on this machine. */
#ifndef CHITCP_CHITCPD_H
#define CHITCP_CHITCPD_H

#include "chitcp/debug_api.h"
#include "chitcp/types.h"

#include <stdint.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DEFAULT_CHITCPD_PORT        23300
#define DEFAULT_CHITCPD_PORT_STRING "23300"

/* CHITCPD_PORT of the environment, else 23300: as a number in host order, and as text. */
#define GET_CHITCPD_PORT        (chitcp_daemon_port())
#define GET_CHITCPD_PORT_STRING (chitcp_daemon_port_string())

uint16_t chitcp_daemon_port(void);
const char *chitcp_daemon_port_string(void);

/* Writes the path of the daemon's UNIX socket: CHITCPD_SOCK, else /tmp/chitcpd.socket.LOGIN where getlogin(3) answers,
 * else /tmp/chitcpd.socket. Returns 0, or -1 (buf untouched) if it does not fit into len bytes. */
int chitcp_unix_socket(char *buf, int len);

#ifdef __cplusplus
}
#endif
#endif
