// What a program may need, made before the request is known.

#ifndef QUIZ_PREPARED_H
#define QUIZ_PREPARED_H

// All of it is made before the machine is saved, so that a restored one need not: under an emulator everything is slow that is
// done for the first time.
struct prepared {
	int request[2], pipes[3][2], pty;
};
extern struct prepared prepared;

// Makes pipes for the request and for the program's streams, and a pty.
void open_prepared(void);
// For other processes: as long as one of them held an end of the program's pipes, these would have no end.
void close_prepared(void);

#endif
