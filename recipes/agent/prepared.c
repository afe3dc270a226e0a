// What a program may need: pipes and a pty. Made before the request is known, and closed where they are not wanted.

#define _GNU_SOURCE
#include "prepared.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIPE_SIZE = 1 << 20 };

struct prepared prepared;

void open_prepared(void)
{
	if (pipe2(prepared.request, O_CLOEXEC) != 0)
		fail("cannot make a pipe: %s", strerror(errno));
	for (int i = 0; i < 3; i++) {
		int *pipe = prepared.pipes[i];
		if (pipe2(pipe, O_CLOEXEC) != 0)
			fail("cannot make a pipe: %s", strerror(errno));
		fcntl(pipe[0], F_SETPIPE_SZ, PIPE_SIZE);
		fcntl(pipe[i == 0], F_SETFL, O_NONBLOCK);
	}
	prepared.pty = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (prepared.pty < 0 || unlockpt(prepared.pty) != 0)
		fail("cannot open /dev/ptmx: %s", strerror(errno));
}

void close_prepared(void)
{
	close_fd(&prepared.request[1]);
	close_fd(&prepared.pipes[0][0]);
	for (int i = 0; i < 3; i++)
		close_fd(&prepared.pipes[i][i == 0]);
	close_fd(&prepared.pty);
}
