// The program's bytes on their way.

#ifndef QUIZ_RELAY_H
#define QUIZ_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHUNK = 64 << 10 };

// One direction of the program's bytes, from `from` to `to`; each -1 when there is none.
struct relay {
	int from, to;
	size_t start, end;
	uint64_t total; // bytes written to `to`
	uint8_t buffer[CHUNK];
};

// Moves one buffer. False when there is nothing to read or no place to write now.
bool relay_move(struct relay *r);
// How many bytes the program has read of those that went into its pipe, of which `pipe` is the other end.
uint64_t relay_taken(const struct relay *r, int pipe);
// Everything that the program has written when it ends goes out before EXIT.
void relay_drain(struct relay *r);

#endif
