// The profiles' hooks, and what every program of the guest finds around itself.

#ifndef QUIZ_HOOKS_H
#define QUIZ_HOOKS_H

#include <stdbool.h>

// The environment that every program gets.
void set_default_env(void);
// What this process blocks or ignores would be inherited.
void reset_signals(void);
// An exit status as shells have it: 128 + n for signal n.
int decode_status(int status);
// The options of the profiles, from the kernel's command line.
void keep_options(void);
// The environment of hooks and of the programs at channels: the default one and the options.
void set_hook_env(void);
// The profiles' hooks: before the machine is saved, and in each that goes on from there.
#define INIT_HOOKS "/.quiz/init.d"
#define WAKE_HOOKS "/.quiz/wake.d"
bool has_hooks(const char *folder);
// Runs them; does not return when one fails.
void run_hooks(const char *folder);

#endif
