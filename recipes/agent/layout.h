// What the host says of the machine before all else.

#ifndef QUIZ_LAYOUT_H
#define QUIZ_LAYOUT_H

#include <stdbool.h>

struct layout {
	bool saved; // when it is ready
	bool disks; // some stay when it is gone
};

// Waits for the first frame of all, and makes the root that it tells of.
void lay_out_root(struct layout *layout);

#endif
