// Programs that are started while the machine runs, any number at once over one port, `quiz.exec`. Its frames are `type u8, number u32,
// length u32, payload`; the number says which program. The host's side is src/boot/exec.
//
// All of it is one process, which is there before the machine is saved and reads nothing before the host asks for the first program. Neither
// side waits for a reader of the other's: of each stream no more is under way than its reader has room for.

#define _GNU_SOURCE
#include "exec.h"
#include "hooks.h"
#include "prepared.h"
#include "request.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

// What may be under way of one program's input, and of its output at the beginning: the host's ROOM.
enum { EXEC_WINDOW = 256 << 10, HEADER = 9, PIECE = 32 << 10, MOST_TASKS = 64 };

struct task {
	struct task *next;
	uint32_t number, room;
	pid_t pid;
	// Both ends of its stdin: what is left in the pipe was not taken.
	int in, left, out[2], status;
	uint64_t taken;
	// Of one that has ended: what its pipes held then. -1: not known of a terminal.
	int owed[2];
	bool tty, input_ends, ended, gone;
	size_t start, end;
	uint8_t input[EXEC_WINDOW];
};

static struct task *tasks;
static int port = -1;
// A byte comes there when the shares are mounted; -1 when it did.
static int allowed[2] = { -1, -1 };

// Not write_all: a port that nobody is at is the end of this process, not of the machine.
static void write_port(const void *data, size_t length)
{
	for (const uint8_t *at = data; length > 0;) {
		ssize_t n = write(port, at, length);
		struct pollfd wait = { .fd = port, .events = POLLOUT };
		if (n > 0) {
			at += n;
			length -= n;
		} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
			_exit(1);
		} else if (poll(&wait, 1, -1) > 0 && wait.revents & POLLHUP) {
			_exit(1);
		}
	}
}

static void tell(uint8_t type, uint32_t number, const void *payload, uint32_t length)
{
	uint8_t head[HEADER] = { type };
	put(head + 1, number, 4);
	put(head + 5, length, 4);
	write_port(head, sizeof head);
	write_port(payload, length);
}

static void refuse(uint32_t number, const char *why)
{
	tell(REFUSED, number, why, strlen(why));
}

static void close_streams(struct task *task)
{
	close_fd(&task->in);
	close_fd(&task->left);
	close_fd(&task->out[0]);
	close_fd(&task->out[1]);
}

static struct task *find(uint32_t number)
{
	struct task *task = tasks;
	while (task != NULL && task->number != number)
		task = task->next;
	return task;
}

// Of the guest's processes this one goes last: without it none of the others would be told of.
static void set_oom_score(const char *score)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, score, strlen(score)) < 0)
		fprintf(stderr, "quiz: cannot set oom_score_adj: %s\n", strerror(errno));
	close_fd(&fd);
}

// The process that becomes the program; the ends of its pipes, or its pty.
static void __attribute__((noreturn)) become(const struct request *request, int pty, int pipes[3][2])
{
	int fds[3];
	reset_signals();
	set_oom_score("0");
	setsid();
	for (int i = 0; i < 3; i++)
		fds[i] = pipes[i][i != 0];
	if (request->tty) {
		fds[0] = fds[1] = fds[2] = take_terminal(pty);
		if (fds[0] < 0)
			_exit(126);
	}
	for (int i = 0; i < 3; i++)
		dup2(fds[i], i);
	exec_request(request, request->args);
}

static bool open_streams(struct task *task, const struct request *request, int *pty, int pipes[3][2])
{
	if (request->tty) {
		*pty = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
		if (*pty < 0 || unlockpt(*pty) != 0)
			return false;
		ioctl(*pty, TIOCSWINSZ, &request->size);
		task->in = *pty;
		task->out[0] = fcntl(*pty, F_DUPFD_CLOEXEC, 3);
		return task->out[0] >= 0;
	}
	for (int i = 0; i < 3; i++) {
		int *ours = i == 0 ? &task->in : &task->out[i - 1];
		if (pipe2(pipes[i], O_CLOEXEC) != 0)
			return false;
		*ours = pipes[i][i == 0];
		fcntl(*ours, F_SETFL, O_NONBLOCK);
	}
	return true;
}

