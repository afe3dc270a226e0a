// The guest's first process: makes a root out of the layers, runs the profiles' hooks, takes one request on a
// virtio-serial port, runs the program, relays its bytes, and says how it ended. Static, without any library but libc.
//
// The host's side is src/boot. The control port carries frames, `type u8, length u32 LE, payload` (src/boot/wire.rs); the
// ports stdin, stdout and stderr carry the program's bytes and nothing else, so how long a stream is goes over the control
// port. Nothing here knows of kernels, ZFS or recipes.
//
// Each file calls only those before it: wire.c (frames and ports), initrd.c (drivers that are modules), relay.c (bytes on their way), hooks.c, prepared.c (what a program
// may need), root.c, shares.c, serve.c (channels), wake.c (what a snapshot must not share), layout.c (which root it gets), request.c (what is to be run), exec.c (programs that are started later), and this one.

#define _GNU_SOURCE
#include "exec.h"
#include "hooks.h"
#include "initrd.h"
#include "layout.h"
#include "prepared.h"
#include "relay.h"
#include "request.h"
#include "root.h"
#include "shares.h"
#include "wake.h"
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
#include <termios.h>
#include <unistd.h>

enum { PAGE = 4096 };

// ---------------------------------------------------------------------------------------------- the program

static struct relay in, out[2]; // out[0] = stdout, out[1] = stderr
static uint64_t stdin_bytes = UINT64_MAX;
// The program's own end of its stdin, of which this process reads nothing: what is left in the pipe was not taken.
static int stdin_left = -1;
// What the host knows to be taken, when it has to know.
static uint64_t told;
// The pipe is as small as the window.
static bool fitted;

static void tell_taken(void)
{
	if (in.total == 0)
		return; // as the host thinks anyway
	uint8_t payload[8];
	told = relay_taken(&in, stdin_left);
	put(payload, told, sizeof payload);
	send_frame(TAKEN, payload, sizeof payload);
}

static void end_stdin_when_complete(bool tty)
{
	// A terminal has no end that could be passed on; Ctrl-D is a byte like any other.
	if (!tty && in.to >= 0 && in.start == in.end && in.total >= stdin_bytes)
		close_fd(&in.to);
}

static struct {
	struct request asked;
	pid_t pid;
	int status;
	bool first_done;
} program;

static void read_own_request(uint8_t *payload, uint32_t length)
{
	if (!read_request(&program.asked, payload, length))
		fail("the host sent a damaged request");
}

// The process that becomes the program, made with all else that is prepared.
static void __attribute__((noreturn)) become_program(void)
{
	uint32_t length;
	reset_signals();
	// Most start there. Now it is known to the kernel.
	if (chdir("/root") != 0)
		chdir("/");
	read_all(prepared.request[0], &length, sizeof length);
	uint8_t *payload = malloc(length);
	if (payload == NULL)
		fail("no memory for the request");
	read_all(prepared.request[0], payload, length);
	read_own_request(payload, length);
	setsid();
	int fds[3];
	for (int i = 0; i < 3; i++)
		fds[i] = prepared.pipes[i][i != 0];
	if (program.asked.tty) {
		fds[0] = fds[1] = fds[2] = take_terminal(prepared.pty);
		if (fds[0] < 0)
			fail("cannot open the pty: %s", strerror(errno));
	}
	for (int i = 0; i < 3; i++)
		dup2(fds[i], i);
	static char *shell[] = { NULL };
	exec_request(&program.asked, program.first_done ? shell : program.asked.args);
}

static void prepare_program(void)
{
	open_prepared();
	open_log();
	program.pid = fork();
	if (program.pid < 0)
		fail("cannot fork: %s", strerror(errno));
	if (program.pid == 0)
		become_program();
	close_fd(&prepared.request[0]);
	for (int i = 1; i < 3; i++)
		close_fd(&prepared.pipes[i][1]);
}

static uint8_t *request;
static uint32_t request_length;

