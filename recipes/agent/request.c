// What the host asks to be run, read and started. Knows nothing of where it came from.

#define _GNU_SOURCE
#include "request.h"
#include "hooks.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FLAG_TTY = 1, FLAG_SHELL = 2, FLAG_BOUNDED = 4, FLAG_KEPT = 8 };

// A string with its NUL, which stays where it lies; NULL when there is none.
static char *take_string(uint8_t **at, uint8_t *end)
{
	uint8_t *text = *at, *stop = text < end ? memchr(text, 0, end - text) : NULL;
	if (stop == NULL)
		return NULL;
	*at = stop + 1;
	return (char *)text;
}

static char **take_strings(uint8_t **at, uint8_t *end, uint32_t count)
{
	char **list = calloc(count + 1, sizeof *list);
	for (uint32_t i = 0; list != NULL && i < count; i++) {
		list[i] = take_string(at, end);
		if (list[i] == NULL) {
			free(list);
			return NULL;
		}
	}
	return list;
}

enum { SHARE_STRINGS = 3 };

// REQUEST: u8 flags, u16 rows, u16 columns, u32 arguments, u32 environment, u32 shares, then strings with their NUL: the directory, the
// arguments, the environment (NAME=value), three of each share. No argument means a shell.
bool read_request(struct request *request, uint8_t *payload, uint32_t length)
{
	if (length < 17)
		return false;
	uint32_t counts[3] = { get32(payload + 5), get32(payload + 9), get32(payload + 13) };
	uint8_t *at = payload + 17, *end = payload + length;
	if (counts[0] > length || counts[1] > length || counts[2] > length)
		return false;
	*request = (struct request){
		.tty = payload[0] & FLAG_TTY,
		.shell_after = payload[0] & FLAG_SHELL,
		.bounded = payload[0] & FLAG_BOUNDED,
		.kept = payload[0] & FLAG_KEPT,
		.size = { .ws_row = get16(payload + 1), .ws_col = get16(payload + 3) },
	};
	request->dir = take_string(&at, end);
	request->args = take_strings(&at, end, counts[0]);
	request->env = request->args == NULL ? NULL : take_strings(&at, end, counts[1]);
	request->shares = request->env == NULL ? NULL : take_strings(&at, end, SHARE_STRINGS * counts[2]);
	return request->dir != NULL && request->shares != NULL;
}

void free_request(struct request *request)
{
	free(request->args);
	free(request->env);
	free(request->shares);
}

void exec_request(const struct request *request, char **args)
{
	static char *const shells[][3] = { { "/bin/bash", "-l", NULL }, { "/bin/sh", "-l", NULL } };
	set_default_env();
	for (char **entry = request->env; *entry != NULL; entry++)
		putenv(*entry);
	if (chdir(request->dir) != 0) {
		fprintf(stderr, "quiz: cannot change to %s: %s\n", request->dir, strerror(errno));
		_exit(126);
	}
	if (args[0] == NULL) {
		execv(shells[0][0], shells[0]);
		execv(shells[1][0], shells[1]);
		fprintf(stderr, "quiz: /bin/sh: %s\n", strerror(errno));
		_exit(127);
	}
	execvp(args[0], args);
	int error = errno;
	bool plain = strchr(args[0], '/') == NULL;
	fprintf(stderr, "quiz: %s: %s\n", args[0], plain && error == ENOENT ? "command not found" : strerror(error));
	_exit(error == ENOENT ? 127 : 126);
}

int take_terminal(int pty)
{
	int terminal = ioctl(pty, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (terminal >= 0)
		ioctl(terminal, TIOCSCTTY, 0);
	return terminal;
}