static void start(uint32_t number, uint8_t *payload, uint32_t length)
{
	struct request request;
	size_t count = 0;
	char byte;
	// Else it would find the folders over which the shares are going to be mounted.
	if (allowed[0] >= 0 && read(allowed[0], &byte, 1) >= 0)
		close_fd(&allowed[0]);
	for (struct task *task = tasks; task != NULL; task = task->next)
		count++;
	if (count >= MOST_TASKS || find(number) != NULL)
		return refuse(number, "64 programs run there already");
	if (!read_request(&request, payload, length))
		return refuse(number, "the request is damaged");
	struct task *task = malloc(sizeof *task);
	if (task == NULL)
		return refuse(number, "no memory");
	*task = (struct task){ .next = tasks, .number = number, .room = EXEC_WINDOW, .in = -1, .left = -1, .out = { -1, -1 }, .tty = request.tty };
	int pty = -1, pipes[3][2] = { { -1, -1 }, { -1, -1 }, { -1, -1 } };
	task->pid = open_streams(task, &request, &pty, pipes) ? fork() : -1;
	if (task->pid == 0)
		become(&request, pty, pipes);
	task->left = pipes[0][0];
	for (int i = 1; i < 3; i++)
		close_fd(&pipes[i][1]);
	free_request(&request);
	if (task->pid < 0) {
		refuse(number, strerror(errno));
		close_streams(task);
		free(task);
		return;
	}
	tasks = task;
}

// Moves what it has of the program's stdin.
static void feed(struct task *task)
{
	ssize_t n = 0;
	if (task->in >= 0 && task->start < task->end)
		n = write(task->in, task->input + task->start, task->end - task->start);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		task->taken += n;
	if (n < 0 || task->in < 0) {
		// It reads no more.
		n = task->end - task->start;
		close_fd(&task->in);
	}
	if (n > 0 && !task->gone) {
		uint8_t payload[4];
		put(payload, n, sizeof payload);
		tell(TAKEN_INPUT, task->number, payload, sizeof payload);
	}
	task->start += n;
	// A terminal has no end that could be passed on; Ctrl-D is a byte like any other.
	if (task->start == task->end && task->input_ends && !task->tty)
		close_fd(&task->in);
}

static void take_input(struct task *task, const uint8_t *payload, uint32_t length)
{
	memmove(task->input, task->input + task->start, task->end - task->start);
	task->end -= task->start;
	task->start = 0;
	// More than there is room for is not sent.
	if (length > EXEC_WINDOW - task->end)
		length = EXEC_WINDOW - task->end;
	memcpy(task->input + task->end, payload, length);
	task->end += length;
	feed(task);
}

// Nobody waits for it: it hears what a program hears whose terminal is gone, and nobody reads what it writes.
static void leave(struct task *task)
{
	task->gone = true;
	if (!task->ended) {
		// It has no group of its own before it has called setsid.
		if (kill(-task->pid, SIGHUP) != 0)
			kill(task->pid, SIGHUP);
		kill(-task->pid, SIGCONT);
	}
	close_streams(task);
}

static void take(uint8_t type, uint32_t number, uint8_t *payload, uint32_t length)
{
	struct task *task = find(number);
	if (type == START)
		return start(number, payload, length);
	// It may have ended meanwhile.
	if (task == NULL || task->gone)
		return;
	if (type == INPUT) {
		take_input(task, payload, length);
	} else if (type == INPUT_END) {
		task->input_ends = true;
		feed(task);
	} else if (type == TTY_SIZE && length == 4) {
		struct winsize size = { .ws_row = get16(payload), .ws_col = get16(payload + 2) };
		if (task->tty && task->in >= 0)
			ioctl(task->in, TIOCSWINSZ, &size);
	} else if (type == KILL && length == 4) {
		if (!task->ended && kill(-task->pid, get32(payload)) != 0) // no group before setsid
			kill(task->pid, get32(payload));
	} else if (type == ROOM && length == 4) {
		task->room += get32(payload);
	} else if (type == GONE) {
		leave(task);
	}
}

// Reads what the port holds; frames may come in pieces.
static void read_port(void)
{
	static uint8_t buffer[HEADER + FRAME_LIMIT];
	static size_t have;
	ssize_t n = read(port, buffer + have, sizeof buffer - have);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		_exit(0); // the host is gone, and the machine soon
	have += n > 0 ? n : 0;
	while (have >= HEADER) {
		uint32_t length = get32(buffer + 5);
		if (length > FRAME_LIMIT)
			_exit(1);
		if (have < HEADER + length)
			break;
		take(buffer[0], get32(buffer + 1), buffer + HEADER, length);
		have -= HEADER + length;
		memmove(buffer, buffer + HEADER + length, have);
	}
}

