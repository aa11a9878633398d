/* Working with socket addresses of both families. Ports are in network order. Where a function gets NULL or an address
 * of another family, it answers 0, -1 or NULL, as its comment says, and touches nothing. */
#ifndef CHITCP_ADDR_H
#define CHITCP_ADDR_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The port; 0 if there is none. */
in_port_t chitcp_get_addr_port(const struct sockaddr *addr);
void chitcp_set_addr_port(struct sockaddr *addr, in_port_t port);

/* 0 if the addresses (without, with the ports) are the same; else their order, negative or positive, like memcmp. */
int chitcp_addr_cmp(const struct sockaddr *a, const struct sockaddr *b);
int chitcp_addr_port_cmp(const struct sockaddr *a, const struct sockaddr *b);

/* 1 for 127.0.0.0/8 and ::1; else 0. */
int chitcp_addr_is_loopback(const struct sockaddr *addr);
/* 1 for 0.0.0.0 and ::; else 0. */
int chitcp_addr_is_any(const struct sockaddr *addr);
/* Makes the address 0.0.0.0 or ::, by its family; the port stays. 0 or -1. */
int chitcp_addr_set_any(struct sockaddr *addr);

/* The struct in_addr or struct in6_addr inside; NULL for another family. */
void *chitcp_get_addr(const struct sockaddr *addr);

/* Writes "IP:port" into buf, cut to len bytes with the final zero; returns buf, or NULL if it cannot. */
char *chitcp_addr_str(const struct sockaddr *addr, char *buf, size_t len);

/* Fills in the first IPv4 address getaddrinfo(3) finds for host and port (NULL host: loopback). 0 or -1. */
int chitcp_addr_construct(const char *host, const char *port, struct sockaddr_in *addr);

#ifdef __cplusplus
}
#endif
#endif
