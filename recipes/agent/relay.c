// Moves the program's bytes between its pipes or pty and the ports, and counts them. Knows nothing of frames.

#define _GNU_SOURCE
#include "relay.h"
#include "wire.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

// Writes what the buffer holds. False when the rest must wait.
static bool relay_write(struct relay *r)
{
	while (r->start < r->end) {
		ssize_t n = write(r->to, r->buffer + r->start, r->end - r->start);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n <= 0)
			n = r->end - r->start; // the reader is gone
		r->start += n;
		r->total += n;
	}
	return true;
}

bool relay_move(struct relay *r)
{
	if (!relay_write(r) || r->from < 0)
		return false;
	ssize_t n = read(r->from, r->buffer, CHUNK);
	if (n > 0) {
		r->start = 0;
		r->end = n;
		return relay_write(r);
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	close_fd(&r->from); // end of the pipe, or the pty's last user is gone
	return false;
}

uint64_t relay_taken(const struct relay *r, int pipe)
{
	int left;
	return r->total - (pipe >= 0 && ioctl(pipe, FIONREAD, &left) == 0 ? left : 0);
}

void relay_drain(struct relay *r)
{
	for (;;) {
		if (r->start < r->end)
			write_all(r->to, r->buffer + r->start, r->end - r->start);
		r->total += r->end - r->start;
		r->start = r->end = 0;
		ssize_t n = r->from < 0 ? 0 : read(r->from, r->buffer, CHUNK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		r->end = n;
	}
	close_fd(&r->from);
}
