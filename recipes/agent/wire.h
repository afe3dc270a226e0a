// Frames on the control port, and the ports themselves.

#ifndef QUIZ_WIRE_H
#define QUIZ_WIRE_H

#include "frames.h"

#include <stddef.h>
#include <stdint.h>

// The open ports; -1 before open_ports. ports[] are stdin, stdout and stderr.
extern int control, ports[3];

void open_ports(void);
enum { PORT_NAME = 64 };
// The name of the port /dev/<device>; empty when it has none.
void port_name(const char *device, char name[PORT_NAME]);
// Another port of that name, which does not block; -1 when there is none.
int open_port(const char *name);
uint16_t get16(const uint8_t *p);
uint32_t get32(const uint8_t *p);
uint64_t get64(const uint8_t *p);
void put(uint8_t *p, uint64_t value, int bytes);

// Closes what is open, and forgets its number.
void close_fd(int *fd);
// Writes all of it. A port that takes nothing because the host is gone ends the machine.
void write_all(int fd, const void *data, size_t length);
// Reads so many bytes. Without the other end they never come: ends the machine.
void read_all(int fd, void *data, size_t length);
// For payloads up to 1024 bytes.
void send_frame(enum frame type, const void *payload, uint32_t length);

void power_off(void) __attribute__((noreturn));
// The guest cannot go on: tells the host why, or the console while there is no host, and powers off.
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
