// The profiles' hooks, and what every program of the guest finds around itself.

#define _GNU_SOURCE
#include "hooks.h"
#include "wire.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const default_env[] = {
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh", "LANG=C.UTF-8", "TERM=dumb",
};

// The words quiz.<profile>.<option>=<value> of the kernel's command line, as QUIZ_<PROFILE>_<OPTION>=<value>: what the
// profiles' hooks are told. Not words that the kernel itself would hand on as environment: it takes no more than 32.
static char *options[128];

void keep_options(void)
{
	static char line[4096];
	int file = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	if (file < 0 || read(file, line, sizeof line - 1) < 0)
		fail("cannot read /proc/cmdline: %s", strerror(errno));
	close_fd(&file);
	size_t count = 0;
	for (char *word = strtok(line, " \n"); word != NULL; word = strtok(NULL, " \n")) {
		size_t name = strcspn(word, "=");
		if (strncmp(word, "quiz.", 5) != 0 || memchr(word + 5, '.', name < 5 ? 0 : name - 5) == NULL)
			continue;
		if (count + 1 == sizeof options / sizeof *options)
			fail("there are more than %zu options of profiles", count);
		for (size_t i = 0; i < name; i++)
			word[i] = word[i] == '.' || word[i] == '-' ? '_' : toupper((unsigned char)word[i]);
		options[count++] = word;
	}
}

void set_default_env(void)
{
	clearenv();
	for (size_t i = 0; i < sizeof default_env / sizeof *default_env; i++)
		putenv((char *)default_env[i]);
}

void set_hook_env(void)
{
	set_default_env();
	for (char **option = options; *option != NULL; option++)
		putenv(*option);
}

void reset_signals(void)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
}

int decode_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// Runs the hooks of the folder $1 in the order of their names, each in a subshell, and says on descriptor 3 which line of which one failed.
static const char hooks[] =
	"for hook in \"$1\"/*; do\n"
	"	[ -e \"$hook\" ] || continue\n"
	"	read -r first <\"$hook\"\n"
	"	case $first in\n"
	"	'#!/bin/sh'* | '#!/bin/bash'*)\n"
	"		(trap 'echo \"${hook#*-}, line $LINENO: status $?: $BASH_COMMAND\" >&3' ERR; set -E; . \"$hook\") ;;\n"
	"	*) \"$hook\" ;;\n"
	"	esac\n"
	"	status=$?\n"
	"	[ $status = 0 ] || { echo \"${hook#*-}: status $status\" >&3; exit $status; }\n"
	"done\n";

static int wait_for(pid_t pid)
{
	int status;
	for (pid_t got; (got = wait(&status)) != pid;)
		if (got < 0 && errno != EINTR)
			fail("cannot wait for the process %d: %s", pid, strerror(errno));
	return status;
}

// Without one, no shell need start: that takes 0.1 s under an emulator.
bool has_hooks(const char *folder)
{
	DIR *dir = opendir(folder);
	bool found = false;
	for (struct dirent *entry; !found && dir != NULL && (entry = readdir(dir)) != NULL;)
		found = entry->d_name[0] != '.';
	if (dir != NULL)
		closedir(dir);
	return found;
}

void run_hooks(const char *folder)
{
	int said[2];
	if (pipe2(said, O_CLOEXEC) != 0)
		fail("cannot make a pipe: %s", strerror(errno));
	pid_t pid = fork();
	if (pid < 0)
		fail("cannot fork: %s", strerror(errno));
	if (pid == 0) {
		reset_signals();
		setsid();
		set_hook_env();
		int null = open("/dev/null", O_RDONLY);
		dup2(null, 0);
		if (said[1] == 3)
			fcntl(3, F_SETFD, 0);
		else
			dup2(said[1], 3);
		execl("/bin/bash", "bash", "-c", hooks, "bash", folder, NULL);
		dprintf(3, "/bin/bash: %s", strerror(errno));
		_exit(127);
	}
	close(said[1]);
	int status = wait_for(pid);
	if (decode_status(status) == 0) {
		close(said[0]);
		return;
	}
	// The first line: it is nearest to the cause.
	char text[900];
	ssize_t length = read(said[0], text, sizeof text - 1);
	text[length > 0 ? length : 0] = '\0';
	fail("the hook of the profile %s", strtok(text, "\n") ? text : "ended without a word");
}
