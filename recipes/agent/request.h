// What the host asks to be run.

#ifndef QUIZ_REQUEST_H
#define QUIZ_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>
#include <sys/ioctl.h>

struct request {
	char **args, **env, *dir;
	// Of each: its mode (see add_share), its tag, its place.
	char **shares;
	struct winsize size;
	bool tty, shell_after, bounded;
	// Behind it the machine takes another request.
	bool kept;
};

// Its strings stay where they lie. False when it is damaged, or there is no memory.
bool read_request(struct request *request, uint8_t *payload, uint32_t length);
// Frees what it has beside its strings.
void free_request(struct request *request);
// Becomes the program of these words, or a shell without any, in the request's folder and environment.
void exec_request(const struct request *request, char **args) __attribute__((noreturn));
// The pty's other end becomes the terminal of this process, which leads a session. -1 when that cannot be.
int take_terminal(int pty);

#endif
