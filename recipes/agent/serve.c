// Channels: a virtio-serial port `quiz.<name>.<n>` is served by the program /usr/lib/quiz/channels/<name> of some profile,
// with pipes to the port as its stdin and stdout, for one client of the host after the other.
//
// Not with the port itself: who polls one port by two descriptors, as most programs do with stdin and stdout, may sleep for ever
// although something has come. What the second look finds (Linux: port_fops_poll in drivers/char/virtio_console.c) it takes out
// of the queue, even if only the first was asked for it; the interrupt that comes then finds the queue empty and wakes nobody
// (vring_interrupt in drivers/virtio/virtio_ring.c).
//
// The host's side is src/boot/channel.rs. A client first sends a mark of 16 bytes that no one else uses. It gets that back
// when the program starts, and again when the program has ended: a port says neither who is at its other end nor that the
// guest is done. Knows nothing of frames.

#define _GNU_SOURCE
#include "serve.h"
#include "hooks.h"
#include "prepared.h"
#include "relay.h"
#include "wire.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
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

static struct relay to_program, to_client;

// Its process, or -1.
static pid_t start_program(int port, const char *program)
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 };
	pid_t pid = pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 ? fork() : -1;
	if (pid == 0) {
		reset_signals();
		setsid();
		set_hook_env();
		dup2(in[0], 0);
		dup2(out[1], 1);
		execl(program, program, NULL);
		fprintf(stderr, "quiz: %s: %s\n", program, strerror(errno));
		_exit(127);
	}
	if (pid < 0)
		fprintf(stderr, "quiz: cannot start %s: %s\n", program, strerror(errno));
	close_fd(&in[0]);
	close_fd(&out[1]);
	fcntl(in[1], F_SETFL, O_NONBLOCK);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	// Another descriptor of the port: it is closed where the client's bytes end.
	to_program = (struct relay){ .from = fcntl(port, F_DUPFD_CLOEXEC, 0), .to = in[1] };
	to_client = (struct relay){ .from = out[0], .to = port };
	return pid;
}

// Moves bytes until the program has ended and its last ones are out. When the client is gone, the program still gets what was sent,
// then the end of its stdin, and can write no more.
static void relay_for_client(pid_t pid, int signals)
{
	for (bool gone = false, ended = pid < 0; !(gone && ended);) {
		bool in_full = to_program.start < to_program.end, out_full = to_client.start < to_client.end;
		struct pollfd fds[4] = {
			// Once, with all that is wanted of it: see above.
			{ .fd = gone && in_full ? -1 : to_program.from, .events = (in_full ? 0 : POLLIN) | (out_full ? POLLOUT : 0) },
			{ .fd = in_full ? to_program.to : -1, .events = POLLOUT },
			{ .fd = out_full ? -1 : to_client.from, .events = POLLIN },
			{ .fd = signals, .events = POLLIN },
		};
		bool last = ended && !out_full; // only what the pipe still holds is wanted
		if (last)
			fds[0].fd = fds[1].fd = -1;
		int ready = poll(fds, 4, last ? 0 : -1);
		if (ready == 0)
			return;
		if (ready < 0)
			continue;
		if (fds[0].revents & POLLOUT || fds[2].revents)
			relay_move(&to_client);
		if (fds[0].revents & POLLIN || fds[1].revents)
			relay_move(&to_program);
		if (fds[0].revents & POLLHUP || to_program.from < 0) {
			gone = true;
			close_fd(&to_client.from);
			to_client.start = to_client.end = 0;
		}
		if (to_program.from < 0 && to_program.start == to_program.end)
			close_fd(&to_program.to);
		struct signalfd_siginfo info;
		if (fds[3].revents && read(signals, &info, sizeof info) > 0 && waitpid(pid, NULL, WNOHANG) == pid)
			ended = true;
	}
}

static void run_for_client(int port, const char *program, int signals)
{
	pid_t pid = start_program(port, program);
	fcntl(port, F_SETFL, O_NONBLOCK);
	relay_for_client(pid, signals);
	fcntl(port, F_SETFL, 0);
	close_fd(&to_program.from);
	close_fd(&to_program.to);
	close_fd(&to_client.from);
}

static void __attribute__((noreturn)) serve_channel(const char *device, const char *program)
{
	char path[320];
	snprintf(path, sizeof path, "/dev/%s", device);
	int port = open(path, O_RDWR | O_CLOEXEC), changes = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event change = { .events = EPOLLIN | EPOLLET };
	sigset_t child;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	signal(SIGPIPE, SIG_IGN);
	int signals = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
	if (port < 0 || changes < 0 || signals < 0 || epoll_ctl(changes, EPOLL_CTL_ADD, port, &change) != 0) {
		fprintf(stderr, "quiz: cannot serve %s at %s: %s\n", program, path, strerror(errno));
		_exit(1);
	}
	for (;;) {
		uint8_t mark[MARK], rest[4096];
		wait_for_client(port, changes);
		// A write to nobody waits for the next client, and then takes that one for the one that is gone.
		if (!read_mark(port, mark) || !has_client(port) || write(port, mark, MARK) != MARK)
			continue;
		run_for_client(port, program, signals);
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
