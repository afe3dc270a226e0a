// The host's shares.

#ifndef QUIZ_SHARES_H
#define QUIZ_SHARES_H

#include <stdbool.h>
#include <stddef.h>

// What happens to what is written to a share: it goes to the host, is refused, or stays in the guest's memory.
enum { SHARE_WRITE = 'w', SHARE_READ = 'r', SHARE_OVERLAY = 'o' };
// A share of the host: makes the place for it. The strings are kept.
void add_share(char mode, const char *tag, const char *where);
// Those that were added so far each run of this machine has.
void keep_own_shares(void);
// Tells the host if there is nothing in them.
void tell_of_own_shares(void);
// Mounts those that were added.
void mount_shares(void);
// Opens those to which may be written, for sync_shares: under an emulator that takes 20 ms, for which a program that runs beside does not wait.
void hold_shares(void);
// Whether what was written there is with the host. No process is started for that, which takes 30 ms more.
bool sync_shares(void);
// The same within some seconds, and then also what was written to the guest's disks, if that comes in time: any of its file systems may be
// stuck.
bool sync_all(void);
// Unmounts all, and forgets those that came with the request. False when one is in use, and by what; then nothing can be said of the others.
bool unmount_shares(char *why, size_t size);

#endif
