/* What tests need of Linux and Swift's Glibc module does not show. */
#ifndef CHITCP_CTESTSUPPORT_H
#define CHITCP_CTESTSUPPORT_H
#include <stdint.h>

/* Moves the calling thread into a network namespace of its own; 0 or -1 with errno. */
int ctest_leave_network(void);
/* Moves it into the network namespace of this file; 0 or -1 with errno. */
int ctest_enter_network(const char *path);
/* The options that a kernel socket has negotiated (TCPI_OPT_ bits of TCP_INFO); 0 or -1 with errno. */
int ctest_tcp_options(int fd, uint32_t *options);
/* A socket that sends whole IP packets through an interface and receives those that come in from it; -1 with errno. */
int ctest_packet_socket(const char *interface, uint16_t protocol);
#endif
