// Frames on the control port, and the ports themselves. Knows nothing of roots or programs.

#define _GNU_SOURCE
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <termios.h>
#include <unistd.h>

int control = -1, ports[3] = { -1, -1, -1 };

uint32_t get32(const uint8_t *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

uint16_t get16(const uint8_t *p)
{
	return p[0] | p[1] << 8;
}

uint64_t get64(const uint8_t *p)
{
	return get32(p) | (uint64_t)get32(p + 4) << 32;
}

void put(uint8_t *p, uint64_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		p[i] = value >> (8 * i);
}

void power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

void write_all(int fd, const void *data, size_t length)
{
	const uint8_t *p = data;
	while (length > 0) {
		ssize_t n = write(fd, p, length);
		if (n > 0) {
			p += n;
			length -= n;
		} else if (n < 0 && errno == EAGAIN) {
			struct pollfd wait = { .fd = fd, .events = POLLOUT };
			poll(&wait, 1, -1);
			if (wait.revents & POLLHUP)
				power_off();
		} else if (n == 0 || errno != EINTR) {
			power_off();
		}
	}
}

void send_frame(enum frame type, const void *payload, uint32_t length)
{
	uint8_t frame[5 + 1024];
	frame[0] = type;
	put(frame + 1, length, 4);
	memcpy(frame + 5, payload, length);
	write_all(control, frame, 5 + length);
}

void fail(const char *format, ...)
{
	char text[1024];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	fprintf(stderr, "quiz: %s\n", text);
	tcdrain(2); // what a hook said on the console goes out first
	if (control >= 0)
		send_frame(ERROR, text, strlen(text));
	power_off();
}

void port_name(const char *device, char name[PORT_NAME])
{
	char path[320];
	snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", device);
	FILE *file = fopen(path, "re");
	name[0] = '\0';
	if (file == NULL)
		return;
	if (fgets(name, PORT_NAME, file) != NULL)
		name[strcspn(name, "\n")] = '\0';
	fclose(file);
}

// Opens the port of that name: the names are in sysfs, so no udev is needed. -1 while it is not there.
static int open_port(const char *wanted)
{
	int fd = -1;
	DIR *dir = opendir("/sys/class/virtio-ports");
	for (struct dirent *entry; fd < 0 && dir != NULL && (entry = readdir(dir)) != NULL;) {
		char path[320], name[PORT_NAME];
		port_name(entry->d_name, name);
		snprintf(path, sizeof path, "/dev/%s", entry->d_name);
		if (strcmp(name, wanted) == 0)
			fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	}
	if (dir != NULL)
		closedir(dir);
	return fd;
}

// The kernel learns the names from the host by messages, so they come a moment after the driver.
void open_ports(void)
{
	static const char *const names[] = { "quiz.stdin", "quiz.stdout", "quiz.stderr", "quiz.control" };
	int *const fds[] = { &ports[0], &ports[1], &ports[2], &control };
	for (int i = 0; i < 4; i++) {
		for (int tries = 0; (*fds[i] = open_port(names[i])) < 0; tries++) {
			if (tries == 10000)
				fail("there is no virtio-serial port %s (CONFIG_VIRTIO_CONSOLE)", names[i]);
			usleep(1000);
		}
	}
}
