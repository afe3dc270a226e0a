// Programs that are started while the machine runs.

#ifndef QUIZ_EXEC_H
#define QUIZ_EXEC_H

// Makes the process that starts them, which waits until the host asks for the first.
void prepare_exec(void);

#endif