// One piece of a program's output. Of one that has ended all is there that it wrote: what a child of its writes later, for ever perhaps,
// nobody waits for.
static void pass_on(struct task *task, int stream)
{
	static uint8_t piece[PIECE];
	size_t most = task->room < PIECE ? task->room : PIECE;
	bool bounded = task->ended && task->owed[stream] >= 0;
	if (bounded && most > (size_t)task->owed[stream])
		most = task->owed[stream];
	ssize_t n = most == 0 ? 0 : read(task->out[stream], piece, most);
	if (n > 0) {
		task->room -= n;
		task->owed[stream] -= bounded ? n : 0;
		tell(stream == 0 ? OUTPUT : ERRORS, task->number, piece, n);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR) || (errno == EAGAIN && task->ended)) {
		close_fd(&task->out[stream]); // the end of the pipe, or the pty's last user is gone
	}
}

static void reap(int signals)
{
	struct signalfd_siginfo info;
	while (read(signals, &info, sizeof info) > 0)
		;
	for (int status, pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		for (struct task *task = tasks; task != NULL; task = task->next)
			if (task->pid == pid && !task->ended) {
				task->ended = true;
				task->status = decode_status(status);
				int left;
				if (!task->tty)
					close_fd(&task->in);
				if (ioctl(task->left, FIONREAD, &left) == 0)
					task->taken -= left;
				for (int i = 0; i < 2; i++)
					if (task->tty || ioctl(task->out[i], FIONREAD, &task->owed[i]) != 0)
						task->owed[i] = -1;
			}
}

// Tells of those that have ended and said all, and forgets them.
static void settle(void)
{
	for (struct task **at = &tasks, *task; (task = *at) != NULL;) {
		if (!task->ended || task->out[0] >= 0 || task->out[1] >= 0) {
			at = &task->next;
			continue;
		}
		uint8_t payload[9] = { task->status };
		put(payload + 1, task->taken, 8);
		if (!task->gone)
			tell(ENDED, task->number, payload, sizeof payload);
		close_streams(task);
		*at = task->next;
		free(task);
	}
}

static void __attribute__((noreturn)) serve_exec(int signals)
{
	for (;;) {
		struct pollfd fds[2 + 3 * MOST_TASKS] = { { .fd = port, .events = POLLIN }, { .fd = signals, .events = POLLIN } };
		int count = 2, ended = 0;
		for (struct task *task = tasks; task != NULL; task = task->next) {
			bool waits = task->start < task->end;
			fds[count++] = (struct pollfd){ .fd = waits ? task->in : -1, .events = POLLOUT };
			for (int i = 0; i < 2; i++)
				fds[count++] = (struct pollfd){ .fd = task->room > 0 ? task->out[i] : -1, .events = POLLIN };
			ended |= task->ended && task->room > 0;
		}
		if (poll(fds, count, ended ? 0 : -1) < 0)
			continue;
		int at = 2;
		for (struct task *task = tasks; task != NULL; task = task->next, at += 3) {
			if (fds[at].revents)
				feed(task);
			for (int i = 0; i < 2; i++)
				if (task->out[i] >= 0 && task->room > 0 && (fds[at + 1 + i].revents || task->ended))
					pass_on(task, i);
		}
		if (fds[1].revents)
			reap(signals);
		settle();
		// Last: it changes the list.
		if (fds[0].revents)
			read_port();
	}
}

void allow_exec(void)
{
	if (allowed[1] >= 0 && write(allowed[1], "", 1) != 1)
		fail("cannot write to a pipe: %s", strerror(errno));
	close_fd(&allowed[1]);
}

pid_t prepare_exec(void)
{
	if (pipe2(allowed, O_CLOEXEC) != 0)
		fail("cannot make a pipe: %s", strerror(errno));
	pid_t pid = fork();
	if (pid < 0)
		fail("cannot fork: %s", strerror(errno));
	close_fd(&allowed[pid == 0]);
	if (pid > 0)
		return pid;
	set_oom_score("-1000");
	close_prepared();
	close_fd(&control);
	for (int i = 0; i < 3; i++)
		close_fd(&ports[i]);
	port = open_port("quiz.exec");
	sigset_t child;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	int signals = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
	if (port < 0 || signals < 0) {
		fprintf(stderr, "quiz: nothing can be started later on: %s\n", strerror(errno));
		_exit(1);
	}
	serve_exec(signals);
}
