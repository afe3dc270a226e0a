// Channels.

#ifndef QUIZ_SERVE_H
#define QUIZ_SERVE_H

// Before the machine is saved: whether any profile has a program for a channel.
void find_channels(void);
// Starts a process for each channel that a profile has a program for.
void serve_channels(void);

#endif