static void start_program(void)
{
	int *const ours[] = { &in.to, &out[0].from, &out[1].from };
	close_fd(&stdin_left);
	stdin_left = prepared.pipes[0][0];
	// What a terminal has, its program has taken.
	if (program.asked.tty)
		close_fd(&stdin_left);
	fitted = program.asked.tty;
	for (int i = 0; i < 3; i++) {
		*ours[i] = prepared.pipes[i][i == 0];
		if (program.asked.tty)
			close_fd(ours[i]);
	}
	if (program.asked.tty) {
		ioctl(prepared.pty, TIOCSWINSZ, &program.asked.size);
		in.to = prepared.pty;
		out[0].from = fcntl(prepared.pty, F_DUPFD_CLOEXEC, 3);
	} else {
		close_fd(&prepared.pty);
	}
	write_all(prepared.request[1], &request_length, sizeof request_length);
	write_all(prepared.request[1], request, request_length);
	close_fd(&prepared.request[1]);
}

static void take_request(uint8_t *payload, uint32_t length)
{
	if (request != NULL)
		fail("the host sent a damaged request");
	request = malloc(length); // its strings are kept
	if (request == NULL)
		fail("no memory for the request");
	memcpy(request, payload, length);
	request_length = length;
	read_own_request(request, length);
	for (char **share = program.asked.shares; *share != NULL; share += 3)
		add_share(share[0][0], share[1], share[2]);
	mount_shares();
	start_program();
	hold_shares();
	allow_exec();
}

// What the host said of this machine.
static struct layout layout;

static void tell_end(void)
{
	uint8_t payload[17];
	payload[0] = program.status;
	put(payload + 1, out[0].total, 8);
	put(payload + 9, out[1].total, 8);
	send_frame(EXIT, payload, sizeof payload);
	// The status went first: a file system of the guest may be stuck.
	bool marked = mark_log();
	bool synced = layout.disks ? sync_all() : sync_shares();
	uint8_t left = synced | marked << 1;
	send_frame(SYNCED, &left, 1);
}

static void __attribute__((noreturn)) finish(void)
{
	tell_end();
	// The host ends the machine when it has all bytes, however slowly they are read. Powering off now could lose some.
	struct pollfd wait = { .fd = control };
	poll(&wait, 1, -1);
	power_off();
}

static pid_t exec_pid;

// What was started later has lost who reads it. The next machine starts such programs by a process of its own.
static void replace_exec(void)
{
	pid_t old = exec_pid;
	exec_pid = 0;
	if (old > 0 && kill(old, SIGKILL) == 0)
		waitpid(old, NULL, 0);
	exec_pid = prepare_exec();
}

// Instead of the end: as before its first program, so that the host may save the machine and ask for another one.
static void rest(void)
{
	char why[512] = "";
	tell_end();
	unmount_shares(why, sizeof why);
	free(request);
	request = NULL;
	program.asked = (struct request){ 0 };
	program.first_done = false;
	out[0].total = out[1].total = 0;
	prepare_program();
	replace_exec();
	send_ready_again(why);
}

// What came for another program, however late, is not that of the next.
static void begin_anew(void)
{
	uint8_t unread[4096];
	while (read(in.from, unread, sizeof unread) > 0)
		;
	stdin_bytes = UINT64_MAX;
	in.total = told = 0;
}

static void program_ended(int status)
{
	tell_taken();
	relay_drain(&out[0]);
	relay_drain(&out[1]);
	close_fd(&in.to);
	in.total += in.end - in.start;
	in.start = in.end = 0;
	program.pid = 0;
	if (!program.first_done)
		program.status = decode_status(status);
	if (program.asked.kept)
		return rest();
	if (program.first_done || !program.asked.shell_after)
		finish();
	program.first_done = true;
	prepare_program();
	start_program();
}

// As init it also gets every orphan.
static void reap(int signals)
{
	struct signalfd_siginfo info;
	while (read(signals, &info, sizeof info) > 0)
		;
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		if (pid == program.pid)
			program_ended(status);
		else if (pid == exec_pid)
			exec_pid = 0, send_frame(DESERTED, "", 0);
}

// ---------------------------------------------------------------------------------------------- the host's frames

