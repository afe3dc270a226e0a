// Channels: a virtio-serial port `quiz.<name>.<n>` is served by the program /usr/lib/quiz/channels/<name> of some profile,
// with the port as its stdin and stdout, for one client of the host after the other.
//
// The host's side is src/boot/channel.rs. A client first sends a mark of 16 bytes that no one else uses. It gets that back
// when the program starts, and again when the program has ended: a port says neither who is at its other end nor that the
// guest is done. Knows nothing of frames.

#define _GNU_SOURCE
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAMS "/usr/lib/quiz/channels"

enum { MARK = 16 };

static bool has_client(int port)
{
	struct pollfd now = { .fd = port };
	return poll(&now, 1, 0) >= 0 && !(now.revents & POLLHUP);
}

// A port without a client can be read (end of file) and has hung up all the time: only changes are worth waking up for. What a client
// sends may be there before it is: nothing is read until then.
static void wait_for_client(int port, int changes)
{
	while (!has_client(port)) {
		struct epoll_event change;
		epoll_wait(changes, &change, 1, -1);
	}
}

static bool read_mark(int port, uint8_t mark[MARK])
{
	for (size_t have = 0; have < MARK;) {
		ssize_t n = read(port, mark + have, MARK - have);
		if (n <= 0)
			return false; // the client is gone
		have += n;
	}
	return true;
}

static void run_for_client(int port, const char *program)
{
	pid_t pid = fork();
	if (pid == 0) {
		setsid();
		set_hook_env();
		dup2(port, 0);
		dup2(port, 1);
		execl(program, program, NULL);
		fprintf(stderr, "quiz: %s: %s\n", program, strerror(errno));
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	fcntl(port, F_SETFL, 0); // the program may have left it non-blocking
}

static void __attribute__((noreturn)) serve_channel(const char *device, const char *program)
{
	char path[320];
	snprintf(path, sizeof path, "/dev/%s", device);
	int port = open(path, O_RDWR | O_CLOEXEC), changes = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event change = { .events = EPOLLIN | EPOLLET };
	if (port < 0 || changes < 0 || epoll_ctl(changes, EPOLL_CTL_ADD, port, &change) != 0) {
		fprintf(stderr, "quiz: cannot serve %s at %s: %s\n", program, path, strerror(errno));
		_exit(1);
	}
	for (;;) {
		uint8_t mark[MARK], rest[4096];
		wait_for_client(port, changes);
		// A write to nobody waits for the next client, and then takes that one for the one that is gone.
		if (!read_mark(port, mark) || !has_client(port) || write(port, mark, MARK) != MARK)
			continue;
		run_for_client(port, program);
		if (!has_client(port) || write(port, mark, MARK) == MARK)
			while (read(port, rest, sizeof rest) > 0)
				; // until the client is gone
	}
}

static bool programs;

void find_channels(void)
{
	programs = access(PROGRAMS, F_OK) == 0;
}

void serve_channels(void)
{
	DIR *dir = programs ? opendir("/sys/class/virtio-ports") : NULL;
	for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
		char name[PORT_NAME], program[sizeof PROGRAMS + PORT_NAME];
		port_name(entry->d_name, name);
		char *number = strrchr(name, '.');
		if (strncmp(name, "quiz.", 5) != 0 || number < name + 5)
			continue;
		*number = '\0';
		snprintf(program, sizeof program, PROGRAMS "/%s", name + 5);
		if (access(program, X_OK) != 0)
			continue;
		pid_t pid = fork();
		if (pid < 0)
			fail("cannot fork: %s", strerror(errno));
		if (pid == 0) {
			reset_signals();
			close_prepared();
			close_fd(&control);
			for (int i = 0; i < 3; i++)
				close_fd(&ports[i]);
			serve_channel(entry->d_name, program);
		}
	}
	if (dir != NULL)
		closedir(dir);
}
