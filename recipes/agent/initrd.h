// A kernel whose drivers are modules starts from an initrd: what brings its root.

#ifndef QUIZ_INITRD_H
#define QUIZ_INITRD_H

// Where the agent was started from an initrd: loads the modules that lie there, and changes into the first layer, as a kernel that has
// its drivers built in does by itself. Elsewhere it does nothing.
void leave_initrd(void);

#endif
