// Frames on the control port, and the ports themselves. Knows nothing of roots or programs.

#define _GNU_SOURCE
#include "wire.h"

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
	// Not sync(): a stuck file system would keep it from this.
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
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

void read_all(int fd, void *data, size_t length)
{
	uint8_t *p = data;
	while (length > 0) {
		ssize_t n = read(fd, p, length);
		if (n > 0) {
			p += n;
			length -= n;
		} else if (n < 0 && errno == EAGAIN) {
			struct pollfd wait = { .fd = fd, .events = POLLIN };
			if (poll(&wait, 1, -1) > 0 && !(wait.revents & POLLIN))
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
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? 0 : read(fd, name, PORT_NAME - 1);
	close_fd(&fd);
	name[length > 0 ? length : 0] = '\0';
	name[strcspn(name, "\n")] = '\0';
}

// Opens those ports that are there and not yet open: the names are in sysfs, so no udev is needed. Returns how many are missing.
static int open_found(int count, const char *const names[], int *const fds[])
{
	DIR *dir = opendir("/sys/class/virtio-ports");
	int missing = count;
	for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
		char path[320], name[PORT_NAME];
		port_name(entry->d_name, name);
		snprintf(path, sizeof path, "/dev/%s", entry->d_name);
		for (int i = 0; i < count; i++)
			if (*fds[i] < 0 && strcmp(name, names[i]) == 0)
				*fds[i] = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	}
	if (dir != NULL)
		closedir(dir);
	for (int i = 0; i < count; i++)
		missing -= *fds[i] >= 0;
	return missing;
}

int open_port(const char *name)
{
	int fd = -1;
	const char *const names[] = { name };
	int *const fds[] = { &fd };
	open_found(1, names, fds);
	return fd;
}

// The kernel learns the names from the host by messages, so they come a moment after the driver.
void open_ports(void)
{
	enum { COUNT = 4 };
	static const char *const names[COUNT] = { "quiz.stdin", "quiz.stdout", "quiz.stderr", "quiz.control" };
	int *const fds[COUNT] = { &ports[0], &ports[1], &ports[2], &control };
	for (int tries = 0; open_found(COUNT, names, fds) > 0; tries++) {
		for (int i = 0; tries == 10000 && i < COUNT; i++)
			if (*fds[i] < 0)
				fail("there is no virtio-serial port %s (CONFIG_VIRTIO_CONSOLE)", names[i]);
		usleep(1000);
	}
}
