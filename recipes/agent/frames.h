// What the host and the agent say to each other: src/boot/wire.rs has the same numbers.

#ifndef QUIZ_FRAMES_H
#define QUIZ_FRAMES_H

enum { PROTOCOL = 9, FRAME_LIMIT = 1 << 20 };

// What the kernel's log has behind all that the program made the kernel say.
#define PROGRAM_OVER "quiz: the program is over"

// What the host may send ahead of a program whose input it cannot give back.
enum { WINDOW = 64 << 10 };

// Frames. Guest to host below 64, host to guest from 64 on.
enum frame {
	HELLO = 1,   // u32 protocol: the kernel and this process live, and nothing is mounted. MOUNT may come
	READY = 2,   // text: why this machine may not be saved; empty when it may. WAKE may come; again after SYNCED of a program that is kept
	ERROR = 3,   // text: the guest could not get as far as the program; it powers off
	EXIT = 4,    // u8 status, u64 bytes of stdout, u64 bytes of stderr
	PONG = 5,    // nothing
	AWAKE = 6,   // u8: 1 when hooks run first, and another one follows; 0: a request may come
	SYNCED = 7,  // u8, after EXIT: bit 0: what was written to the shares is with the host; bit 1: the kernel's log ends with PROGRAM_OVER
	TAKEN = 8,   // u64: bytes of stdin that the program has read; when the request asks for that, and before EXIT
	DESERTED = 9, // nothing: no more programs can be started later, and those that were say nothing any more
	NOTE = 10,   // text, before AWAKE: what the user should know of this machine, which goes on
	REQUEST = 64,     // see read_request
	STDIN_END = 65,   // u64: bytes of stdin in all
	RESIZE = 66,      // u16 rows, u16 columns
	SIGNAL = 67,      // u32 number
	PING = 68,        // nothing
	SYSRQ = 69,       // letters for /proc/sysrq-trigger
	CLOSE = 70,       // u8 stream (1, 2): nobody reads it any more
	WAKE = 71,        // see wake
	MOUNT = 72,       // see make_root_as_told
};

// What makes a machine one of its own, at the head of MOUNT and of WAKE: u64 nanoseconds since 1970, 32 random bytes, 16 of the boot's
// id, which stays the same in one run.
enum { OWN = 8 + 32 + 16 };

#endif
