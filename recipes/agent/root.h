// The guest's root, and the host's shares.

#ifndef QUIZ_ROOT_H
#define QUIZ_ROOT_H

#include <stdbool.h>

// Mounts what this process needs itself.
void mount_first(void);
// Lets nothing wait for the kernel's grace periods (RCU), which take 20 ms for each disk that is looked at again.
void hurry(bool on);
// Looks at the disks of the layers again: what was restored knows those of another image.
void probe_layers(int count);
// Mounts the layers: vda is the kernel's root, vdb, ... come under a tmpfs.
void mount_layers(int count);
// Makes a root of them, and mounts what every program expects.
void stack_layers(int count);
// Whether the guest has several processors.
bool has_processors(void);
// Under an emulator everything is slow that is done for the first time. So a process beside this one brings up the loopback
// device and then, for `warm_up`, becomes a program that does nothing: what each program needs is in memory and translated.
void begin_beside(int layers, bool warm_up);
// Waits until the loopback device is up.
void end_beside(void);
// Waits until that program has ended.
void end_warm_up(void);
// What happens to what is written to a share: it goes to the host, is refused, or stays in the guest's memory.
enum { SHARE_WRITE = 'w', SHARE_READ = 'r', SHARE_OVERLAY = 'o' };
// A share of the host: makes the place for it. The strings are kept.
void add_share(char mode, const char *tag, const char *where);
// Mounts those that were added.
void mount_shares(void);
// Opens those to which may be written, for sync_shares: under an emulator that takes 20 ms, for which a program that runs beside does not wait.
void hold_shares(void);
// Whether what was written there is with the host. No process is started for that, which takes 30 ms more.
bool sync_shares(void);
// The same within some seconds, and then also what was written to the guest's disks, if that comes in time: any of its file systems may be
// stuck.
bool sync_all(void);

// Writes PROGRAM_OVER into the log. False when it could not.
bool mark_log(void);

#endif
