// Programs that are started while the machine runs.

#ifndef QUIZ_EXEC_H
#define QUIZ_EXEC_H

#include <sys/types.h>

// Frames. Host to guest below 64, guest to host from 64 on.
enum {
	START = 1,      // see read_request
	INPUT = 2,      // bytes for its stdin, which there is room for
	INPUT_END = 3,  // nothing
	TTY_SIZE = 4,   // u16 rows, u16 columns
	KILL = 5,       // u32 number of a signal
	ROOM = 6,       // u32: so many more bytes of its output have room
	GONE = 7,       // nothing: nobody waits for it any more
	OUTPUT = 64,    // bytes of stdout, or of the pty
	ERRORS = 65,    // bytes of stderr
	TAKEN_INPUT = 66, // u32: so many bytes of its stdin went into its pipe
	ENDED = 67,     // u8 status, u64 bytes of stdin that it has read: it has ended, and all that it wrote came
	REFUSED = 68,   // text: it was not started
};

// Makes the process that starts them, which waits until the host asks for the first, and until that is allowed.
pid_t prepare_exec(void);
// The shares are mounted.
void allow_exec(void);

#endif