static void take_frame(uint8_t type, uint8_t *payload, uint32_t length)
{
	if (type == WAKE) {
		begin_anew();
		wake(payload, length);
	} else if (type == REQUEST) {
		take_request(payload, length);
	} else if (type == STDIN_END && length == 8) {
		stdin_bytes = get64(payload);
	} else if (type == RESIZE && length == 4) {
		program.asked.size = (struct winsize){ .ws_row = get16(payload), .ws_col = get16(payload + 2) };
		if (program.asked.tty && in.to >= 0)
			ioctl(in.to, TIOCSWINSZ, &program.asked.size);
	} else if (type == SIGNAL && length == 4) {
		// It has no group of its own before it has called setsid.
		// The one that waits for a request is nobody's yet.
		if (program.pid > 0 && request != NULL && kill(-program.pid, get32(payload)) != 0)
			kill(program.pid, get32(payload));
	} else if (type == PING) {
		send_frame(PONG, "", 0);
	} else if (type == SYSRQ) {
		sysrq(payload, length);
	} else if (type == CLOSE && length == 1 && (payload[0] == 1 || payload[0] == 2)) {
		close_fd(&out[payload[0] - 1].from);
	}
}

// Reads what the control port holds; frames may come in pieces.
static void read_control(void)
{
	static uint8_t buffer[5 + FRAME_LIMIT];
	static size_t have;
	ssize_t n = read(control, buffer + have, sizeof buffer - have);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		power_off();
	have += n > 0 ? n : 0;
	while (have >= 5) {
		uint32_t length = get32(buffer + 1);
		if (length > FRAME_LIMIT)
			fail("the host sent a frame of %u bytes", length);
		if (have < 5 + length)
			break;
		take_frame(buffer[0], buffer + 5, length);
		have -= 5 + length;
		memmove(buffer, buffer + 5 + length, have);
	}
}

static void move_stdin(void)
{
	// As much as may be under way: it is full when the host has to wait, so that poll says when the program goes on to read. Not
	// before anything comes, which for most programs is never.
	if (program.asked.bounded && !fitted) {
		fcntl(stdin_left, F_SETPIPE_SZ, WINDOW);
		fitted = true;
	}
	relay_move(&in);
}

static void serve(int signals)
{
	for (;;) {
		bool in_full = in.start < in.end;
		if (program.asked.bounded && in.total >= told + PAGE && relay_taken(&in, stdin_left) >= told + PAGE)
			tell_taken();
		// The host waits for the program.
		bool waits = program.asked.bounded && in.total + (in.end - in.start) >= told + WINDOW;
		struct pollfd fds[8] = {
			{ .fd = control, .events = POLLIN },
			{ .fd = signals, .events = POLLIN },
			{ .fd = in.to >= 0 && !in_full ? in.from : -1, .events = POLLIN },
			{ .fd = in_full || waits ? in.to : -1, .events = POLLOUT },
		};
		for (int i = 0; i < 2; i++) {
			bool full = out[i].start < out[i].end;
			fds[4 + 2 * i] = (struct pollfd){ .fd = full ? -1 : out[i].from, .events = POLLIN };
			fds[5 + 2 * i] = (struct pollfd){ .fd = full ? out[i].to : -1, .events = POLLOUT };
		}
		if (poll(fds, 8, -1) < 0)
			continue;
		if (fds[0].revents & POLLHUP)
			power_off(); // the host is gone
		if (fds[0].revents & POLLIN)
			read_control();
		if (in.to >= 0 && (fds[2].revents || fds[3].revents))
			move_stdin();
		end_stdin_when_complete(program.asked.tty);
		for (int i = 0; i < 2; i++)
			if (fds[4 + 2 * i].revents || fds[5 + 2 * i].revents)
				relay_move(&out[i]);
		if (fds[1].revents)
			reap(signals);
	}
}

int main(void)
{
	sigset_t child;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	signal(SIGPIPE, SIG_IGN);

	leave_initrd();
	mount_first();
	keep_options();
	open_ports();
	open_random();
	uint8_t version[4];
	put(version, PROTOCOL, 4);
	send_frame(HELLO, version, sizeof version);
	hurry(true);
	lay_out_root(&layout);
	end_beside();
	if (has_hooks(INIT_HOOKS))
		run_hooks(INIT_HOOKS);

	in = (struct relay){ .from = ports[0], .to = -1 };
	for (int i = 0; i < 2; i++)
		out[i] = (struct relay){ .from = -1, .to = ports[1 + i] };
	int signals = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
	if (signals < 0)
		fail("cannot watch for ended programs: %s (CONFIG_SIGNALFD)", strerror(errno));
	hurry(false);
	prepare_program();
	exec_pid = prepare_exec();
	if (layout.saved)
		end_warm_up();
	send_ready();
	serve(signals);
}
